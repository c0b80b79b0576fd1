// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// Nobody is sent to a proxy that has its listeners and waits for their routes: neither is it
// live, nor does a health check on a port of its own pass.
func TestLiveOnceListenersServe(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	const source = "{ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}"
	w := world{source, "c", up.Addr()}
	m, addr := newMoody(t)
	m.say("1", w.listener(t), w.clusters(t), w.endpoints(t))
	yaml := strings.Replace(bootstrap("GRPC", source), "{clusters: [", `{listeners: [{name: health, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [
  {name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
    stat_prefix: health, route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 404}}]}]},
    http_filters: [{name: envoy.filters.http.health_check, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck, pass_through_mode: false}}, `+router+`]}}]}]}],
  clusters: [`, 1)
	p := proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"xds": addr}})
	m.wanted("envoy.config.route.v3.RouteConfiguration", "routes")
	health := p.Addr() // Of the first.
	ask := func() int {
		c := proxytest.Dial(t, health)
		defer c.Close()
		return c.Do(plain).StatusCode
	}
	if status := ask(); status != 503 {
		t.Errorf("without routes a health check is answered %d", status)
	}
	select {
	case <-p.Live():
		t.Error("the proxy is live without routes")
	default:
	}
	m.say("1", w.routes(t))
	<-p.Live()
	if status := ask(); status != 200 {
		t.Errorf("of a live proxy a health check is answered %d", status)
	}
	at := p.Listeners()
	if len(at) != 2 {
		t.Fatalf("a live proxy listens at %v", at)
	}
	for _, a := range at {
		if a != health {
			answered(t, a, "up")
		}
	}
}
