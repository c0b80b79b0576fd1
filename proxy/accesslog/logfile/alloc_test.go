// SPDX-License-Identifier: Apache-2.0

//go:build !race

package logfile

import (
	"testing"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/format"
)

func TestNoAllocations(t *testing.T) {
	s := NewSet(Options{})
	w, err := s.Writer("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	sink := NewSink(w, compile(t, format.Default))
	info := line("r")
	// Both buffers of the shard grow to their size first.
	for range 10_000 {
		sink.Log(0, info, accesslog.DownstreamEnd)
	}
	if n := testing.AllocsPerRun(20_000, func() { sink.Log(0, info, accesslog.DownstreamEnd) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkLog(b *testing.B) {
	s := NewSet(Options{})
	w, err := s.Writer("/dev/null")
	if err != nil {
		b.Fatal(err)
	}
	sink := NewSink(w, compile(b, format.Default))
	info := line("r")
	b.ReportAllocs()
	for b.Loop() {
		sink.Log(0, info, accesslog.DownstreamEnd)
	}
	if err := s.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
