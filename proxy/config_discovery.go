// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/internal/edition"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/resource"
)

var errNoFilterConfig = errors.New("no_filter_config_found")

// acceptor is what a listener filter and a network filter that is not terminal do.
type acceptor interface {
	Accept(t *engine.Task, c *conn.Conn) error
}

// found is a filter of connections whose configuration is delivered on its own: a
// connection passes it as it was when it came there, and is closed if there is none.
type found[T any] struct{ series edition.Series[T] }

// use implements what a Discovery asks for.
func (f *found[T]) use(v T, _ bool, ends []func()) { f.series.Publish(edition.New(v), ends...) }

// foundFilter is a filter that looks at connections.
type foundFilter struct{ found[acceptor] }

// Accept has the connection pass the filter.
func (f *foundFilter) Accept(t *engine.Task, c *conn.Conn) error {
	e := f.series.Pin()
	defer e.Unpin()
	if e.Value == nil {
		return errNoFilterConfig
	}
	return e.Value.Accept(t, c)
}

// foundFactory is a filter that ends a chain.
type foundFactory struct{ found[conn.Factory] }

// New makes the handler of a connection, which keeps what it began with.
func (f *foundFactory) New(c *conn.Conn) conn.Handler {
	e := f.series.Pin()
	h := pinned{Handler: closer{}, edition: e}
	if e.Value != nil {
		h.Handler = e.Value.New(c)
	}
	return h
}

// pinned is a handler of one edition of its filter.
type pinned struct {
	conn.Handler
	edition *edition.Of[conn.Factory]
}

// Eager reports whether the handler does not wait for the first byte.
func (h pinned) Eager() bool {
	e, ok := h.Handler.(conn.Eager)
	return ok && e.Eager()
}

// Closed tells that the connection is gone.
func (h pinned) Closed(c *conn.Conn) {
	h.Handler.Closed(c)
	h.edition.Unpin()
}

// closer closes a connection that nothing is configured for.
type closer struct{}

func (closer) Eager() bool                         { return true }
func (closer) Serve(*engine.Task, *conn.Conn) bool { return false }
func (closer) Drain(*conn.Conn)                    {}
func (closer) Closed(*conn.Conn)                   {}

// discovering is what an extension of connections is made with once its configuration
// comes: nothing waits for what it needs.
func discovering(in *extension.Network, own func(func())) *extension.Network {
	of := *in
	of.Own, of.Await, of.Told = own, func(*resource.Watch) {}, nil
	return &of
}

// discoverNetworkFilter makes a network filter whose configuration is delivered.
func (p *Proxy) discoverNetworkFilter(f *listenerv3.Filter, in *extension.Network) (conn.Filter, conn.Factory, error) {
	ends, first := false, true
	knows := func(message string) error {
		for i := range p.opts.Extensions.Network {
			e := &p.opts.Extensions.Network[i]
			if extension.ConfigName(e.Config) != message {
				continue
			}
			if !first && e.Terminal != ends {
				return errors.New("ends a chain, or does not, unlike those before: list types of one kind")
			}
			ends, first = e.Terminal, false
			return nil
		}
		return fmt.Errorf("the extension %s is not supported", message)
	}
	for i, url := range f.GetConfigDiscovery().GetTypeUrls() {
		if err := knows(extension.MessageOf(url)); err != nil {
			return nil, nil, fmt.Errorf("config_discovery.type_urls[%d]: %w", i, err)
		}
	}
	typed := func(cfg *anypb.Any) *listenerv3.Filter {
		return &listenerv3.Filter{Name: f.GetName(), ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: cfg}}
	}
	if ends {
		factory := new(foundFactory)
		d := &extension.Discovery[conn.Factory]{
			Kind: "network_filter", Name: f.GetName(), Knows: knows, Await: in.Await, Own: in.Own, Use: factory.use,
			Compile: func(cfg *anypb.Any, own func(func())) (conn.Factory, error) {
				_, made, err := p.networkFilter(typed(cfg), discovering(in, own))
				return made, err
			},
		}
		return nil, factory, d.Run(in.Services, f.GetConfigDiscovery(), factory.series.Close)
	}
	filter := new(foundFilter)
	d := &extension.Discovery[acceptor]{
		Kind: "network_filter", Name: f.GetName(), Knows: knows, Await: in.Await, Own: in.Own, Use: filter.use,
		Compile: func(cfg *anypb.Any, own func(func())) (acceptor, error) {
			made, _, err := p.networkFilter(typed(cfg), discovering(in, own))
			return made, err
		},
	}
	return filter, nil, d.Run(in.Services, f.GetConfigDiscovery(), filter.series.Close)
}

// discoverListenerFilter makes a listener filter whose configuration is delivered.
func (p *Proxy) discoverListenerFilter(f *listenerv3.ListenerFilter, in *extension.Network) (listener.Filter, error) {
	filter := new(foundFilter)
	d := &extension.Discovery[acceptor]{
		Kind: "tcp_listener_filter", Name: f.GetName(), Await: in.Await, Own: in.Own, Use: filter.use,
		Knows: func(message string) error {
			for i := range p.opts.Extensions.Listener {
				if extension.ConfigName(p.opts.Extensions.Listener[i].Config) == message {
					return nil
				}
			}
			return fmt.Errorf("the extension %s is not supported", message)
		},
		Compile: func(cfg *anypb.Any, own func(func())) (acceptor, error) {
			return p.listenerFilter(&listenerv3.ListenerFilter{Name: f.GetName(), ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: cfg}}, discovering(in, own))
		},
	}
	return filter, d.Run(in.Services, f.GetConfigDiscovery(), filter.series.Close)
}
