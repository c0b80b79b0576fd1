// SPDX-License-Identifier: Apache-2.0

// Package brief prints a snapshot on one screen, in a short language of its own: a
// line for each listener, filter chain, virtual host, route, cluster, set of
// endpoints and secret. The same text is written by goldens, `weir get` and the
// dashboard.
//
//	listener edge tcp 0.0.0.0:8443
//	  chain sni=shop.example.org tls(secret shop)
//	    http edge: cors, router
//	      host shop shop.example.org
//	        prefix /cart -> cart rewrite=/ timeout=5s
//	        prefix / -> 90% shop, 10% shop-next
//	cluster cart strict_dns least_request
//	  cart.local:8080
//	secret shop certificate
//
// What a snapshot holds is printed in a stable order: resources by name, everything
// inside of one as it stands there. The text tells what matters to a reader, not
// every field; contents of secrets are never in it.
package brief

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/xds"
)

// Snapshot returns the brief form of s, which may be nil. It ends with a newline
// unless it is empty.
func Snapshot(s *xds.Snapshot) string {
	if s == nil {
		return ""
	}
	p := &printer{}
	for name, l := range s.Listeners().All() {
		p.listener(name, l)
	}
	for name, rc := range s.Routes().All() {
		p.line(0, "routes", word(name))
		p.hosts(1, rc)
	}
	for name, sr := range s.ScopedRoutes().All() {
		p.line(0, "scope", word(name), "-> routes", word(sr.GetRouteConfigurationName()))
	}
	for name, vh := range s.VirtualHosts().All() {
		p.line(0, "virtual host", word(name))
		p.host(1, vh)
	}
	for name, c := range s.Clusters().All() {
		p.cluster(name, c)
	}
	for name, la := range s.Endpoints().All() {
		p.line(0, "endpoints", word(name))
		p.endpoints(1, la)
	}
	for name, secret := range s.Secrets().All() {
		p.line(0, "secret", word(name), secretKind(secret))
	}
	for name, layer := range s.Runtime().All() {
		p.line(0, "runtime", word(name), fmt.Sprintf("%d keys", len(layer.GetFields())))
	}
	for name, e := range s.Extensions().All() {
		p.line(0, "extension", word(name), shortType(e.GetTypedConfig().GetTypeUrl()))
	}
	return p.b.String()
}

type printer struct {
	b strings.Builder
}

// line prints the parts that are not empty, with a space between.
func (p *printer) line(depth int, parts ...string) {
	p.b.WriteString(strings.Repeat("  ", depth))
	first := true
	for _, part := range parts {
		if part == "" {
			continue
		}
		if !first {
			p.b.WriteByte(' ')
		}
		first = false
		p.b.WriteString(part)
	}
	p.b.WriteByte('\n')
}

func (p *printer) cluster(name string, c *clusterv3.Cluster) {
	kind := strings.ToLower(c.GetType().String())
	if t := c.GetClusterType(); t != nil {
		kind = shortName(t.GetName())
	}
	balancer := strings.ToLower(c.GetLbPolicy().String())
	if policies := c.GetLoadBalancingPolicy().GetPolicies(); len(policies) > 0 {
		balancer = shortName(policies[0].GetTypedExtensionConfig().GetName())
	}
	service := ""
	if eds := c.GetEdsClusterConfig().GetServiceName(); eds != "" {
		service = "service=" + word(eds)
	}
	checks := ""
	if n := len(c.GetHealthChecks()); n > 0 {
		checks = fmt.Sprintf("health_checks=%d", n)
	}
	outlier := ""
	if c.GetOutlierDetection() != nil {
		outlier = "outlier_detection"
	}
	p.line(0, "cluster", word(name), kind, balancer, service, transport(c.GetTransportSocket()),
		duration("connect_timeout", c.GetConnectTimeout()), checks, outlier)
	p.endpoints(1, c.GetLoadAssignment())
}

