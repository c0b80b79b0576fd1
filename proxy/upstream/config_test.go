// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dnsclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	addrinfov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"
	httpgenericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/generic/v3"
	httptcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/tcp/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/tcp/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func parse(t *testing.T, text string) *clusterv3.Cluster {
	t.Helper()
	c := &clusterv3.Cluster{}
	if err := protojson.Unmarshal([]byte(text), c); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return c
}

func compile(t *testing.T, text string) *upstream.Config {
	t.Helper()
	cfg, problems := upstream.Compile(parse(t, text), testContext())
	if cfg == nil {
		t.Fatalf("compile: %v", problems)
	}
	return cfg
}

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt",
		&clusterv3.Cluster{}, &corev3.BindConfig{}, &httpv3.HttpProtocolOptions{}, &tcpv3.TcpProtocolOptions{},
		&dnsclusterv3.DnsCluster{}, &caresv3.CaresDnsResolverConfig{}, &addrinfov3.GetAddrInfoDnsResolverConfig{})
}

// endpoint is a load assignment with one endpoint.
func endpoint(address string) string {
	return `"load_assignment":{"cluster_name":"c","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"` +
		address + `","port_value":80}}}}]}]}`
}

func TestDefaults(t *testing.T) {
	c := compile(t, `{"name":"c",`+endpoint("127.0.0.1")+`}`)
	if c.ConnectTimeout != 5*time.Second || c.PerConnectionBufferLimit != 1<<20 || !c.WaitForWarm {
		t.Errorf("settings are %+v", c.Settings)
	}
	if c.HTTP.IdleTimeout != time.Hour || c.HTTP.MaxHeaders != 100 || c.HTTP.MaxResponseHeadersKB != 60 || c.HTTP.Version != upstream.UseHTTP1 {
		t.Errorf("http options are %+v", c.HTTP)
	}
	for p, th := range c.Thresholds {
		if th.MaxConnections != 1024 || th.MaxPendingRequests != 1024 || th.MaxRequests != 1024 || th.MaxRetries != 3 {
			t.Errorf("thresholds of %v are %+v", breaker.Priority(p), th)
		}
	}
	if c.PolicyName != "round_robin" || c.DiscoveryName != "STATIC" || c.HostSets.PanicThreshold != 50 || c.HostSets.OverprovisioningFactor != 140 {
		t.Errorf("balancing is %s %s %+v", c.PolicyName, c.DiscoveryName, c.HostSets)
	}
}

