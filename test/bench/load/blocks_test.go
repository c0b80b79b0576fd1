// SPDX-License-Identifier: Apache-2.0

package load

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/test/bench/frame"
)

// TestSequencesDecodeForEver reads what a connection sends, far into its cycle, as a server does.
func TestSequencesDecodeForEver(t *testing.T) {
	for name, spec := range map[string]Spec{
		"alike":  {Host: "bench.test", Path: "/100"},
		"varied": {Host: "bench.test", Path: "/shop/{n}/100", Spread: 2000},
		"gRPC":   {Host: "bench.test", Path: "/bench.Echo/Unary", Messages: 1, Cert: []byte("c")},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := encode(spec)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d once, %d in the cycle", len(s.once), len(s.cycle))
			dec := hpack.NewDecoder(4096, nil)
			want := requests(spec)
			for i := range len(s.once) + 2*len(s.cycle) + cycleLen {
				f, n, err := frame.Next(s.at(i))
				if err != nil || n != len(s.at(i)) || f.Type != frame.Headers {
					t.Fatalf("request %d: %+v, %v", i, f, err)
				}
				got, err := dec.DecodeFull(f.Payload)
				if err != nil {
					t.Fatalf("request %d: %v", i, err)
				}
				if d := cmp.Diff(want[i%cycleLen], got); d != "" {
					t.Fatalf("request %d: %s", i, d)
				}
			}
		})
	}
}
