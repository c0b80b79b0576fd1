// SPDX-License-Identifier: Apache-2.0

package hpack

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	xhpack "golang.org/x/net/http2/hpack"
	"weir.dev/weir/proxy/header"
)

// peers decodes all an encoder sends, by both implementations.
type peers struct {
	ours Decoder
	x    *xhpack.Decoder
}

func newPeers() *peers { return &peers{x: xhpack.NewDecoder(4096, nil)} }

func (p *peers) check(t testing.TB, block []byte, want []pair) {
	t.Helper()
	got, err := decode(&p.ours, block)
	if err != nil {
		t.Fatalf("%v in % x", err, block)
	}
	xgot, xerr := xdecode(p.x, block)
	if xerr != nil {
		t.Fatalf("x/net: %v in % x", xerr, block)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("ours (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, xgot); diff != "" {
		t.Fatalf("x/net (-want +got):\n%s", diff)
	}
}

// secrets marks what the encoder makes never indexed of its own accord.
func secrets(in []pair) (out []pair) {
	for _, f := range in {
		if f.Name == "authorization" || f.Name == "proxy-authorization" || f.Name == "cookie" && len(f.Value) < shortSecret {
			f.Sensitive = true
		}
		out = append(out, f)
	}
	return out
}

func TestEncode(t *testing.T) {
	for _, plain := range []bool{false, true} {
		e, p := Encoder{Plain: plain}, newPeers()
		var m header.Map
		for i := range 200 {
			for _, head := range heads() {
				// Something that never comes again, to drive entries out.
				head = append(head, pairs("x-n", fmt.Sprint(i), fmt.Sprint("x-", i/2), strings.Repeat("v", i))...)
				fill(&m, head)
				p.check(t, e.AppendMap(nil, &m, nil), secrets(head))
			}
		}
	}
}

func TestPseudoFirst(t *testing.T) {
	var e Encoder
	var m header.Map
	m.Add(header.Accept, "*/*")
	m.Add(header.Method, "GET")
	m.Add(header.NewName("x-a"), "1")
	m.Add(header.Path, "/")
	m.Add(header.Host, "h")
	m.Add(header.Connection, "close")
	m.Del(header.Host)
	newPeers().check(t, e.AppendMap(nil, &m, SkipNames(header.Connection)), pairs(":method", "GET", ":path", "/", "accept", "*/*", "x-a", "1"))
}

func TestSensitive(t *testing.T) {
	var e Encoder
	p := newPeers()
	fields := []pair{
		{":method", "GET", true}, {"x-key", "secret", true}, {"authorization", "Basic x", true},
		{"cookie", "short", true}, {"x-plain", "a", false},
	}
	var m header.Map
	fill(&m, fields)
	for range 4 {
		p.check(t, e.AppendMap(nil, &m, nil), fields)
	}
	if got, want := e.TableSize(), len("x-plain")+1+overhead; got != want {
		t.Errorf("a table of %d bytes, want %d", got, want)
	}
}

func TestPolicy(t *testing.T) {
	long := "/" + strings.Repeat("a", longPath)
	for _, tt := range []struct {
		name, value string
		sizes       [3]int // of the block, when it is sent again and again
	}{
		{":method", "GET", [3]int{1, 1, 1}},
		{"server", "aaaaaaaa", [3]int{7, 1, 1}},
		{"x-a", "aaaaaaaa", [3]int{11, 11, 1}},
		{":path", long[:100], [3]int{65, 65, 1}},
		{":path", long, [3]int{83, 83, 83}},
		{"content-length", "12", [3]int{5, 5, 5}},
		{"authorization", "aaaaaaaa", [3]int{8, 8, 8}},
		{"x-a", strings.Repeat("a", 3000), [3]int{1883, 1883, 1883}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var e Encoder
			for i, want := range tt.sizes {
				block := e.Append(e.Begin(nil), header.NewName(tt.name), []byte(tt.value), false)
				if len(block) != want {
					t.Errorf("block %d has %d bytes, want %d", i, len(block), want)
				}
			}
		})
	}
}