func TestCompile(t *testing.T) {
	typed := func(opts string) string {
		return `"typed_extension_protocol_options":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{
			"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",` + opts + `}}`
	}
	tests := map[string]struct {
		cluster string
		ok      func(*upstream.Config) bool
	}{
		"typed http options": {
			typed(`"common_http_protocol_options":{"idle_timeout":"7s","max_requests_per_connection":9},"explicit_http_config":{"http_protocol_options":{"header_key_format":{"proper_case_words":{}},"enable_trailers":true}}`),
			func(c *upstream.Config) bool {
				return c.HTTP.IdleTimeout == 7*time.Second && c.MaxRequestsPerConnection == 9 &&
					c.HTTP.HTTP1.KeyFormat == upstream.KeyProperCase && c.HTTP.HTTP1.Trailers
			},
		},
		"typed auto": {
			typed(`"auto_config":{}`),
			func(c *upstream.Config) bool { return c.HTTP.Version == upstream.UseALPN },
		},
		"deprecated downstream protocol": {
			`"protocol_selection":"USE_DOWNSTREAM_PROTOCOL","http2_protocol_options":{},"common_http_protocol_options":{"idle_timeout":"0s"}`,
			func(c *upstream.Config) bool {
				return c.HTTP.Version == upstream.UseDownstream && c.HTTP.IdleTimeout == 0
			},
		},
		"breakers": {
			`"circuit_breakers":{"thresholds":[{"max_connections":0,"track_remaining":true},{"priority":"HIGH","retry_budget":{"budget_percent":{"value":50}}}],
			"per_host_thresholds":[{"max_connections":4}]}`,
			func(c *upstream.Config) bool {
				h := c.Thresholds[breaker.High]
				return c.Thresholds[0].MaxConnections == 0 && c.Thresholds[0].TrackRemaining &&
					h.Budget.Percent == 50 && h.Budget.MinConcurrency == 3 && c.MaxConnectionsPerHost == 4
			},
		},
		"the first policy that is known": {
			`"load_balancing_policy":{"policies":[
			{"typed_extension_config":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.config.core.v3.BindConfig"}}},
			{"typed_extension_config":{"name":"y","typed_config":{"@type":"type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random"}}},
			{"typed_extension_config":{"name":"z","typed_config":{"@type":"type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"}}}]}`,
			func(c *upstream.Config) bool { return c.PolicyName == "random" },
		},
		"least request of the enum": {
			`"lb_policy":"LEAST_REQUEST","least_request_lb_config":{"choice_count":3,"slow_start_config":{"slow_start_window":"10s"}}`,
			func(c *upstream.Config) bool { return c.PolicyName == "least_request" },
		},
		"DnsCluster": {
			`"cluster_type":{"name":"envoy.cluster.dns","typed_config":{"@type":"type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster","dns_lookup_family":"V4_ONLY","all_addresses_in_single_endpoint":true}}`,
			func(c *upstream.Config) bool { return c.DiscoveryName == "LOGICAL_DNS" },
		},
		"keep-alive and bind": {
			`"upstream_connection_options":{"tcp_keepalive":{"keepalive_time":30}},"upstream_bind_config":{"source_address":{"address":"127.0.0.2","port_value":0},
			"socket_options":[{"level":1,"name":2,"int_value":3,"state":"STATE_BOUND"}]}`,
			func(c *upstream.Config) bool {
				return c.KeepAlive.Enabled && c.KeepAlive.Time == 30*time.Second && c.Bind.Source.String() == "127.0.0.2:0" &&
					c.Bind.Options[0].Int == 3 && c.Bind.Options[0].State == upstream.AfterBind
			},
		},
		"the pool that there is": {
			`"upstream_config":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.generic.v3.GenericConnectionPoolProto"}}`,
			func(c *upstream.Config) bool { return c.HTTP.Version == upstream.UseHTTP1 },
		},
		"panic threshold": {
			`"common_lb_config":{"healthy_panic_threshold":{"value":0}}`,
			func(c *upstream.Config) bool { return c.HostSets.PanicThreshold == 0 },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if c := compile(t, `{"name":"c",`+tt.cluster+`,`+endpoint("127.0.0.1")+`}`); !tt.ok(c) {
				t.Errorf("compiled to %+v", c.Settings)
			}
		})
	}
}

// TestUDPHosts: the protocol of a host's address is that of whoever reaches it.
func TestUDPHosts(t *testing.T) {
	if c, problems := upstream.Compile(parse(t, `{"name":"c","load_assignment":{"cluster_name":"c","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"protocol":"UDP","address":"127.0.0.1","port_value":53}}}}]}]}}`), testContext()); c == nil {
		t.Error(problems)
	}
}

