// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"maps"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// clientPolicy is the ClientTrafficPolicy that names a listener most specifically, or
// the zero Name.
func (d *Dialect) clientPolicy(c *memo.Ctx, l *listener) source.Name {
	return d.policies.Parent(c, source.ClientTrafficPolicy, attach.Place{Gateway: l.gateway, Listener: l.id.target()})
}

// clientOf is how the clients of a listener are spoken to; nil is in no way of a
// policy's. A policy that would reach into other listeners of the port gives way to that
// of the Gateway, and that to listeners of other Gateways that share its proxies.
func (d *Dialect) clientOf(c *memo.Ctx, l *listener) *envoygateway.Client {
	name := d.clientPolicy(c, l)
	if d.rival(c, l, name, false) != nil {
		name = d.policies.Winner(c, source.ClientTrafficPolicy, attach.Target{Key: source.Key{Kind: source.Gateway, Name: l.gateway}})
	}
	if d.rival(c, l, name, true) != nil {
		return nil
	}
	return d.proxies.Client(c, name)
}

// rival returns a listener that a policy of another would change, too, though it has
// another policy or none: listeners of HTTP at one port are one, and those of TLS share
// their socket. If foreign is true it is of another Gateway.
func (d *Dialect) rival(c *memo.Ctx, l *listener, name source.Name, foreign bool) *listener {
	if name == (source.Name{}) {
		return nil
	}
	x := d.proxies.Client(c, name)
	if l.protocol != gwapiv1.HTTPProtocolType && (x == nil || !x.Whole()) {
		return nil
	}
	for _, o := range d.sharing(c, l.gateway) {
		if o.id != l.id && o.serves() && o.socket() == l.socket() && (!foreign || o.gateway != l.gateway) && d.clientPolicy(c, o) != name {
			return o
		}
	}
	return nil
}

// clash tells why a ClientTrafficPolicy does nothing at a target though nobody else has
// it; empty is nothing.
func (d *Dialect) clash(c *memo.Ctx, t attach.Target) string {
	foreign := t.Kind == source.Gateway && t.Section == "" // It gives way to nobody else.
	for _, a := range d.ancestors(c, t) {
		for _, l := range d.listeners.Get(c, a.gateway).list {
			if l.id.parent != t.Key || t.Section != "" && l.id.name != t.Section || !l.serves() {
				continue
			}
			name := d.clientPolicy(c, l)
			if name != d.policies.Winner(c, source.ClientTrafficPolicy, t) {
				continue // A more specific one has the listener.
			}
			switch o := d.rival(c, l, name, foreign); {
			case o == nil:
			case o.gateway != l.gateway:
				return fmt.Sprintf("it would change listener %s of %s, too, which shares port %d of the proxies with listener %s: give one of them another port", o.id.name, o.id.parent, l.port, l.id.name)
			default:
				return fmt.Sprintf("it would change listener %s of %s, too, which has port %d with listener %s: attach it to all listeners of the port, or to the Gateway", o.id.name, o.id.parent, l.port, l.id.name)
			}
		}
	}
	return ""
}

// addClient has the clients of a listener, which added chains to a socket, be spoken to
// as policies ask.
func (d *Dialect) addClient(c *memo.Ctx, s *graph.Socket, l *listener, chains []*graph.Chain) {
	x := d.clientOf(c, l)
	if x == nil || s.ID.UDP {
		return
	}
	if s.Overlay.None() {
		s.Overlay = x.Socket
	}
	if s.Filters == nil {
		s.Filters = filled(nil, x.Listener)
		if l.tls == nil { // Who waits for the server to begin would wait for ever.
			delete(s.Filters, build.Inspector)
		}
	}
	for _, ch := range chains {
		ch.Network = filled(ch.Network, x.Network)
		if ch.Overlay = x.Chain; ch.TLS == nil {
			ch.Overlay = graph.Overlay{}
		}
		if ch.TLS != nil && !x.TLS.None() {
			own := *ch.TLS
			own.Overlay = attach.Merge(own.Overlay, x.TLS)
			ch.TLS = &own
		}
		if ch.Table == nil {
			ch.Manager = attach.Merge(ch.Manager, x.TCP)
			continue
		}
		ch.Filters = filled(ch.Filters, x.Filters)
		ch.Manager = attach.Merge(ch.Manager, x.Manager)
		if host := ch.Hostname; x.DefaultHost && host != attach.AnyHost && !strings.HasPrefix(host, "*") {
			ch.Manager = attach.Merge(ch.Manager, graph.Overlay{Message: &hcmv3.HttpConnectionManager{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{DefaultHostForHttp_10: host},
			}})
		}
	}
}

// filled returns filters with those of more; neither is changed.
func filled(list, more map[string]proto.Message) map[string]proto.Message {
	if len(more) == 0 {
		return list
	}
	out := maps.Clone(list)
	if out == nil {
		out = map[string]proto.Message{}
	}
	maps.Copy(out, more)
	return out
}

// listenerAt is a listener of a Gateway.
type listenerAt struct {
	gateway source.Name
	id      listenerID
}

// isQuiet reports whether a listener's responses do not tell what is left of limits.
func (d *Dialect) isQuiet(c *memo.Ctx, at listenerAt) bool {
	place := attach.Place{Gateway: at.gateway, Listener: at.id.target()}
	if d.policies.Parent(c, source.ClientTrafficPolicy, place) == (source.Name{}) {
		return false // Without a look at all listeners of the Gateway.
	}
	for _, l := range d.listeners.Get(c, at.gateway).of(at.id.parent) {
		if l.id == at.id {
			x := d.clientOf(c, l)
			return x != nil && x.Quiet
		}
	}
	return false
}
