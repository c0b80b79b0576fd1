// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
)

func TestAgainstAnotherFramer(t *testing.T) {
	var b []byte
	b = AppendSettings(b, Setting{InitialWindowSize, WideWindow}, Setting{EnablePush, 0})
	b = AppendWindowUpdate(b, 0, 7)
	b = Append(b, Headers, EndHeaders|EndStream, 0, []byte("block"))
	SetStream(b[len(b)-HeaderLen-5:], 3)
	r := http2.NewFramer(nil, bytes.NewReader(b))
	for _, want := range []string{
		"[FrameHeader SETTINGS len=12]", "[FrameHeader WINDOW_UPDATE len=4]",
		"[FrameHeader HEADERS flags=END_STREAM|END_HEADERS stream=3 len=5]",
	} {
		f, err := r.ReadFrame()
		if err != nil || f.Header().String() != want {
			t.Errorf("read %v, %v; want %s", f, err, want)
		}
	}
}

func TestNextOfAnotherFramer(t *testing.T) {
	var buf bytes.Buffer
	w := http2.NewFramer(&buf, nil)
	err := w.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 5, BlockFragment: []byte("block"), EndHeaders: true, PadLength: 4, Priority: http2.PriorityParam{Weight: 9},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteWindowUpdate(5, 77); err != nil {
		t.Fatal(err)
	}
	b := buf.Bytes()
	if _, n, err := Next(b[:len(b)/2-1]); n != 0 && err != nil {
		t.Errorf("half a frame: %d, %v", n, err)
	}
	f, n, err := Next(b)
	if err != nil || f.Type != Headers || f.Stream != 5 || f.Flags&EndHeaders == 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	content, err := f.Content()
	if d := cmp.Diff("block", string(content)); d != "" || err != nil {
		t.Error(d, err)
	}
	f, _, err = Next(b[n:])
	if err != nil {
		t.Fatal(err)
	}
	if by, err := f.Increment(); err != nil || by != 77 || f.Type != WindowUpdate {
		t.Errorf("%+v widens by %d, %v", f, by, err)
	}
}

func FuzzNext(f *testing.F) {
	f.Add(AppendSettings(nil, Setting{HeaderTableSize, 0}))
	f.Add(Append(nil, Data, Padded, 1, []byte{3, 1, 2, 3}))
	f.Add(Append(nil, Headers, Padded|Priority, 1, []byte{0, 1, 2, 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, n, err := Next(b)
		if n > len(b) || (err != nil && n != 0) {
			t.Fatalf("%d of %d bytes, %v", n, len(b), err)
		}
		if content, err := fr.Content(); err == nil && len(content) > len(fr.Payload) {
			t.Fatalf("%d bytes of content in %d", len(content), len(fr.Payload))
		}
		_ = fr.Each(func(uint16, uint32) {}) // Only that it neither panics nor reads beyond its end.
		if by, err := fr.Increment(); err == nil && by < 0 {
			t.Fatalf("widens by %d", by)
		}
	})
}
