// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
)

// victims measures how long a client's requests take, the median of n: an attack that others pay for makes them all
// slow, while a few are slow on any machine that does something else, too.
func victims(t *testing.T, c *http.Client, url string, n int) time.Duration {
	t.Helper()
	took := make([]time.Duration, n)
	for i := range took {
		start := time.Now()
		res, err := c.Get(url)
		if err != nil {
			t.Fatalf("another client: %v", err)
		}
		_ = res.Body.Close()
		took[i] = time.Since(start)
		if res.StatusCode != 200 {
			t.Fatalf("another client gets %d", res.StatusCode)
		}
	}
	slices.Sort(took)
	return took[n/2]
}

// slack is for a machine whose processors serve the attacker and others, too.
const slack = 200 * time.Millisecond

// TestRapidReset opens streams and resets them at once (CVE-2023-44487).
func TestRapidReset(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 host %v", h2), func(t *testing.T) {
			b := newBackend(t, h2)
			e := proxytest.Edge{}
			if h2 {
				e.Cluster = http2Cluster
			}
			p := edge(t, b, e)
			other := &http.Client{Transport: &http.Transport{}}
			defer other.CloseIdleConnections()
			url := "http://" + p.Addr() + "/"
			calm := victims(t, other, url, 300)
			done := make(chan int)
			go func() {
				sent := 0
				for sent < 100000 {
					sent += rapid(t, p)
				}
				done <- sent
			}()
			hit := victims(t, other, url, 300)
			sent := <-done
			t.Logf("median %v, under %d resets %v; the host got %d requests, %d at a time", calm, sent, hit, b.total.Load()-600, b.most.Load())
			if hit > 2*calm+slack {
				t.Errorf("another client's median is %v, it was %v", hit, calm)
			}
			if n := b.most.Load(); n > 1024 {
				t.Errorf("the host worked on %d requests at a time", n)
			}
			if n := p.Counter("http2.inbound_reset_flood"); n == 0 {
				t.Error("no flood was counted")
			}
			settled(t, p)
		})
	}
}

// rapid sends streams and resets until the proxy ends the connection, or 100000, and
// returns how many.
func rapid(t *testing.T, p *proxytest.Proxy) int {
	w := dialWire(t, p)
	defer func() { _ = w.conn.Close() }() // Closed by the proxy, most likely.
	get := request("GET", "/slow")
	n := 0
	for n < 100000 {
		var s strings.Builder
		for range 100 {
			id := uint32(2*n + 1)
			s.WriteString(headers(id, true, get) + rst(id, cancel))
			n++
		}
		if w.send(s.String()) != nil {
			break
		}
	}
	if n >= 100000 {
		t.Errorf("%d resets were let pass", n)
	}
	// The proxy closes with bytes unread: its last words may be lost with a reset.
	if w.over(); w.goAway && w.code != enhanceYourCalm {
		t.Errorf("GOAWAY has code %d (%s)", w.code, w.debug)
	}
	return n
}

// TestMadeYouReset has the proxy reset streams (CVE-2025-8671): what it works on for
// a client stays within the limit of concurrent streams.
func TestMadeYouReset(t *testing.T) {
	const limit = 10
	for _, tt := range []struct {
		name string
		make func(id uint32) string
		// stat tells the flood, one of those here; "" where the connection ends at once for an error.
		stat string
	}{
		{"window update of nothing", func(id uint32) string { return window(id, 0) }, "inbound_window_update_frames_flood"},
		{"window overflow", func(id uint32) string { return window(id, 1<<31-1) }, "inbound_window_update_frames_flood"},
		{"data when the request has ended", func(id uint32) string { return frame(tData, 0, id, "x") }, "inbound_stream_errors_flood inbound_closed_stream_frames_flood inbound_refused_streams_flood"},
		{"headers when the request has ended", func(id uint32) string { return headers(id, true, request("GET", "/slow")) }, "inbound_stream_errors_flood inbound_closed_stream_frames_flood inbound_refused_streams_flood"},
		{"priority on itself", func(id uint32) string { return frame(tPriority, 0, id, u32(id)+"\x10") }, "inbound_stream_errors_flood inbound_closed_stream_frames_flood inbound_refused_streams_flood"},
		{"priority of a wrong size", func(id uint32) string { return frame(tPriority, 0, id, "x") }, "inbound_stream_errors_flood inbound_closed_stream_frames_flood inbound_refused_streams_flood"},
		{"data beyond its frame's size", func(id uint32) string { return frame(tData, 0, id, strings.Repeat("x", 16385)) }, "inbound_stream_errors_flood inbound_closed_stream_frames_flood inbound_refused_streams_flood"},
		{"reset by the client", func(id uint32) string { return rst(id, cancel) }, "inbound_reset_flood inbound_closed_stream_frames_flood"},
		{"reset of a wrong size", func(id uint32) string { return frame(tReset, 0, id, "x") }, ""},
		{"window update of a wrong size", func(id uint32) string { return frame(tWindow, 0, id, "x") }, ""},
		{"padding beyond the frame", func(id uint32) string { return frame(tData, padded, id, "\xff") }, ""},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 host %v", tt.name, h2), func(t *testing.T) {
				b := newBackend(t, h2)
				e := proxytest.Edge{Manager: fmt.Sprintf("http2_protocol_options: {max_concurrent_streams: %d}", limit)}
				if h2 {
					e.Cluster = http2Cluster
				}
				p := edge(t, b, e)
				w := dialWire(t, p)
				n := 0
				for n < 20000 {
					var s strings.Builder
					for range 50 {
						id := uint32(2*n + 1)
						s.WriteString(headers(id, true, request("GET", "/slow")) + tt.make(id))
						n++
					}
					if w.send(s.String()) != nil {
						break
					}
				}
				code, ok := w.over()
				if ok && tt.stat != "" && code != enhanceYourCalm {
					t.Errorf("GOAWAY has code %d (%s)", code, w.debug)
				}
				if m := b.most.Load(); m > limit {
					t.Errorf("the host worked on %d requests at a time, the limit is %d", m, limit)
				}
				t.Logf("ended after %d: %d %s; the host saw %d, %d at a time", n, code, w.debug, b.total.Load(), b.most.Load())
				counted := uint64(0)
				for _, stat := range strings.Fields(tt.stat) {
					counted += p.Counter("http2." + stat)
				}
				if tt.stat != "" && counted != 1 {
					t.Errorf("%s is %d", tt.stat, counted)
				}
				settled(t, p)
			})
		}
	}
}
