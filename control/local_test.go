// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	dfpclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	snidfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
)

// TestNotTheProxyItself: where proxies run in Pods, neither a Backend nor the host that a request names leads to the
// proxy's own machine, where its admin is. A proxy that somebody runs beside their backends forwards to them.
func TestNotTheProxyItself(t *testing.T) {
	const tail = "---\n" + `apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: anywhere}
spec: {type: DynamicResolver}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: named}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: anywhere}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: tls}
spec: {gatewayClassName: weir, listeners: [{name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: named}
spec:
  parentRefs: [{name: tls}]
  hostnames: [named.example.com]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: anywhere}]}]
`
	backends, hosts := "", map[string]string{
		"ip: {address: 127.0.0.1": "127.0.0.1 is the proxy's own machine", "ip: {address: '::1'": "::1 is the proxy's own machine",
		"ip: {address: '::ffff:127.0.0.1'": "::ffff:127.0.0.1 is", "ip: {address: 0.0.0.0": "0.0.0.0 is", "ip: {address: 169.254.169.254": "169.254.169.254 is",
		"fqdn: {hostname: localhost": "localhost is", "fqdn: {hostname: admin.localhost": "admin.localhost is", "ip: {address: 10.0.0.1": "", "fqdn: {hostname: example.com": "",
	}
	of, n := map[string]string{}, 0
	for host := range hosts {
		name := "b" + string(rune('a'+n))
		n++
		of[name] = host
		backends += strings.NewReplacer("NAME", name, "HOST", host).Replace(`---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: NAME}
spec: {endpoints: [HOST, port: 19000}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME}
spec:
  parentRefs: [{name: edge}]
  hostnames: [NAME.example.com]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: NAME}]}]
`)
	}
	backends = strings.ReplaceAll(backends, "[ip:", "[{ip:")
	backends = strings.ReplaceAll(backends, "[fqdn:", "[{fqdn:")
	all := controltest.Objects(t, edge+backends+tail)
	for _, pods := range []bool{true, false} {
		w := controltest.NewWorld(t, control.Options{Provision: pods})
		w.Apply(all...)
		text := w.Status()
		for name, host := range of {
			_, at, _ := strings.Cut(text, "HTTPRoute default/"+name+"\n")
			at, _, _ = strings.Cut(at, "\nHTTPRoute ")
			want := hosts[host]
			if refused := strings.Contains(at, "not ResolvedRefs"); refused != (pods && want != "") || refused && !strings.Contains(at, want) {
				t.Errorf("in Pods: %v: %s}: %s", pods, host, at)
			}
		}
		filter := resolved(t, w)
		for ip, own := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true, "0.0.0.0": true, "::": true, "169.254.169.254": true, "fe80::1": true, "10.0.0.1": false, "192.0.2.1": false, "2001:db8::1": false} {
			if allowed := !slices.ContainsFunc(filter, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr(ip).Unmap()) }); allowed != (!pods || !own) {
				t.Errorf("in Pods: %v: %s is allowed: %v", pods, ip, allowed)
			}
		}
	}
}

// resolved returns the addresses that the proxies of a World do not take for the host that a request, or a client of TLS,
// names.
func resolved(t *testing.T, w *controltest.World) (out []netip.Prefix) {
	t.Helper()
	for _, c := range w.Snapshot().Clusters().All() {
		if c.GetClusterType() == nil {
			continue
		}
		var config dfpclusterv3.ClusterConfig
		if err := c.GetClusterType().GetTypedConfig().UnmarshalTo(&config); err != nil {
			t.Fatal(err)
		}
		asks := false
		for _, l := range w.Snapshot().Listeners().All() {
			for _, ch := range l.GetFilterChains() {
				for _, f := range ch.GetFilters() {
					var sni snidfpv3.FilterConfig
					if f.GetTypedConfig().UnmarshalTo(&sni) == nil {
						asks = proto.Equal(sni.GetDnsCacheConfig(), config.GetDnsCacheConfig())
					}
				}
			}
		}
		if !asks {
			t.Error("what clients of TLS name is not looked up as what requests name is")
		}
		m := config.GetDnsCacheConfig().GetResolvedAddressFilter()
		if m != nil && !m.GetInvertMatch() {
			t.Error("the filter has what it should leave out")
		}
		for _, r := range m.GetRanges() {
			out = append(out, netip.PrefixFrom(netip.MustParseAddr(r.GetAddressPrefix()), int(r.GetPrefixLen().GetValue())))
		}
		return out
	}
	t.Fatal("there is no cluster of named hosts")
	return nil
}
