// SPDX-License-Identifier: Apache-2.0

package snidynamicforwardproxy_test

import (
	"net"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// asks makes each connection one that asks for a server by SNI.
type asks string

func (a asks) Accept(_ *engine.Task, c *conn.Conn) error {
	c.Info.ServerName = string(a)
	return nil
}

func extensions() *extension.Registry {
	r := all.Extensions()
	r.Network = append(r.Network, extension.NetworkFilter{
		Name: "test", Config: &wrapperspb.StringValue{},
		New: func(m proto.Message, _ *extension.Network) (conn.Filter, error) {
			return asks(m.(*wrapperspb.StringValue).GetValue()), nil
		},
	})
	return r
}

func yaml(name, port, cache string) string {
	const network = `"@type": type.googleapis.com/envoy.extensions.filters.network.`
	dns := `dns_cache_config: {name: names, dns_lookup_family: V4_ONLY` + cache + `}`
	return `
static_resources:
  listeners:
  - name: test
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - {name: asks, typed_config: {"@type": type.googleapis.com/google.protobuf.StringValue, value: "` + name + `"}}
      - {name: sni, typed_config: {` + network + `sni_dynamic_forward_proxy.v3.FilterConfig, port_value: ` + port + `, ` + dns + `}}
      - {name: tcp, typed_config: {` + network + `tcp_proxy.v3.TcpProxy, stat_prefix: test, cluster: names}}
  clusters:
  - name: names
    connect_timeout: 1s
    lb_policy: CLUSTER_PROVIDED
    cluster_type: {name: envoy.clusters.dynamic_forward_proxy, typed_config: {"@type": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig, ` + dns + `}}
`
}

func TestForward(t *testing.T) {
	up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		b, _ := s.ReadN(4)
		_ = s.Send("<" + b + ">")
	})
	_, port, err := net.SplitHostPort(up.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, cache, want string }{
		{"localhost", "", "<ping>"},
		{"Sub.LocalHost", "", "<ping>"},
		{"127.0.0.1", "", "<ping>"},
		{"", "", ""},
		{"no such name", "", ""},
		{"localhost", `, max_hosts: 1, preresolve_hostnames: [{address: other.localhost, port_value: 1}]`, ""},
		{"localhost", `, resolved_address_filter: {ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}`, ""},
		{"127.0.0.1", `, resolved_address_filter: {ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}], invert_match: true}`, ""},
	} {
		p, err := proxytest.TryStart(t, yaml(tt.name, port, tt.cache), proxytest.Options{Extensions: extensions()})
		if err != nil {
			t.Fatal(err)
		}
		c := p.Dial()
		if c.TrySend("ping") == nil {
			if got, _ := c.ReadAll(); got != tt.want {
				t.Errorf("%q%s: %q", tt.name, tt.cache, got)
			}
		}
		if tt.want != "" {
			p.WaitGauge("dns_cache.names.num_hosts", 1)
			p.WaitGauge("cluster.names.membership_total", 1)
		}
		p.Close()
	}
}

func TestRefused(t *testing.T) {
	y := yaml("a", "443", "")
	for name, tt := range map[string]struct{ yaml, want string }{
		"policy":           {strings.Replace(y, "lb_policy: CLUSTER_PROVIDED", "lb_policy: ROUND_ROBIN", 1), "CLUSTER_PROVIDED"},
		"two of a name":    {strings.Replace(y, "V4_ONLY", "V6_ONLY", 1), "configured otherwise"},
		"provided by none": {strings.Replace(yaml("a", "443", ""), "clusters:", "clusters:\n  - {name: s, type: STATIC, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s}", 1), "no meaning"},
	} {
		_, err := proxytest.TryStart(t, tt.yaml, proxytest.Options{Extensions: extensions()})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
