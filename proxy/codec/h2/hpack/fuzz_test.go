// SPDX-License-Identifier: Apache-2.0

package hpack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	xhpack "golang.org/x/net/http2/hpack"
	"weir.dev/weir/proxy/header"
)

// FuzzDecode decodes two blocks on one connection by both implementations.
func FuzzDecode(f *testing.F) {
	var e Encoder
	for _, head := range heads() {
		var m header.Map
		fill(&m, head)
		first := e.AppendMap(nil, &m, nil)
		f.Add(first, e.AppendMap(nil, &m, nil))
	}
	for _, s := range []string{"80", "3fe101 4803 3330 3258", "20 3fe11f 82", "44 84 ff ff ff ff", "ff 80 80 80 80 80 80 80 00", "7f00 00", "82 20"} {
		f.Add(unhex(f, "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572"), unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var d Decoder
		x := xhpack.NewDecoder(4096, nil)
		for _, block := range [][]byte{first, second} {
			got, err := decode(&d, block)
			want, xerr := xdecode(x, block)
			if err == nil && xerr == nil {
				if !cmp.Equal(want, got) {
					t.Fatalf("x/net %v, ours %v", want, got)
				}
				continue
			}
			if err == nil {
				// Two updates are allowed (RFC 7541 §4.2), but x/net takes the second
				// only while the table is empty.
				if strings.Contains(xerr.Error(), "size update MUST occur") && len(block) > 1 && block[0]&0xe0 == 0x20 {
					return
				}
				t.Fatalf("x/net: %v, ours %v", xerr, got)
			}
			// What x/net takes though RFC 7541 does not, or need not: integers of
			// more than five bytes or 31 bits, an update behind a field while the
			// table is empty.
			if xerr == nil && err != errInteger && err != errUpdate {
				t.Fatalf("x/net %v, ours %v", want, err)
			}
			return
		}
		// A limit changes what is emitted, not what the table becomes.
		bounded := Decoder{Limits: Limits{Size: 100, Fields: 2}}
		for _, block := range [][]byte{first, second} {
			if _, err := decode(&bounded, block); err.fatal() {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(contents(&d.table), contents(&bounded.table)); diff != "" {
			t.Fatalf("with limits the table differs:\n%s", diff)
		}
	})
}

func contents(t *table) (out []pair) {
	for i := uint32(1); i <= t.count; i++ {
		e := t.at(i)
		b := make([]byte, e.stored())
		t.get(b, e.off, e.stored())
		name := header.NameOf(e.id, b[:e.stored()-e.value])
		out = append(out, pair{Name: name.String(), Value: string(b[e.stored()-e.value:])})
	}
	return out
}

// script makes blocks of fields out of bytes: a small vocabulary, so that fields
// come again, of sizes that make the table turn over. A negative size is a
// change of the table's.
func script(in []byte) (fields []pair, resize int) {
	names := []string{":method", ":path", ":status", "accept", "server", "cookie", "x-a", "x-bb", "from", "set-cookie",
		"authorization", "x-request-id", "accept-encoding", "content-type", "if-range", "date"}
	resize = -1
	for len(in) >= 2 {
		a, b := in[0], in[1]
		in = in[2:]
		if a >= 0xf8 {
			resize = int(a&7) * int(b) * 4
			continue
		}
		name := names[a&15]
		if a&0x40 != 0 {
			name += strings.Repeat("n", int(b>>4))
		}
		v := []string{"", "GET", "/", "200", "gzip, deflate", "\x00\xff\x80~", "aaaaaaaaaaaaaaaaaaaaaaaaa", "Zz^|<"}[b&7]
		fields = append(fields, pair{name, strings.Repeat(v, int(b>>3)), a&0x20 != 0})
	}
	return fields, resize
}

// FuzzEncode sends scripted blocks from ours to both and from x/net's to ours.
func FuzzEncode(f *testing.F) {
	f.Add([]byte("\x00\x09\x01\x0a\x03\x0b\x06\x36\xff\x00\x06\x36\x06\x36"), false)
	f.Add([]byte("\x46\xf6\x46\xf6\x46\xf6\x47\xfe\x47\xfe\xf8\x00\xff\xff\x08\x36\x08\x36"), true)
	f.Add(bytes.Repeat([]byte("\x06\x3e\x46\x2e\x47\x1e\x07\x3e\xf9\x40\x06\x3e"), 8), false)
	f.Fuzz(func(t *testing.T, in []byte, plain bool) {
		e, p := Encoder{Plain: plain}, newPeers()
		e.SetTableSize(8192)
		p.ours.SetTableSize(8192)
		p.x.SetAllowedMaxDynamicTableSize(8192)
		var buf bytes.Buffer
		xe := xhpack.NewEncoder(&buf)
		var back Decoder
		var m header.Map
		for k := 0; len(in) > 0 && k < 64; k++ {
			n := min(len(in), 12)
			fields, resize := script(in[:n])
			in = in[n:]
			if resize >= 0 {
				e.SetPeerTableSize(uint32(resize))
				xe.SetMaxDynamicTableSize(uint32(min(resize, 4096)))
			}
			fill(&m, fields)
			// The map's order is the order, but for pseudo-header fields.
			var want []pair
			for _, pseudo := range []bool{true, false} {
				for _, f := range fields {
					if strings.HasPrefix(f.Name, ":") == pseudo {
						want = append(want, f)
					}
				}
			}
			p.check(t, e.AppendMap(nil, &m, nil), secrets(want))
			if e.TableSize() != p.ours.TableSize() {
				t.Fatalf("tables of %d and %d bytes", e.TableSize(), p.ours.TableSize())
			}
			if diff := cmp.Diff(contents(&e.table), contents(&p.ours.table)); diff != "" {
				t.Fatal(diff)
			}
			if e.table.max > 8192 || len(e.table.buf) > 8192 || len(e.table.entries) > 256 {
				t.Fatalf("a table of at most %d has rings of %d and %d", e.table.max, len(e.table.buf), len(e.table.entries))
			}
			got, err := decode(&back, xencode(xe, &buf, fields))
			if err != nil || !cmp.Equal(fields, got) {
				t.Fatalf("from x/net: %v, %v, want %v", got, err, fields)
			}
		}
	})
}

// FuzzHuffman holds both directions to x/net's.
func FuzzHuffman(f *testing.F) {
	for _, s := range []string{"", "www.example.com", "\xff", "\xff\xff\xff\xff", "\x1f\xff", "a\x00\x01\xfe\xff~|", "\x03\x0c\x7f", "\x03\x0c\x7e"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		n := huffmanLen(in)
		code := appendHuffman(nil, in, n)
		if want := xhpack.AppendHuffmanString(nil, string(in)); !bytes.Equal(code, want) {
			t.Fatalf("coded as % x, x/net has % x", code, want)
		}
		for _, src := range [][]byte{code, in} {
			dst := make([]byte, maxDecoded(len(src)))
			k := huffmanDecode(dst, src)
			want, err := xhpack.HuffmanDecodeToString(src)
			if (k < 0) != (err != nil) {
				t.Fatalf("% x: got %d, x/net %q, %v", src, k, want, err)
			}
			if k >= 0 && string(dst[:k]) != want {
				t.Fatalf("% x: got %q, x/net %q", src, dst[:k], want)
			}
		}
	})
}

// FuzzInteger holds integers to their own round trip and to encoding/binary.
func FuzzInteger(f *testing.F) {
	f.Add(uint32(1337), uint8(5))
	f.Add(uint32(maxInteger), uint8(7))
	f.Add(uint32(127), uint8(7))
	f.Fuzz(func(t *testing.T, v uint32, n uint8) {
		n = n%8 + 1
		v &= maxInteger
		b := appendInteger(nil, 0, uint(n), v)
		s := section{in: append(b, 1)}
		got, err := s.integer(uint(n))
		if err != nil || got != v || len(s.in) != 1 {
			t.Fatalf("%d: got %d, %v, %d bytes left", v, got, err, len(s.in))
		}
		if mask := uint32(1)<<n - 1; v >= mask && !bytes.Equal(b[1:], binary.AppendUvarint(nil, uint64(v-mask))) {
			t.Fatalf("%d is % x", v, b)
		}
		for k := range b {
			if s := (section{in: b[:k+1]}); k+1 < len(b) {
				if _, err := s.integer(uint(n)); !errors.Is(err, errTruncated) {
					t.Fatalf("%d cut: %v", v, err)
				}
			}
		}
	})
}
