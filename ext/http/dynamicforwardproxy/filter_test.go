// SPDX-License-Identifier: Apache-2.0

package dynamicforwardproxy_test

import (
	"net"
	"strings"
	"testing"

	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &dfpv3.FilterConfig{}, &dfpv3.PerRouteConfig{})
}

func TestForward(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("here")))
	_, port, err := net.SplitHostPort(up.Addr())
	if err != nil {
		t.Fatal(err)
	}
	const cache = `dns_cache_config: {name: names, dns_lookup_family: V4_ONLY}`
	p := proxytest.Start(t, proxytest.Edge{
		AccessLog: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%",
		Filters:   `- {name: dfp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig, ` + cache + `}}`,
		Routes: `- match: {prefix: /rewritten}
  route: {cluster: names}
  typed_per_filter_config: {dfp: {"@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig, host_rewrite_literal: "localhost:` + port + `"}}
- {match: {prefix: /}, route: {cluster: names}}`,
		Clusters: `- name: names
  connect_timeout: 1s
  lb_policy: CLUSTER_PROVIDED
  cluster_type: {name: envoy.clusters.dynamic_forward_proxy, typed_config: {"@type": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig, ` + cache + `}}`,
	}.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
	for i, tt := range []struct {
		path, host string
		status     int
		log        string
	}{
		{"/", "localhost:" + port, 200, "200 - via_upstream"},
		{"/", "127.0.0.1:" + port, 200, "200 - via_upstream"},
		{"/rewritten", "elsewhere", 200, "200 - via_upstream"},
		{"/", "[::1", 400, ""},
		{"/", "a..b:" + port, 503, "503 DF dns_resolution_failure"},
	} {
		r := p.Do("GET " + tt.path + " HTTP/1.1\r\nhost: " + tt.host + "\r\n\r\n")
		if r.StatusCode != tt.status {
			t.Errorf("%s %s: %v", tt.host, tt.path, r)
		}
		if got := p.LogLines(i + 1)[i]; tt.log != "" && got != tt.log {
			t.Errorf("%s %s: access log %s", tt.host, tt.path, got)
		}
	}
	got := up.WaitRequests(3)
	if h := proxytest.Field(got[2], "host"); h != "localhost:"+port || !strings.HasPrefix(got[2], "GET /rewritten ") {
		t.Errorf("the rewritten request: %q", got[2])
	}
}
