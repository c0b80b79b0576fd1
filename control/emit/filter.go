// SPDX-License-Identifier: Apache-2.0

package emit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	statefulsessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
)

// httpFilters is the order of HTTP filters, but for the moves of a chain, with the reasons.
// Those that have a message are in every chain and do nothing unless a route says so:
// that a route begins to use one changes no listener. The others are there if the
// chain has them.
func httpFilters() []httpFilter {
	return []httpFilter{
		// What it does to responses is the last that is done.
		{name: build.HeaderMutation},
		// What is sent instead of a response is what all others have made of it.
		{name: build.CustomResponse},
		{name: build.ResponseMap},
		// Load balancers ask before anything may refuse.
		{name: build.HealthCheck},
		// Faults are those of a service, for clients of all kinds.
		{name: build.Fault},
		// A preflight has no credentials and no session.
		{name: build.CORS, always: &corsv3.Cors{}},
		{name: build.CSRF},
		// Who asks, before what they may. Tokens come last of these, as what others say may
		// depend on nothing of them.
		{name: build.ExtAuthz},
		{name: build.APIKeyAuth},
		{name: build.BasicAuth},
		// A login is for who has no credentials of the kinds before; its tokens may be judged.
		{name: build.OAuth2},
		{name: build.JWTAuthn},
		// A processor sees who asks, and what it makes of a request is judged.
		{name: build.ExtProc},
		{name: build.RBAC},
		// Only requests that are let in count.
		{name: build.LocalRateLimit},
		{name: build.RateLimit},
		{name: build.BandwidthLimit},
		// What is not gRPC yet becomes it before anything looks at it as such.
		{name: build.GRPCWeb},
		{name: build.GRPCHTTP1Bridge},
		{name: build.GRPCStats},
		// A request is gathered only when it is sure to be let in.
		{name: build.Buffer},
		// After all that may refuse a request.
		{name: build.StatefulSession, always: &statefulsessionv3.StatefulSession{}},
		// What backends ask for is nobody else's to see.
		{name: build.CredentialInjector},
		// What hosts come to is judged before anything is made of it.
		{name: build.AdmissionControl},
		// What hosts send is compressed first, so that all others see what clients get.
		{name: build.Compressor},
		// Nobody has names looked up who is not let in.
		{name: build.DynamicForwardProxy},
		// It ends the chain.
		{name: build.Router, always: &routerv3.Router{}},
	}
}

type httpFilter struct {
	name   string
	always proto.Message
}

// listenerFilters is the order of listener filters.
func listenerFilters() []string {
	return []string{
		// What it reads comes before all that clients send.
		build.ProxyProtocol,
		// The first bytes of TLS, which choose the chain.
		build.Inspector,
	}
}

// networkFilters is the order of network filters before the one that ends a chain.
func networkFilters() []string {
	return []string{
		// How many, and who may connect at all, comes first.
		build.ConnectionLimit,
		build.NetworkRBAC,
		// Nobody has names looked up who is not let in.
		build.SNIDynamicForwardProxy,
	}
}

// filtersOf returns the HTTP filters of a chain, in their order. Those of one place are
// in that of their names.
func filtersOf(ch *graph.Chain) []*hcmv3.HttpFilter {
	var out []*hcmv3.HttpFilter
	own, idle := 0, 0
	for _, f := range httpFilters() {
		for _, name := range instances(f, ch) {
			m, disabled := f.always, false
			if name != f.name {
				m = nil
			}
			if x := ch.Filters[name]; x != nil {
				m = x
				own++
			}
			if x := ch.Idle[name]; x != nil {
				idle++
				if m == nil {
					m, disabled = x, true
				}
			}
			if m != nil {
				out = append(out, &hcmv3.HttpFilter{Name: name, Disabled: disabled, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: build.Any(m)}})
			}
		}
	}
	placed(own, ch.Filters)
	placed(idle, ch.Idle)
	for _, m := range ch.Moves {
		out = moved(out, m)
	}
	return out
}

// moved returns filters after a move.
func moved(filters []*hcmv3.HttpFilter, m graph.Move) []*hcmv3.HttpFilter {
	called := func(name string) func(*hcmv3.HttpFilter) bool {
		return func(f *hcmv3.HttpFilter) bool { return f.Name == name || strings.HasPrefix(f.Name, name+"/") }
	}
	var own, others []*hcmv3.HttpFilter
	for _, f := range filters {
		if called(m.Filter)(f) {
			own = append(own, f)
		} else {
			others = append(others, f)
		}
	}
	at := slices.IndexFunc(others, called(m.Next))
	if at < 0 {
		return filters
	}
	for m.After && at < len(others) && called(m.Next)(others[at]) {
		at++
	}
	return slices.Insert(others, at, own...)
}

// instances are the names of a chain's filters at a place: its own, and those that have
// more after a slash (build.Instance).
func instances(f httpFilter, ch *graph.Chain) []string {
	out := []string{f.name}
	for _, list := range []map[string]proto.Message{ch.Filters, ch.Idle} {
		for name := range list {
			if strings.HasPrefix(name, f.name+"/") && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// placed holds that each filter of a chain or socket has a place in the order.
func placed(known int, filters map[string]proto.Message) {
	if known < len(filters) {
		panic(fmt.Sprintf("BUG: one of these filters has no place in the order: %v", slices.Sorted(maps.Keys(filters))))
	}
}

// listenerOf returns the listener filters of a socket.
func listenerOf(s *graph.Socket) []*listenerv3.ListenerFilter {
	var out []*listenerv3.ListenerFilter
	inspect := slices.ContainsFunc(s.Chains, func(ch *graph.Chain) bool { return ch.Inspect })
	known := 0
	for _, name := range listenerFilters() {
		m := s.Filters[name]
		if m != nil {
			known++
		} else if name == build.Inspector && inspect {
			m = &tlsinspectorv3.TlsInspector{}
		}
		if m != nil {
			out = append(out, build.ListenerFilter(name, m))
		}
	}
	placed(known, s.Filters)
	return out
}

// networkOf returns the network filters of a chain that come before its last.
func networkOf(ch *graph.Chain) []*listenerv3.Filter {
	var out []*listenerv3.Filter
	for _, name := range networkFilters() {
		if m := ch.Network[name]; m != nil {
			out = append(out, build.NetworkFilter(name, m))
		}
	}
	placed(len(out), ch.Network)
	return out
}
