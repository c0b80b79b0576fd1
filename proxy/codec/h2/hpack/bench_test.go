// SPDX-License-Identifier: Apache-2.0

package hpack

import (
	"bytes"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
	"weir.dev/weir/proxy/header"
)

func perField(b *testing.B, fields int) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(fields), "ns/field")
}

// names in the order of the results.
var benchHeads = []string{"curl", "browser", "grpc", "response"}

func BenchmarkDecode(b *testing.B) {
	for _, name := range benchHeads {
		head := heads()[name]
		var m header.Map
		fill(&m, head)
		// cold is a connection's first block, all literals in Huffman code; warm is
		// one that refers to what the table has.
		var e, fresh Encoder
		fresh.SetTableSize(0)
		for range 3 {
			e.AppendMap(nil, &m, nil)
		}
		cold := fresh.AppendMap(nil, &m, nil)
		b.Run(name+"/literal", func(b *testing.B) {
			var d Decoder
			benchDecode(b, &d, cold, len(head))
		})
		b.Run(name+"/literal-x", func(b *testing.B) {
			benchX(b, xhpack.NewDecoder(4096, nil), cold, len(head))
		})
		var again Encoder
		var d Decoder
		x := xhpack.NewDecoder(4096, nil)
		for range 3 {
			block := again.AppendMap(nil, &m, nil)
			if _, err := decode(&d, block); err != nil {
				b.Fatal(err)
			}
			if _, err := xdecode(x, block); err != nil {
				b.Fatal(err)
			}
		}
		warm := again.AppendMap(nil, &m, nil)
		b.Run(name+"/indexed", func(b *testing.B) { benchDecode(b, &d, warm, len(head)) })
		b.Run(name+"/indexed-x", func(b *testing.B) { benchX(b, x, warm, len(head)) })
	}
}

func benchDecode(b *testing.B, d *Decoder, block []byte, fields int) {
	b.Helper()
	b.ReportAllocs()
	var m header.Map
	var arena []byte
	var err *Error
	for b.Loop() {
		m.Reset()
		arena, err = d.Decode(block, arena[:0], func(n header.Name, v []byte, _ bool) { m.AddView(n, v) })
		if err != nil {
			b.Fatal(err)
		}
	}
	perField(b, fields)
}

func benchX(b *testing.B, d *xhpack.Decoder, block []byte, fields int) {
	b.Helper()
	b.ReportAllocs()
	var m header.Map
	d.SetEmitFunc(func(f xhpack.HeaderField) { m.Add(header.NewName(f.Name), f.Value) })
	for b.Loop() {
		m.Reset()
		if _, err := d.Write(block); err != nil {
			b.Fatal(err)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
	perField(b, fields)
}

func BenchmarkEncode(b *testing.B) {
	for _, name := range benchHeads {
		head := heads()[name]
		var m header.Map
		fill(&m, head)
		for _, plain := range []bool{false, true} {
			kind := "/huffman"
			if plain {
				kind = "/plain"
			}
			for _, table := range []uint32{0, 4096} {
				sub := name + kind
				if table > 0 {
					sub += "-indexed"
				}
				b.Run(sub, func(b *testing.B) {
					e := Encoder{Plain: plain}
					e.SetTableSize(table)
					var block []byte
					b.ReportAllocs()
					for b.Loop() {
						block = e.AppendMap(block[:0], &m, nil)
					}
					perField(b, len(head))
					b.ReportMetric(float64(len(block)), "B/block")
				})
			}
		}
		b.Run(name+"/x", func(b *testing.B) {
			var buf bytes.Buffer
			e := xhpack.NewEncoder(&buf)
			b.ReportAllocs()
			for b.Loop() {
				buf.Reset()
				for n, v := range m.All() {
					_ = e.WriteField(xhpack.HeaderField{Name: n.String(), Value: string(v)})
				}
			}
			perField(b, len(head))
			b.ReportMetric(float64(buf.Len()), "B/block")
		})
	}
}