func TestEncoderTableSize(t *testing.T) {
	const own, peer = true, false
	type change struct {
		own bool
		n   uint32
	}
	for _, tt := range []struct {
		name    string
		changes []change
		want    string
	}{
		{"none", nil, ""},
		{"the default", []change{{peer, 4096}}, ""},
		{"smaller", []change{{peer, 100}}, "3f45"},
		{"zero", []change{{peer, 0}}, "20"},
		{"larger than ours", []change{{peer, 65536}}, ""},
		{"larger", []change{{own, 65536}, {peer, 8192}}, "3fe13f"},
		{"ours smaller", []change{{own, 31}}, "3f00"},
		{"down and up", []change{{peer, 0}, {peer, 4096}}, "203fe11f"},
		{"down and half up", []change{{peer, 0}, {peer, 100}}, "203f45"},
		{"down and half down", []change{{peer, 100}, {peer, 200}}, "203fa901"},
		{"up and down", []change{{own, 8192}, {peer, 8192}, {peer, 4096}}, "3fe11f"},
		{"down twice", []change{{peer, 100}, {peer, 0}}, "20"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var e Encoder
			p := newPeers()
			p.ours.SetTableSize(65536)
			p.x.SetAllowedMaxDynamicTableSize(65536)
			e.Append(e.Begin(nil), header.Server, []byte("a"), false)
			p.check(t, unhex(t, "7601 61"), pairs("server", "a"))
			for _, c := range tt.changes {
				if c.own {
					e.SetTableSize(c.n)
				} else {
					e.SetPeerTableSize(c.n)
				}
			}
			block := e.Begin(nil)
			if got := fmt.Sprintf("%x", block); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if again := e.Begin(nil); len(again) > 0 {
				t.Errorf("then % x", again)
			}
			p.check(t, e.Append(block, header.Server, []byte("a"), false), pairs("server", "a"))
			if e.table.max != p.ours.table.max || e.TableSize() != p.ours.TableSize() {
				t.Errorf("tables of %d/%d and %d/%d bytes", e.TableSize(), e.table.max, p.ours.TableSize(), p.ours.table.max)
			}
		})
	}
}

func TestInvalid(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        bool
	}{
		{"x-a", "a b\tc\x80", false}, {"x-a", "", false}, {"x-a", " a", true}, {"x-a", "a\t", true}, {"x-a", "a\nb", true},
		{"x-a", "a\rb", true}, {"x-a", "a\x00", true}, {"x-a", "a\x7f", true}, {"x a", "a", true}, {"x:a", "a", true},
		{":", "a", true}, {":x", "a", false}, {"::x", "a", true}, {"", "a", true}, {"x\x80", "a", true}, {"accept", "\x01", true},
	} {
		var m header.Map
		m.Add(header.Accept, "*/*")
		m.Add(header.NewName(tt.name), tt.value)
		if n, bad := Invalid(&m, nil); bad != tt.want || bad && n != header.NewName(tt.name) {
			t.Errorf("%q: %q: got %q, %t", tt.name, tt.value, n, bad)
		}
	}
	if ValidName("X-A") || ValidName([]byte("x-A")) {
		t.Error("upper case is valid")
	}
	var m header.Map
	m.Add(header.Connection, "\n")
	if _, bad := Invalid(&m, SkipNames(header.Connection)); bad {
		t.Error("a field that is skipped is checked")
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, head := range heads() {
		var e Encoder
		var d Decoder
		var m, got header.Map
		fill(&m, head)
		var block, arena []byte
		if n := testing.AllocsPerRun(100, func() {
			block = e.AppendMap(block[:0], &m, nil)
			got.Reset()
			var err *Error
			arena, err = d.Decode(block, arena[:0], func(n header.Name, v []byte, _ bool) { got.AddView(n, v) })
			if err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestMemory holds an idle connection's two tables to what they may cost.
func TestMemory(t *testing.T) {
	var e Encoder
	var d Decoder
	var m header.Map
	fill(&m, pairs(":method", "GET", ":path", "/", "accept", "*/*"))
	if _, err := decode(&d, e.AppendMap(nil, &m, nil)); err != nil {
		t.Fatal(err)
	}
	if cap(e.table.buf)+cap(e.table.entries)+cap(e.index.links)+cap(d.table.buf)+cap(d.table.entries) != 0 {
		t.Error("a table before there is an entry")
	}
	for i := range 100000 {
		if !d.table.add(0, fmt.Sprint(i), make([]byte, i%300)) {
			t.Fatal("not added")
		}
	}
	if cap(d.table.buf) > 4096 || cap(d.table.entries) > 128 {
		t.Errorf("rings of %d bytes and %d entries", cap(d.table.buf), cap(d.table.entries))
	}
}
