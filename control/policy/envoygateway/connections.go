// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"net/netip"
	"slices"

	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/proto"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
)

// connectionStats begins the names of the statistics of who may connect.
const connectionStats = "authorization."

// carriesBytes reports whether what is at a place are connections that carry no HTTP.
func carriesBytes(at attach.Place) bool {
	return slices.Contains(ofBytes, at.Route.Kind)
}

// ofBytes are the routes whose connections, or datagrams, carry no HTTP.
var ofBytes = []source.Kind{source.TCPRoute, source.TLSRoute, source.UDPRoute}

// kindsOf are the kinds that targets name, or look for.
func kindsOf(t *api.Targets) []source.Kind {
	var out []source.Kind
	refs := refsOf("", t, nil)
	for _, r := range refs.Targets {
		out = append(out, r.Target.Kind)
	}
	for _, s := range refs.Selectors {
		out = append(out, s.Kind)
	}
	return out
}

// forBytes reports whether all that targets name are such routes.
func forBytes(t *api.Targets) bool {
	kinds := kindsOf(t)
	return len(kinds) > 0 && !slices.ContainsFunc(kinds, func(k source.Kind) bool { return !slices.Contains(ofBytes, k) })
}

// noteRequests tells of what a policy that is for such routes alone says of requests.
func noteRequests(s *sheet.Sheet, spec *api.BackendTrafficPolicySpec) {
	if !forBytes(&spec.Targets) {
		return
	}
	hash, override, timeout := false, false, false
	if l := spec.LoadBalancer; l != nil {
		hash, override = l.ConsistentHash != nil && l.ConsistentHash.Type != "SourceIP", l.EndpointOverride != nil
	}
	if t := spec.Timeout; t != nil {
		timeout = t.HTTP != nil
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"rateLimit", spec.RateLimit != nil}, {"bandwidthLimit", spec.BandwidthLimit != nil}, {"faultInjection", spec.FaultInjection != nil},
		{"admissionControl", spec.AdmissionControl != nil}, {"useClientProtocol", spec.UseClientProtocol != nil},
		{"compression", spec.Compression != nil}, {"compressor", spec.Compressor != nil}, {"responseOverride", spec.ResponseOverride != nil},
		{"httpUpgrade", spec.HTTPUpgrade != nil}, {"requestBuffer", spec.RequestBuffer != nil}, {"telemetry", spec.Telemetry != nil},
		{"retry", spec.Retry != nil}, {"timeout.http", timeout}, {"http2", spec.HTTP2 != nil},
		{"loadBalancer.consistentHash.type", hash}, {"loadBalancer.endpointOverride", override},
	} {
		if f.set {
			s.Note(f.name, "does nothing: it is about requests, and the routes that the policy is for carry bytes")
		}
	}
}

// ofConnections is what the policy does to connections that carry no HTTP. One that cannot
// be done lets none in, if it is about who is.
func (x *compiledSecurity) ofConnections() *attach.Effect {
	m := x.connections
	switch {
	case m == nil:
		return nil
	case len(x.Refused) > 0:
		m = build.AllowConnections(connectionStats, nil)
	}
	return &attach.Effect{Network: map[string]proto.Message{build.NetworkRBAC: m}}
}

// connections returns whose connections are let in where there are no requests to tell more
// of. A rule that asks for more lets nobody in, and keeps out whomever it might be about.
func connections(a *api.Authorization) *networkrbacv3.RBAC {
	allowed := map[string]*build.Principal{}
	var denied []*build.Principal
	quiet := &sheet.Sheet{} // What is wrong is told of requests.
	for i, r := range a.Rules {
		var who []*build.Principal
		if r.Principal != nil {
			who = connectsFrom(clients(quiet, "", r.Principal))
		}
		switch {
		case r.Action != "Allow":
			denied = append(denied, build.Not(build.AllOf(who...)))
		case asksOfRequests(r) == "":
			allowed[fmt.Sprintf("%d-%s", i, ptr.Deref(r.Name, "rule"))] = build.AllOf(append(who, denied...)...)
		}
	}
	if ptr.Deref(a.DefaultAction, "Deny") == "Allow" {
		allowed["default"] = build.AllOf(denied...)
	}
	return build.AllowConnections(connectionStats, allowed)
}

// connectsFrom returns who connects from one of the ranges; nothing of none.
func connectsFrom(ranges []netip.Prefix) []*build.Principal {
	var any []*build.Principal
	for _, p := range ranges {
		any = append(any, build.ClientIn(p))
	}
	if len(any) == 0 {
		return nil
	}
	return []*build.Principal{build.OneOf(any...)}
}

// asksOfRequests returns the field of a rule that is about requests, or "".
func asksOfRequests(r api.AuthorizationRule) string {
	p := r.Principal
	switch {
	case r.Operation != nil:
		return "operation"
	case r.CEL != nil:
		return "cel"
	case p == nil:
		return ""
	case p.JWT != nil:
		return "principal.jwt"
	case len(p.Headers) > 0:
		return "principal.headers"
	case len(p.ClientIPGeoLocations) > 0:
		return "principal.clientIPGeoLocations"
	}
	return ""
}

// checkConnections refuses, of a policy for TCPRoutes, what is about requests.
func checkConnections(s *sheet.Sheet, spec *api.SecurityPolicySpec) {
	if !slices.Contains(kindsOf(&spec.Targets), source.TCPRoute) {
		return
	}
	const why = "is about requests, and a TCPRoute has none: leave it out, or make a policy for TCPRoutes alone"
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"cors", spec.CORS != nil}, {"csrf", spec.CSRF != nil}, {"jwt", spec.JWT != nil}, {"extAuth", spec.ExtAuth != nil}, {"basicAuth", spec.BasicAuth != nil},
		{"apiKeyAuth", spec.APIKeyAuth != nil}, {"oidc", spec.OIDC != nil},
	} {
		if f.set {
			s.Bad(f.name, why)
		}
	}
	if spec.Authorization == nil {
		return
	}
	for i, r := range spec.Authorization.Rules {
		if field := asksOfRequests(r); field != "" {
			s.Bad(fmt.Sprintf("authorization.rules[%d].%s", i, field), why)
		}
	}
}