// endpoints prints a line for each locality with its hosts; of many hosts the first
// few and how many there are.
func (p *printer) endpoints(depth int, la *endpointv3.ClusterLoadAssignment) {
	const most = 8
	for _, locality := range la.GetEndpoints() {
		var hosts []string
		for i, lb := range locality.GetLbEndpoints() {
			if i == most {
				hosts = append(hosts, fmt.Sprintf("and %d more", len(locality.GetLbEndpoints())-most))
				break
			}
			hosts = append(hosts, host(lb))
		}
		if len(hosts) == 0 {
			hosts = []string{"no hosts"}
		}
		p.line(depth, place(locality), strings.Join(hosts, ", "))
	}
}

func host(lb *endpointv3.LbEndpoint) string {
	out := address(lb.GetEndpoint().GetAddress())
	if name := lb.GetEndpointName(); name != "" {
		out = word(name)
	}
	if w := lb.GetLoadBalancingWeight(); w != nil {
		out += fmt.Sprintf(" (weight %d)", w.GetValue())
	}
	if h := lb.GetHealthStatus(); h != corev3.HealthStatus_UNKNOWN && h != corev3.HealthStatus_HEALTHY {
		out += " (" + strings.ToLower(h.String()) + ")"
	}
	filters := lb.GetMetadata().GetFilterMetadata()
	for _, name := range slices.Sorted(maps.Keys(filters)) {
		text, _ := json.Marshal(filters[name].AsMap()) // It has been read or made as a message.
		out += fmt.Sprintf(" (%s %s)", name, text)
	}
	return out
}

func place(l *endpointv3.LocalityLbEndpoints) string {
	var parts []string
	if l.GetPriority() > 0 {
		parts = append(parts, fmt.Sprintf("priority=%d", l.GetPriority()))
	}
	var at []string
	for _, s := range []string{l.GetLocality().GetRegion(), l.GetLocality().GetZone(), l.GetLocality().GetSubZone()} {
		if s != "" {
			at = append(at, word(s))
		}
	}
	if len(at) > 0 {
		parts = append(parts, "locality="+strings.Join(at, "/"))
	}
	if w := l.GetLoadBalancingWeight(); w != nil {
		parts = append(parts, fmt.Sprintf("weight=%d", w.GetValue()))
	}
	return strings.Join(parts, " ")
}

func secretKind(s *tlsv3.Secret) string {
	switch {
	case s.GetTlsCertificate() != nil:
		return "certificate"
	case s.GetValidationContext() != nil:
		return "validation"
	case s.GetSessionTicketKeys() != nil:
		return "ticket_keys"
	case s.GetGenericSecret() != nil:
		return "generic"
	}
	return "empty"
}

func address(a *corev3.Address) string {
	switch {
	case a.GetPipe() != nil:
		return "unix:" + word(a.GetPipe().GetPath())
	case a.GetEnvoyInternalAddress() != nil:
		return "internal:" + word(a.GetEnvoyInternalAddress().GetServerListenerName())
	case a.GetSocketAddress() == nil:
		return "no address"
	}
	sa := a.GetSocketAddress()
	port := strconv.FormatUint(uint64(sa.GetPortValue()), 10)
	if sa.GetNamedPort() != "" {
		port = word(sa.GetNamedPort())
	}
	if strings.Contains(sa.GetAddress(), ":") {
		return "[" + word(sa.GetAddress()) + "]:" + port
	}
	return word(sa.GetAddress()) + ":" + port
}

func duration(name string, d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return name + "=" + d.AsDuration().String()
}

// word quotes text that would not stand as one word.
func word(s string) string {
	if s == "" {
		return `""`
	}
	for _, r := range s {
		if r <= ' ' || r == '"' || r == ',' || r == 0x7f || !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

func words(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = word(s)
	}
	return strings.Join(out, ",")
}

// shortName makes cors of envoy.filters.http.cors.
func shortName(name string) string {
	return word(name[strings.LastIndexByte(name, '.')+1:])
}

// shortType makes cors.v3.Cors of a type URL.
func shortType(url string) string {
	parts := strings.Split(url[strings.LastIndexByte(url, '/')+1:], ".")
	return word(strings.Join(parts[max(0, len(parts)-3):], "."))
}
