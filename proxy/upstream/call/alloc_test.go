// SPDX-License-Identifier: Apache-2.0

//go:build !race

package call_test

import (
	"net/http"
	"testing"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/upstream/call"
)

// TestAllocations: a call on a connection that there is costs next to nothing.
func TestAllocations(t *testing.T) {
	r := newRig(t)
	r.add("a", speak1, proxytest.NewUpstream(t, func(s *proxytest.Session) {
		for {
			if _, err := s.Head(); err != nil || s.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") != nil {
				return
			}
		}
	}).Addr())
	c := call.NewClient(&call.Service{Cluster: "a", Timeout: time.Minute}, r.clusters)
	path := []byte("/")
	r.on(func(tk *engine.Task) {
		once := func() {
			k := c.Begin(http.MethodGet, path)
			if err := k.Do(tk); err != nil {
				t.Error(err)
			}
			k.End()
		}
		once()
		// The host of this test allocates too.
		if n := testing.AllocsPerRun(200, once); n > 20 {
			t.Errorf("%.0f allocations per call", n)
		}
	})
}
