// SPDX-License-Identifier: Apache-2.0

package emit

import (
	"fmt"
	"maps"
	"slices"

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

// httpFilters is the order of HTTP filters, the only one there is, with the reasons.
// Those that have a message are in every chain and do nothing unless a route says so:
// that a route begins to use one changes no listener. The others are there if the
// chain has them.
func httpFilters() []httpFilter {
	return []httpFilter{
		// A preflight has no credentials and no session.
		{build.CORS, &corsv3.Cors{}},
		// What is not gRPC yet becomes it before anything looks at it as such.
		{build.GRPCWeb, nil},
		{build.GRPCHTTP1Bridge, nil},
		{build.GRPCStats, nil},
		// A request is gathered only when it is sure to be let in.
		{build.Buffer, nil},
		// After all that may refuse a request.
		{build.StatefulSession, &statefulsessionv3.StatefulSession{}},
		// It ends the chain.
		{build.Router, &routerv3.Router{}},
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
		// Who may connect at all comes first.
		build.NetworkRBAC,
	}
}

// filtersOf returns the HTTP filters of a chain, in their order.
func filtersOf(ch *graph.Chain) []*hcmv3.HttpFilter {
	var out []*hcmv3.HttpFilter
	known := 0
	for _, f := range httpFilters() {
		m := f.always
		if own := ch.Filters[f.name]; own != nil {
			m = own
			known++
		}
		if m != nil {
			out = append(out, &hcmv3.HttpFilter{Name: f.name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: build.Any(m)}})
		}
	}
	placed(known, ch.Filters)
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