func TestRefused(t *testing.T) {
	ip := endpoint("127.0.0.1")
	tests := map[string]struct{ cluster, path, reason string }{
		"no name":                 {ip, "name", "must not be empty"},
		"weight zero":             {`"name":"c","load_assignment":{"cluster_name":"c","endpoints":[{"lb_endpoints":[{"load_balancing_weight":0,"endpoint":{"address":{"socket_address":{"address":"127.0.0.1","port_value":80}}}}]}]}`, "load_assignment.endpoints[0].lb_endpoints[0].load_balancing_weight", "must be at least 1"},
		"EDS":                     {`"name":"c","type":"EDS"`, "type", "known are STATIC, STRICT_DNS, LOGICAL_DNS"},
		"ring hash":               {`"name":"c","lb_policy":"RING_HASH",` + ip, "lb_policy", "RING_HASH is not supported (known are round_robin"},
		"no known policy":         {`"name":"c","load_balancing_policy":{"policies":[{"typed_extension_config":{"name":"m","typed_config":{"@type":"type.googleapis.com/envoy.config.core.v3.BindConfig"}}}]},` + ip, "load_balancing_policy.policies", `none of these is supported: "m" (known are`},
		"subsets":                 {`"name":"c","lb_subset_config":{"fallback_policy":"ANY_ENDPOINT","subset_selectors":[{"keys":["a"]}]},` + ip, "lb_subset_config", "not supported"},
		"a filter":                {`"name":"c","filters":[{"name":"f"}],` + ip, "filters", "not supported"},
		"a transport":             {`"name":"c","transport_socket":{"name":"envoy.transport_sockets.tls","typed_config":{"@type":"type.googleapis.com/envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions"}},` + ip, "transport_socket", "not known"},
		"the apple resolver":      {`"name":"c","type":"STRICT_DNS","typed_dns_resolver_config":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions"}},` + endpoint("a"), "typed_dns_resolver_config.typed_config", "not supported"},
		"another pool":            {`"name":"c","upstream_config":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.tcp.v3.TcpConnectionPoolProto"}},` + ip, "upstream_config", "not supported"},
		"another selector":        {`"name":"c","upstream_bind_config":{"local_address_selector":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions"}}},` + ip, "upstream_bind_config.local_address_selector", "not known"},
		"a timeout of nothing":    {`"name":"c","connect_timeout":"0s",` + ip, "connect_timeout", "greater than 0"},
		"an unknown options name": {`"name":"c","typed_extension_protocol_options":{"x":{"@type":"type.googleapis.com/envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions"}},` + ip, "typed_extension_protocol_options[x]", "not known"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, problems := upstream.Compile(parse(t, "{"+tt.cluster+"}"), testContext())
			if c != nil {
				t.Fatal("compiled")
			}
			for _, p := range problems {
				if p.Path == tt.path && strings.Contains(p.Error(), tt.reason) && p.Severity == xds.Error {
					return
				}
			}
			t.Errorf("problems are %v, want %s: ...%s...", problems, tt.path, tt.reason)
		})
	}
}

func TestIgnoredFieldsAreReported(t *testing.T) {
	c, problems := upstream.Compile(parse(t, `{"name":"c","track_cluster_stats":{"per_endpoint_stats":true},`+endpoint("127.0.0.1")+`}`), testContext())
	if c == nil {
		t.Fatal(problems)
	}
	if len(problems) != 1 || problems[0].Path != "track_cluster_stats.per_endpoint_stats" || problems[0].Severity != xds.Warning {
		t.Errorf("no warning about per_endpoint_stats in %v", problems)
	}
}

// Types that clusters name and nothing else here does.
var _ = []proto.Message{&httpgenericv3.GenericConnectionPoolProto{}, &httptcpv3.TcpConnectionPoolProto{}}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{`{"name":"c",` + endpoint("127.0.0.1") + `}`, `{"name":"c","type":"STRICT_DNS",` + endpoint("a") + `}`} {
		c := &clusterv3.Cluster{}
		if err := protojson.Unmarshal([]byte(s), c); err != nil {
			f.Fatal(err)
		}
		b, err := proto.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	cx := testContext()
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &clusterv3.Cluster{}
		if proto.Unmarshal(b, c) != nil {
			return
		}
		cfg, problems := upstream.Compile(c, cx)
		if (cfg == nil) != xds.HasErrors(problems) {
			t.Errorf("config %v with problems %v", cfg, problems)
		}
	})
}
