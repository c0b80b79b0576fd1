// SPDX-License-Identifier: Apache-2.0

package tcpproxy_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/upstream"
)

// TestHealthFailure: the connections to a host that has become unhealthy stay, unless
// the cluster says otherwise; those to other hosts stay in any case.
func TestHealthFailure(t *testing.T) {
	for _, tt := range []struct {
		name, field string
		closes      bool
	}{
		{"stays", "", false},
		{"closes", "close_connections_on_host_health_failure: true", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up, other := proxytest.NewUpstream(t, echo), proxytest.NewUpstream(t, echo)
			reg := all.Extensions()
			var clusters *upstream.Manager
			for i := range reg.Network {
				if f := &reg.Network[i]; f.Terminal {
					made := f.Handler
					f.Handler = func(cfg proto.Message, n *extension.Network) (conn.Factory, error) {
						clusters = n.Clusters
						return made(cfg, n)
					}
				}
			}
			cluster := tt.field
			if cluster != "" {
				cluster += ", "
			}
			e := edge{target: "cluster: two", clusters: `, {name: two, ` + cluster + `connect_timeout: 1s, load_assignment: {cluster_name: two, endpoints: [{lb_endpoints: [{endpoint: {address: {{up}}}}, {endpoint: {address: {{other}}}}]}]}}`}
			p := proxytest.Start(t, e.yaml(), proxytest.Options{Extensions: reg, Backends: map[string]string{"up": up.Addr(), "other": other.Addr()}})
			exchange := func(c *proxytest.Client) {
				t.Helper()
				c.Send("x")
				if got := c.ReadN(1); got != "x" {
					t.Fatalf("%q", got)
				}
			}
			first := p.Dial() // Round robin: one to each host.
			exchange(first)
			took := up.Connections() == 1
			second := p.Dial()
			exchange(second)
			if !took {
				first, second = second, first
			}
			if up.Connections() != 1 || other.Connections() != 1 {
				t.Fatalf("%d and %d connections", up.Connections(), other.Connections())
			}
			cl := clusters.Get("two")
			for _, h := range cl.Set().Hosts {
				if h.Address.String() == up.Addr() {
					cl.SetHealth(h, upstream.FailedActiveHC, 0)
				}
			}
			if tt.closes {
				first.ExpectClosed()
				p.WaitGauge("cluster.two.upstream_cx_active", 1)
				p.WaitGauge("cluster.two.upstream_rq_active", 1)
			} else {
				exchange(first)
			}
			exchange(second)
			exchange(p.Dial())
			if up.Connections() != 1 {
				t.Error("a new connection went to the unhealthy host")
			}
		})
	}
}
