// SPDX-License-Identifier: Apache-2.0

package ondemand_test

import (
	"strings"
	"testing"

	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

// What the filter fetches is shown with management servers, in test/xds.

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &ondemandv3.OnDemand{}, &ondemandv3.PerRouteConfig{})
}

const typed = `"@type": type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.`

// edge has the filter with odcds, and nobody who answers.
func edge(odcds, route string) string {
	return proxytest.Edge{
		RouteConfig: "validate_clusters: false",
		Filters:     `- {name: od, typed_config: {` + typed + `OnDemand` + odcds + `}}`,
		Routes: `- match: {prefix: /none}
  route: {cluster: absent}
  typed_per_filter_config: {od: {` + typed + `PerRouteConfig` + route + `}}
- {match: {prefix: /absent}, route: {cluster: absent}}
- {match: {prefix: /up}, route: {cluster: up}}`,
	}.YAML()
}

// nobody is a source that does not answer.
func nobody(timeout string) string {
	return `, odcds: {timeout: ` + timeout + `, source: {resource_api_version: V3, api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: up}}]}}}`
}

// Without an answer a request goes on when its time is over; what is there is not asked
// for.
func TestNobodyAnswers(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	p := proxytest.Start(t, edge(nobody("0.02s"), ""), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
	for path, want := range map[string]int{"/up": 200, "/absent": 503, "/none": 503, "/else": 404} {
		if r := p.Do("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n"); r.StatusCode != want {
			t.Errorf("%s: %v, want %d", path, r, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	for odcds, want := range map[string]string{
		`, odcds: {}`:                  "odcds.source: is missing",
		`, odcds: {source: {ads: {}}}`: "odcds.source.ads: there is no dynamic_resources.ads_config",
		`, odcds: {source: {ads: {}}, resources_locator: "xdstp://"}`: "resources_locator",
	} {
		if _, err := proxytest.TryStart(t, edge(odcds, ""), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", odcds, err, want)
		}
	}
}
