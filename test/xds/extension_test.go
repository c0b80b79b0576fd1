// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"net"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

const (
	mutation = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
	buffer   = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer"
)

// discovered is a filter whose configuration is delivered.
func discovered(name, types, more string) string {
	return `{name: ` + name + `, config_discovery: {config_source: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}, type_urls: [` + types + `]` + more + `}}`
}

func says(value string) string {
	return `{"@type": ` + mutation + `, mutations: {response_mutations: [{append: {header: {key: x-said, value: "` + value + `"}}}]}}`
}

// extended is a bootstrap with a listener for each list of HTTP filters before the
// router, and one for each list of network filters.
func extended(ads string, http, network []string) string {
	var listeners []string
	add := func(filters string) {
		listeners = append(listeners, fmt.Sprintf(`{name: l%d, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [%s]}]}`, len(listeners), filters))
	}
	for _, f := range http {
		add(`{name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
      stat_prefix: test, http_filters: [` + f + `, ` + router + `], route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [
        {match: {prefix: /}, direct_response: {status: 200}}]}]}}}`)
	}
	for _, f := range network {
		add(f)
	}
	return `{node: {id: edge-1, cluster: edges}, admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}},
dynamic_resources: {ads_config: {api_type: ` + ads + `, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}},
static_resources: {listeners: [` + strings.Join(listeners, ", ") + `],
  clusters: [{name: xds, type: STATIC, connect_timeout: 1s,
    typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}},
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {{xds}}}}]}]}}]}}`
}

// extensions sets the extension configs, by name, that the server has.
func (s *server) extensions(t *testing.T, version string, configs map[string]string) {
	t.Helper()
	var list []types.Resource
	for name, cfg := range configs {
		list = append(list, message(t, &corev3.TypedExtensionConfig{}, `{name: `+name+`, typed_config: `+cfg+`}`))
	}
	snapshot, err := cachev3.NewSnapshot(version, map[resourcev3.Type][]types.Resource{resourcev3.ExtensionConfigType: list})
	if err != nil {
		t.Fatal(err)
	}
	s.set(t, snapshot)
}

func said(t *testing.T, addr, want string) {
	t.Helper()
	c := proxytest.Dial(t, addr)
	defer func() { c.Close() }()
	proxytest.Eventually(t, "the filter's word", func() (string, bool) {
		r := c.Do(plain)
		got := fmt.Sprint(r.StatusCode, " ", r.Header.Get("x-said"))
		if r.Close {
			c.Close()
			c = proxytest.Dial(t, addr)
		}
		return got, got == want
	})
}

// Configurations of HTTP filters come from go-control-plane's server: what is shared, of
// a type that was not promised, or gone, and all under load.
func TestHTTPFiltersAreFetched(t *testing.T) {
	for _, ads := range []string{"GRPC", "DELTA_GRPC"} {
		t.Run(ads, func(t *testing.T) {
			s := newServer(t, true)
			p := start(t, extended(ads, []string{
				discovered("word", mutation, ""),
				discovered("word", mutation+", "+buffer, ", default_config: "+says("default")),
				discovered("other", mutation, ", apply_default_config_without_warming: true, default_config: "+says("at once")),
			}, nil), s.addr)
			proxytest.Eventually(t, "the listeners", func() (int, bool) { n := len(p.Listeners()); return n, n == 1 })
			said(t, p.Listeners()[0], "200 at once")
			if _, text := ask(t, p, "/init_dump"); !strings.Contains(text, "extension config word") {
				t.Errorf("/init_dump tells %s", text)
			}
			s.extensions(t, "1", map[string]string{"word": says("one")})
			proxytest.Eventually(t, "the listeners", func() (int, bool) { n := len(p.Listeners()); return n, n == 3 })
			for _, addr := range p.Listeners()[:2] {
				said(t, addr, "200 one")
			}
			d := dump(t, p).ecds.GetEcdsFilters()
			if len(d) != 1 || d[0].GetVersionInfo() == "" || unpack(t, d[0].GetEcdsFilter(), &corev3.TypedExtensionConfig{}).GetName() != "word" {
				t.Errorf("/config_dump tells %v", d)
			}
			end := pound(t, p.Listeners()[0], 2)
			for i := range 50 {
				s.extensions(t, fmt.Sprint("load", i), map[string]string{"word": says(fmt.Sprint(i))})
			}
			said(t, p.Listeners()[0], "200 49")
			end()
			said(t, p.Listeners()[1], "200 49")

			// A type that one of the two does not list is refused for both.
			s.extensions(t, "2", map[string]string{"word": `{"@type": ` + buffer + `, max_request_bytes: 1}`})
			proxytest.Eventually(t, "the failures", func() (uint64, bool) {
				n := p.Counter("extension_config_discovery.http_filter.word.config_fail")
				return n, n > 0
			})
			said(t, p.Listeners()[0], "200 49")
			said(t, p.Listeners()[1], "200 49")
			if e := dump(t, p).ecds.GetEcdsFilters()[0].GetErrorState(); e.GetVersionInfo() == "" || !strings.Contains(e.GetDetails(), "not among type_urls") {
				t.Errorf("the refusal is %v", e)
			}
			if ads == "DELTA_GRPC" { // A state of the world cannot tell that one is gone.
				s.extensions(t, "3", map[string]string{"other": says("other")})
				said(t, p.Listeners()[0], "500 ")
				said(t, p.Listeners()[1], "200 default")
				said(t, p.Listeners()[2], "200 other")
			}
			s.extensions(t, "4", map[string]string{"word": says("four")})
			said(t, p.Listeners()[0], "200 four")
			said(t, p.Listeners()[1], "200 four")
		})
	}
}

