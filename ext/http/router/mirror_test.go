// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/internal/reserve"
	"weir.dev/weir/proxy/proxytest"
)

const shadowCluster = `- name: shadow
  connect_timeout: 1s
  type: STATIC
  load_assignment: {cluster_name: shadow, endpoints: [{lb_endpoints: [{endpoint: {address: {{shadow}}}}]}]}`

func mirrored(policies, more string) proxytest.Edge {
	return proxytest.Edge{
		Routes:   "- {match: {prefix: /}, route: {cluster: up, " + more + " request_mirror_policies: [" + policies + "]}}",
		Clusters: shadowCluster,
	}
}

func TestMirror(t *testing.T) {
	cases := []struct {
		name, policies string
		request        string
		host, body     string
		copies         int
	}{
		{"without a body", "{cluster: shadow}", get, "a.test-shadow", "", 1},
		{"with a port", "{cluster: shadow}", "GET / HTTP/1.1\r\nhost: a:80\r\n\r\n", "a-shadow:80", "", 1},
		{"kept host", "{cluster: shadow, disable_shadow_host_suffix_append: true}", get, "a.test", "", 1},
		{"twice", "{cluster: shadow}, {cluster: shadow}", get, "a.test-shadow", "", 2},
		{"never", "{cluster: shadow, runtime_fraction: {default_value: {numerator: 0}}}", get, "", "", 0},
		{"unknown", "{cluster_header: x-none}", get, "", "", 0},
		{"body", "{cluster: shadow}", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody", "a-shadow", "body", 1},
		{"chunks", "{cluster: shadow}", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", "a-shadow", "body", 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			u, sh := proxytest.NewUpstream(t, steps(ok)), proxytest.NewUpstream(t, steps(failure))
			p := start(t, mirrored(c.policies, ""), map[string]string{"up": u.Addr(), "shadow": sh.Addr()})
			if res := p.Do(c.request); res.Content != "ok" {
				t.Fatalf("%v", res)
			}
			got := sh.WaitRequests(c.copies)
			if len(got) != c.copies {
				t.Fatalf("%d copies, want %d", len(got), c.copies)
			}
			for _, r := range got {
				_, body, _ := strings.Cut(r, "\r\n\r\n")
				check(t, "host", proxytest.Field(r, "host"), c.host)
				check(t, "body", body, c.body)
			}
			atRest(t, p)
			p.WaitGauge("cluster.shadow.upstream_rq_active", 0)
			if c.copies > 0 {
				p.WaitCounter("cluster.shadow.upstream_rq_503", uint64(c.copies))
			}
		})
	}
}

// TestMirrorNeverHarms: whatever happens to the copy, the request knows nothing of
// it, and whatever happens to the request, the copy is sent.
func TestMirrorNeverHarms(t *testing.T) {
	post := "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"
	for name, script := range map[string]func(*proxytest.Session){
		"hangs": silent, "closes": hangUp, "nonsense": proxytest.Answer("what?\r\n\r\n"),
		"refused": nil, "endless interim": func(s *proxytest.Session) {
			_, _ = s.Request()
			for s.Send("HTTP/1.1 102 P\r\n\r\n") == nil {
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, steps(ok))
			addr := ""
			if script == nil {
				addr = reserve.TCP(t)
			} else {
				addr = proxytest.NewUpstream(t, script).Addr()
			}
			p := start(t, mirrored("{cluster: shadow}", "timeout: 0.2s,"), map[string]string{"up": u.Addr(), "shadow": addr})
			c := p.Dial()
			for range 5 {
				for _, r := range []string{get, post} {
					if res := c.Do(r); res.Content != "ok" {
						t.Fatalf("%v", res)
					}
				}
			}
			p.WaitGauge("cluster.shadow.upstream_rq_active", 0)
			p.WaitGauge("cluster.shadow.upstream_rq_pending_active", 0)
		})
	}
	t.Run("the original is refused", func(t *testing.T) {
		sh := proxytest.NewUpstream(t, steps(ok))
		p := start(t, mirrored("{cluster: shadow}", ""), map[string]string{"up": reserve.TCP(t), "shadow": sh.Addr()})
		p.Do(get)
		sh.WaitRequests(1)
	})
	t.Run("too large", func(t *testing.T) {
		u, sh := proxytest.NewUpstream(t, steps(ok)), proxytest.NewUpstream(t, steps(ok))
		e := mirrored("{cluster: shadow}", "")
		e.Cluster = "per_connection_buffer_limit_bytes: 3"
		p := start(t, e, map[string]string{"up": u.Addr(), "shadow": sh.Addr()})
		if res := p.Do(post); res.Content != "ok" || sh.Connections() != 0 {
			t.Fatalf("%v, %d copies", res, sh.Connections())
		}
	})
}

// TestMirrorsThatHang: copies for a host that takes none cost a bounded amount of memory
// and no original anything.
func TestMirrorsThatHang(t *testing.T) {
	for name, script := range map[string]func(*proxytest.Session){
		"hangs": silent, "refuses": func(s *proxytest.Session) { _ = s.Reset() },
		"never ends": func(s *proxytest.Session) {
			_, _ = s.Request()
			for s.Send("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", strings.Repeat("x", 1000)) == nil {
				if s.Gone() != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			u, sh := proxytest.NewUpstream(t, steps(ok)), proxytest.NewUpstream(t, script)
			p := start(t, mirrored("{cluster: shadow}, {cluster: shadow}", ""), map[string]string{"up": u.Addr(), "shadow": sh.Addr()})
			const size = 700 << 10
			request := fmt.Sprintf("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%s", size, strings.Repeat("b", size))
			c := p.Dial() // One connection, and so one loop.
			for range 20 {
				if res := c.Do(request); res.Content != "ok" {
					t.Fatalf("%v", res)
				}
			}
			if name == "hangs" && p.Counter("cluster.up.retry_or_shadow_abandoned") < 20 {
				t.Errorf("of 40 copies of 700 KiB %d were left out", p.Counter("cluster.up.retry_or_shadow_abandoned"))
			}
			sh.Close()
			for _, g := range []string{"upstream_rq_active", "upstream_rq_pending_active", "upstream_cx_active"} {
				p.WaitGauge("cluster.shadow."+g, 0)
			}
			if res := c.Do(get); res.Content != "ok" {
				t.Fatalf("%v", res)
			}
		})
	}
}
