// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"weir.dev/weir/proxy/proxytest"
)

// A host that the management server says is draining gets no more requests, is left out
// of the computation of load, and comes back when it is well.
func TestDrainingHosts(t *testing.T) {
	one, two := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("one"))), proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("two")))
	s := newServer(t, true)
	w := world{aggregated, "c", one.Addr()}
	set := func(version string, status corev3.HealthStatus) {
		t.Helper()
		a := message(t, &endpointv3.ClusterLoadAssignment{}, fmt.Sprintf(`{cluster_name: c, endpoints: [{lb_endpoints: [{health_status: %s, endpoint: {address: %s}}, {endpoint: {address: %s}}]}]}`,
			status, proxytest.Address(one.Addr()), proxytest.Address(two.Addr())))
		snapshot := w.snapshot(t, version)
		snapshot.Resources[types.Endpoint].Items["c"] = types.ResourceWithTTL{Resource: a}
		s.set(t, snapshot)
	}
	set("1", corev3.HealthStatus_HEALTHY)
	p := start(t, administered(bootstrap("GRPC", aggregated)), s.addr)
	addr := listening(t, p)
	answered(t, addr, "one")
	end := pound(t, addr, 2)
	set("2", corev3.HealthStatus_DRAINING)
	p.WaitGauge("cluster.c.membership_excluded", 1)
	if _, text := ask(t, p, "/clusters"); !strings.Contains(text, one.Addr()+"::health_flags::/eds_status_draining") {
		t.Errorf("/clusters tells %s", text)
	}
	for range 20 {
		if r := p.Do(plain); r.Content != "two" {
			t.Errorf("got %v", r)
		}
	}
	set("3", corev3.HealthStatus_HEALTHY)
	p.WaitGauge("cluster.c.membership_excluded", 0)
	answered(t, addr, "one")
	end()
}