// Network filters and listener filters come the same way; a connection keeps those it
// began with, and one for which there is none is closed.
func TestFiltersOfConnectionsAreFetched(t *testing.T) {
	const (
		echo   = "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"
		direct = "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config"
		limit  = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
	)
	rbac := func(action string) string {
		return `{"@type": ` + limit + `, stat_prefix: x, rules: {action: ` + action + `, policies: {all: {permissions: [{any: true}], principals: [{any: true}]}}}}`
	}
	s := newServer(t, true)
	s.extensions(t, "1", map[string]string{"end": `{"@type": ` + echo + `}`, "guard": rbac("ALLOW")})
	p := start(t, extended("DELTA_GRPC", nil, []string{discovered("guard", limit, "") + ", " + discovered("end", echo+", "+direct, "")}), s.addr)
	addr := listening(t, p)
	echoes := proxytest.Dial(t, addr)
	defer echoes.Close()
	exchange := func(want string) {
		t.Helper()
		echoes.Send(want)
		if got := echoes.ReadN(len(want)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	exchange("one")
	hello := func(want string) {
		t.Helper()
		proxytest.Eventually(t, "what a new connection hears", func() (string, bool) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return err.Error(), false
			}
			defer func() { _ = c.Close() }()
			if _, err := c.Write([]byte("x")); err != nil {
				return err.Error(), false
			}
			b := make([]byte, 16)
			n, _ := c.Read(b)
			return string(b[:n]), string(b[:n]) == want
		})
	}
	hello("x")
	s.extensions(t, "2", map[string]string{"end": `{"@type": ` + direct + `, response: {inline_string: hello}}`, "guard": rbac("ALLOW")})
	hello("hello")
	exchange("two")
	s.extensions(t, "3", map[string]string{"guard": rbac("ALLOW")})
	hello("")
	exchange("three")
	s.extensions(t, "4", map[string]string{"end": `{"@type": ` + echo + `}`, "guard": rbac("DENY")})
	hello("")
	s.extensions(t, "5", map[string]string{"end": `{"@type": ` + echo + `}`, "guard": rbac("ALLOW")})
	hello("x")
	exchange("four")
}

// What cannot be is refused when the configuration is read.
func TestBadDiscoveries(t *testing.T) {
	for name, tt := range map[string]struct{ filter, want string }{
		"no types":     {`{name: x, config_discovery: {config_source: {ads: {}}}}`, "type_urls"},
		"unknown type": {discovered("x", "type.googleapis.com/nobody.Knows", ""), "config_discovery.type_urls[0]: the extension nobody.Knows is not supported"},
		"terminal":     {discovered("x", "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", ""), "config_discovery.type_urls[0]: a terminal filter must be the last"},
		"no default":   {discovered("x", mutation, ", apply_default_config_without_warming: true"), "apply_default_config_without_warming: there is no default_config"},
		"default":      {discovered("x", mutation, ", default_config: {\"@type\": "+buffer+", max_request_bytes: 1}"), "default_config.typed_config: is a envoy.extensions.filters.http.buffer.v3.Buffer, which is not among type_urls"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := proxytest.TryStart(t, strings.ReplaceAll(extended("GRPC", []string{tt.filter}, nil), "{{xds}}", proxytest.Address("127.0.0.1:1")), proxytest.Options{Extensions: all.Extensions(), Concurrency: 1})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
		})
	}
}
