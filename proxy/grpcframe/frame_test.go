// SPDX-License-Identifier: Apache-2.0

package grpcframe

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func frame(flags byte, msg string) string {
	return string(AppendHead(nil, flags, len(msg))) + msg
}

func TestAppend(t *testing.T) {
	if got := frame(Trailer, "abc"); got != "\x80\x00\x00\x00\x03abc" {
		t.Errorf("%q", got)
	}
	b := append([]byte("x"), make([]byte, HeadSize)...)
	b = append(b, "hello"...)
	if Seal(b, 1, 0); string(b) != "x\x00\x00\x00\x00\x05hello" {
		t.Errorf("%q", b)
	}
}

func TestDecoder(t *testing.T) {
	text := frame(0, "hello") + frame(1, "") + frame(0, strings.Repeat("x", 300)) + frame(0, "end")
	for size := 1; size <= len(text); size++ {
		d := Decoder{Max: 300}
		var track Tracker
		var got []string
		var begun uint64
		for rest := []byte(text); len(rest) > 0; {
			piece := rest[:min(size, len(rest))]
			rest = rest[len(piece):]
			begun += track.Inspect(piece)
			for len(piece) > 0 {
				f, n, ok, err := d.Next(piece)
				if err != nil {
					t.Fatal(err)
				}
				piece = piece[n:]
				if ok {
					got = append(got, string('0'+f.Flags)+string(f.Data))
				} else if len(piece) > 0 {
					t.Fatalf("pieces of %d: %d bytes left", size, len(piece))
				}
			}
		}
		if want := []string{"0hello", "1", "0" + strings.Repeat("x", 300), "0end"}; strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("pieces of %d: %q", size, got)
		}
		if begun != 4 || track.Count != 4 || track.Partial() || d.Partial() {
			t.Fatalf("pieces of %d: %d begun", size, begun)
		}
	}
}

func TestDecoderRefuses(t *testing.T) {
	for _, pieces := range [][]string{{"\x00\x00\x00\x00\x05hello"}, {"\x00\x00", "\x00\x00\x05"}, {"\x00\xff\xff\xff\xff"}} {
		d := Decoder{Max: 4}
		var err error
		for _, p := range pieces {
			_, _, _, err = d.Next([]byte(p))
		}
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%q: %v", pieces, err)
		}
	}
	d := Decoder{Max: 4}
	if _, _, ok, err := d.Next([]byte("\x00\x00\x00\x00\x04ab")); ok || err != nil || !d.Partial() || d.Buffered() != 7 {
		t.Errorf("half a message: %v %v", ok, err)
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02hi\x01\x00\x00\x00\x00"), byte(3))
	f.Add([]byte("\x00\xff\xff\xff\xff"), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, size byte) {
		const limit = 64
		d := Decoder{Max: limit}
		var out []byte
		for rest := b; len(rest) > 0; {
			piece := rest[:min(int(size)+1, len(rest))]
			rest = rest[len(piece):]
			for len(piece) > 0 {
				f, n, ok, err := d.Next(piece)
				if err != nil {
					return
				}
				piece = piece[n:]
				if ok {
					out = append(AppendHead(out, f.Flags, len(f.Data)), f.Data...)
				}
				if d.Buffered() > limit+HeadSize {
					t.Fatalf("%d bytes are kept", d.Buffered())
				}
			}
		}
		if !bytes.HasPrefix(b, out) || !d.Partial() && len(out) != len(b) {
			t.Fatalf("%q came back as %q", b, out)
		}
	})
}
