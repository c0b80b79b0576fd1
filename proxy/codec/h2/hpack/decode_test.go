// SPDX-License-Identifier: Apache-2.0

package hpack

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	xhpack "golang.org/x/net/http2/hpack"
	"weir.dev/weir/proxy/header"
)

// TestVectors holds the decoder to RFC 7541 appendix C.
func TestVectors(t *testing.T) {
	type block struct {
		in   string
		want []pair
		size int
	}
	request := func(more ...string) []pair {
		return append(pairs(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"), pairs(more...)...)
	}
	third := pairs(":method", "GET", ":scheme", "https", ":path", "/index.html", ":authority", "www.example.com", "custom-key", "custom-value")
	date, location := "Mon, 21 Oct 2013 20:13:21 GMT", "https://www.example.com"
	responses := [3][]pair{
		pairs(":status", "302", "cache-control", "private", "date", date, "location", location),
		pairs(":status", "307", "cache-control", "private", "date", date, "location", location),
		pairs(":status", "200", "cache-control", "private", "date", "Mon, 21 Oct 2013 20:13:22 GMT", "location", location,
			"content-encoding", "gzip", "set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
	}
	secret := pairs("password", "secret")
	secret[0].Sensitive = true
	for _, tt := range []struct {
		name   string
		table  uint32
		blocks []block
	}{
		{"C.2.1", 4096, []block{{"400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", pairs("custom-key", "custom-header"), 55}}},
		{"C.2.2", 4096, []block{{"040c 2f73 616d 706c 652f 7061 7468", pairs(":path", "/sample/path"), 0}}},
		{"C.2.3", 4096, []block{{"1008 7061 7373 776f 7264 0673 6563 7265 74", secret, 0}}},
		{"C.2.4", 4096, []block{{"82", pairs(":method", "GET"), 0}}},
		{"C.3", 4096, []block{
			{"8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", request(), 57},
			{"8286 84be 5808 6e6f 2d63 6163 6865", request("cache-control", "no-cache"), 110},
			{"8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", third, 164},
		}},
		{"C.4", 4096, []block{
			{"8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", request(), 57},
			{"8286 84be 5886 a8eb 1064 9cbf", request("cache-control", "no-cache"), 110},
			{"8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", third, 164},
		}},
		{"C.5", 256, []block{
			{"3fe101 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", responses[0], 222},
			{"4803 3330 37c1 c0bf", responses[1], 222},
			{"88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31", responses[2], 215},
		}},
		{"C.6", 256, []block{
			{"3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3", responses[0], 222},
			{"4883 640e ffc1 c0bf", responses[1], 222},
			{"88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07", responses[2], 215},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			d.SetTableSize(tt.table)
			for i, b := range tt.blocks {
				got, err := decode(&d, unhex(t, b.in))
				if err != nil {
					t.Fatalf("block %d: %v", i, err)
				}
				if diff := cmp.Diff(b.want, got); diff != "" {
					t.Errorf("block %d (-want +got):\n%s", i, diff)
				}
				if d.TableSize() != b.size {
					t.Errorf("block %d: table of %d bytes, want %d", i, d.TableSize(), b.size)
				}
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     *Error
	}{
		{"index 0", "80", errIndex},
		{"index beyond the static table", "be", errIndex},
		{"index beyond it, long", "ff00", errIndex},
		{"name index beyond", "7e 00", errIndex},
		{"name index beyond, long", "7f00 00", errIndex},
		{"huge index", "ff ff ff ff ff 07", errInteger},
		{"largest index", "ff 80 ff ff ff 07", errIndex},
		{"integer that never ends", "ff 80 80 80 80 80 80 80 00", errInteger},
		{"integer cut", "ff 80", errTruncated},
		{"no name", "40", errTruncated},
		{"name cut", "40 05 61", errTruncated},
		{"no value", "40 01 61", errTruncated},
		{"value cut", "40 01 61 05 62", errTruncated},
		{"huge string", "40 01 61 7f 80 ff ff ff 07 61", errTruncated},
		{"string of 2^31 and more", "40 01 61 7f ff ff ff ff 08 61", errInteger},
		{"EOS", "44 84 ff ff ff ff", errHuffman},
		{"EOS within", "44 86 1f ff ff ff fc ff", errHuffman},
		{"padding of eight bits", "44 82 1f ff", errHuffman},
		{"padding of a whole byte", "44 81 ff", errHuffman},
		{"padding of zeros", "44 81 18", errHuffman},
		{"update behind a field", "82 20", errUpdate},
		{"update beyond the limit", "3f e2 1f", errUpdateSize},
		{"update cut", "3f", errTruncated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			if _, err := decode(&d, unhex(t, tt.in)); err != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if !tt.want.Fatal() {
				t.Error("not fatal")
			}
		})
	}
}

func TestWellFormed(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []pair
	}{
		{"empty", "", nil},
		{"updates only", "20 3f e1 1f", nil},
		{"padding of seven bits", "44 83 03 0c 7f", pairs(":path", "0//")},
		{"empty Huffman string", "44 80", pairs(":path", "")},
		{"empty name", "00 00 00", pairs("", "")},
		{"upper case is not for here", "00 01 41 01 62", pairs("A", "b")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			got, err := decode(&d, unhex(t, tt.in))
			if err != nil || !cmp.Equal(tt.want, got) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestTableSize(t *testing.T) {
	type step struct {
		limit int // set before, if not -1
		in    string
		want  *Error
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"lowered, announced", []step{{100, "3f 45 82", nil}, {-1, "82", nil}}},
		{"lowered, announced smaller", []step{{100, "20 82", nil}}},
		{"lowered, not announced", []step{{100, "82", errNoUpdate}}},
		{"lowered, announced too large", []step{{100, "3f 46 82", errUpdateSize}}},
		{"lowered and raised, both announced", []step{{0, "", errNoUpdate}}},
		{"raised", []step{{8192, "82", nil}, {-1, "3f e1 3f 82", nil}}},
		{"lowered to what is in use", []step{{-1, "20 82", nil}, {100, "82", nil}, {-1, "3f 45", nil}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			for i, s := range tt.steps {
				if s.limit >= 0 {
					d.SetTableSize(uint32(s.limit))
				}
				if _, err := decode(&d, unhex(t, s.in)); err != s.want {
					t.Fatalf("step %d: got %v, want %v", i, err, s.want)
				}
			}
		})
	}
	t.Run("the lowest of several", func(t *testing.T) {
		for in, want := range map[string]*Error{"20 3f e1 1f 82": nil, "3f e1 1f 82": errUpdateSize, "82": errNoUpdate} {
			var d Decoder
			d.SetTableSize(0)
			d.SetTableSize(4096)
			if _, err := decode(&d, unhex(t, in)); err != want {
				t.Errorf("%s: got %v, want %v", in, err, want)
			}
		}
	})
}

// TestEvictedName inserts fields whose name is that of the entry they evict.
func TestEvictedName(t *testing.T) {
	var d Decoder
	value := strings.Repeat("v", 4096-32-6)
	block := append([]byte{0x40, 6}, "x-name"...)
	block = append(appendText(block, value, true), 0x7e)
	block = appendText(block, value, true)
	block = append(block, 0xbe)
	got, err := decode(&d, block)
	want := pairs("x-name", value, "x-name", value, "x-name", value)
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("got %d fields, %v", len(got), err)
	}
	if d.TableSize() != 4096 {
		t.Errorf("table of %d bytes", d.TableSize())
	}
	// One byte more does not fit and empties the table.
	got, err = decode(&d, append(appendText([]byte{0x7e}, value+"v", true), 0x82))
	if err != nil || len(got) != 2 || d.TableSize() != 0 {
		t.Errorf("got %d fields, %v, table of %d bytes", len(got), err, d.TableSize())
	}
}

func TestLimits(t *testing.T) {
	insert := append([]byte{0x40, 3}, "x-a\x05value"...) // counts 40
	for _, tt := range []struct {
		name   string
		limits Limits
		blocks int
		fields int
		want   *Error
	}{
		{"at the size", Limits{Size: 120}, 3, 3, nil},
		{"beyond the size", Limits{Size: 119}, 3, 2, errLarge},
		{"at the number", Limits{Fields: 3}, 3, 3, nil},
		{"beyond the number", Limits{Fields: 2}, 9, 2, errMany},
		{"at the hard limit", Limits{Size: 40, Hard: 120}, 3, 1, errLarge},
		{"beyond the hard limit", Limits{Size: 40, Hard: 119}, 3, 1, errCalm},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := Decoder{Limits: tt.limits}
			got, err := decode(&d, append(bytes.Repeat(insert, tt.blocks), 0x82)[:tt.blocks*len(insert)])
			if err != tt.want || len(got) != tt.fields {
				t.Fatalf("got %d fields and %v, want %d and %v", len(got), err, tt.fields, tt.want)
			}
			if err.fatal() {
				return
			}
			// The table is in step: every entry is there.
			d.Limits = Limits{}
			got, err = decode(&d, []byte{0xbe + byte(tt.blocks) - 1})
			if err != nil || !cmp.Equal(pairs("x-a", "value"), got) {
				t.Errorf("afterwards got %v, %v", got, err)
			}
		})
	}
}

func (e *Error) fatal() bool { return e != nil && e.Fatal() }

// TestBomb refers to a large entry by one byte, many times over.
func TestBomb(t *testing.T) {
	d := Decoder{Limits: Limits{Size: 60 << 10, Fields: 100}}
	if _, err := decode(&d, appendText(append([]byte{0x40, 1}, 'a'), strings.Repeat("v", 4000), true)); err != nil {
		t.Fatal(err)
	}
	bomb := bytes.Repeat([]byte{0xbe}, 1<<16)
	fields := 0
	arena, err := d.Decode(bomb, nil, func(header.Name, []byte, bool) { fields++ })
	if err != errLarge || fields != 15 {
		t.Errorf("%d fields, %v", fields, err)
	}
	if cap(arena) > 128<<10 {
		t.Errorf("an arena of %d bytes", cap(arena))
	}
	d.Limits.Hard = 1 << 20
	if _, err = d.Decode(bomb, arena[:0], func(header.Name, []byte, bool) {}); err != errCalm {
		t.Errorf("got %v, want %v", err, errCalm)
	}
}

// TestViews decodes into an arena that must grow, and looks at the views when
// all is done and the table has changed.
func TestViews(t *testing.T) {
	var e Encoder
	var d Decoder
	var m, got header.Map
	var arena []byte
	for range 3 {
		for name, head := range heads() {
			fill(&m, head)
			block := e.AppendMap(nil, &m, nil)
			got.Reset()
			var err *Error
			arena, err = d.Decode(block, arena[:0], func(n header.Name, v []byte, sensitive bool) { got.AddView(n, v) })
			if err != nil {
				t.Fatal(err)
			}
			clear(block)
			i := 0
			for n, v := range got.All() {
				if want := head[i]; n.String() != want.Name || string(v) != want.Value || n != header.NewName(n.String()) {
					t.Errorf("%s: field %d is %s: %s, want %v", name, i, n, v, want)
				}
				i++
			}
		}
	}
}

func TestStatic(t *testing.T) {
	x := xhpack.NewDecoder(4096, nil)
	var d Decoder
	for i := byte(1); i <= numStatic; i++ {
		want, _ := xdecode(x, []byte{0x80 | i})
		got, err := decode(&d, []byte{0x80 | i})
		if err != nil || !cmp.Equal(want, got) {
			t.Errorf("%d: got %v, %v, want %v", i, got, err, want)
		}
		n := static[i].name
		if n.ID() == 0 && otherStatic(n.String()) != i {
			t.Errorf("otherStatic(%s) = %d, want %d", n, otherStatic(n.String()), i)
		}
	}
}
