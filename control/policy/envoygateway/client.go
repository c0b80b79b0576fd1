// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"reflect"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// A Client is what a ClientTrafficPolicy says: how clients are spoken to. It is about
// listeners, and who has it there is the dialect's to know.
type Client struct {
	// Socket is on the Listener, Chain on the FilterChain, TLS on the DownstreamTlsContext,
	// Manager on the HttpConnectionManager and TCP on the TcpProxy.
	Socket, Chain, TLS, Manager, TCP graph.Overlay
	// Listener, Network and Filters are filters of the listener, of connections and of
	// HTTP: each is its configuration, by its name.
	Listener, Network, Filters map[string]proto.Message
	// DefaultHost has requests of HTTP/1.0 that name no host ask for the listener's.
	DefaultHost bool
	// Quiet has responses not tell, unless a rule says so, what is left of limits.
	Quiet   bool
	verdict attach.Verdict
	// restricts tells that the policy keeps somebody out.
	restricts bool
}

type clientReader struct {
	sheet.Sheet
	*Client
}

// Whole reports whether it says something of the socket, which all listeners of a port
// share.
func (x *Client) Whole() bool { return !x.Socket.None() || len(x.Listener) > 0 }

// client is the kind ClientTrafficPolicy.
type client struct {
	of       *Policies
	compiled *memo.Func[source.Name, *Client]
}

func newClient(p *Policies) *client {
	k := &client{of: p}
	k.compiled = memo.NewFunc(k.compile, func(a, b *Client) bool { return reflect.DeepEqual(a, b) })
	return k
}

// Client returns what a ClientTrafficPolicy says; nil if there is none of the name, or
// it cannot be done.
func (p *Policies) Client(c *memo.Ctx, name source.Name) *Client {
	x := p.client.compiled.Get(c, name)
	if x == nil || len(x.verdict.Refused) > 0 {
		return nil
	}
	return x
}

// Clients are the ClientTrafficPolicies.
func (p *Policies) Clients() attach.Policy { return p.client }

// Kind of the policies.
func (k *client) Kind() source.Kind { return source.ClientTrafficPolicy }

// Targets are what they can be attached to.
func (k *client) Targets() []source.Kind { return []source.Kind{source.Gateway, source.ListenerSet} }

// Refs are what one is attached to.
func (k *client) Refs(o source.Object) attach.Refs {
	p := o.(*api.ClientTrafficPolicy)
	return refsOf(p.Namespace, &p.Spec.Targets, nil)
}

// Judge tells what is wrong with one.
func (k *client) Judge(c *memo.Ctx, name source.Name) attach.Verdict {
	x := k.compiled.Get(c, name)
	if x == nil {
		return attach.Verdict{}
	}
	return x.verdict
}

// At lets nobody in where certificates of clients are asked for, and cannot be.
func (k *client) At(c *memo.Ctx, own, _ source.Name, _ attach.Place) *attach.Effect {
	if x := k.compiled.Get(c, own); x != nil && x.restricts && len(x.verdict.Refused) > 0 {
		return &attach.Effect{Refuse: true}
	}
	return nil
}

// Chain is nothing: what chains have of it depends on the listener.
func (k *client) Chain(*memo.Ctx, source.Name, []source.Name) *attach.Chain { return nil }

func (k *client) compile(c *memo.Ctx, name source.Name) *Client {
	o, ok := source.Get[*api.ClientTrafficPolicy](c, source.ClientTrafficPolicy, name)
	if !ok {
		return nil
	}
	x := &clientReader{Client: &Client{Listener: map[string]proto.Message{}, Network: map[string]proto.Message{}, Filters: map[string]proto.Message{}}}
	spec := &o.Spec
	checkTargets(&x.Sheet, &spec.Targets)
	socket, chain, tcp := &listenerv3.Listener{}, &listenerv3.FilterChain{}, &tcpproxyv3.TcpProxy{}
	x.socket(spec, socket)
	x.connection(spec, tcp)
	x.timeouts(spec.Timeout, socket, chain, tcp)
	m := x.manager(spec)
	context := &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{}}
	if spec.TLS != nil {
		x.tls(c, name.Namespace, spec.TLS, context)
	}
	for _, to := range []struct {
		overlay *graph.Overlay
		message proto.Message
	}{{&x.Socket, socket}, {&x.Chain, chain}, {&x.TCP, tcp}, {&x.Manager, m}} {
		if proto.Size(to.message) > 0 {
			to.overlay.Message = to.message
		}
	}
	if proto.Size(context.GetCommonTlsContext()) > 0 || context.RequireClientCertificate != nil || context.SessionTicketKeysType != nil || context.DisableStatefulSessionResumption {
		x.TLS.Message = context
	}
	x.verdict = x.Verdict()
	return x.Client
}
