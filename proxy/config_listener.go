// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
)

// server is a listener, of connections or of datagrams.
type server interface {
	Start() error
	StopAccepting()
	Drain()
	Close()
	// Active is how many connections or sessions there are.
	Active() int64
	Name() string
	Addresses() []address.Addr
}

// running is a listener with what it was made of.
type running struct {
	l      server
	proto  *listenerv3.Listener
	config *listener.Config // nil for one of UDP
	owned  []func()         // close what was made for one of UDP
	active bool
	stamp  stamp // zero if it was not fetched
}

func (r *running) close() {
	r.l.Close()
	closeAll(r.owned)
}

func closeAll(owned []func()) {
	for _, f := range owned {
		f()
	}
}

// pending is a listener, or a new configuration of one, that waits for resources.
type pending struct {
	name  string
	proto *listenerv3.Listener
	c     *compiledListener
	made  server // nil if the listener that there is takes the configuration
	stop  chan struct{}
	over  chan struct{} // closed once it serves, or never will
	stamp stamp
}

// updateListener has a listener serve a new configuration, or a new listener made, as
// soon as the resources that it needs are there.
func (p *Proxy) updateListener(name string, l *listenerv3.Listener, origin string) error {
	p.abandon(name)
	old := p.listeners[name]
	if old != nil && proto.Equal(old.proto, l) {
		return nil
	}
	c, err := p.compileListener(l, origin, old)
	if err != nil {
		return err
	}
	n := &pending{name: name, proto: l, c: c, stop: make(chan struct{}), over: make(chan struct{}), stamp: p.stampOf(xds.KindListener, name)}
	if old == nil || !sameSockets(old.proto, l) {
		if n.made, err = p.newListener(c); err != nil {
			c.close(nil)
			return err
		}
	}
	if n.ready() {
		p.install(n)
		return nil
	}
	p.mu.Lock()
	p.pending[name] = n
	p.mu.Unlock()
	p.wg.Go(func() { p.awaitResources(n) })
	return nil
}

func (n *pending) ready() bool {
	for _, w := range n.c.awaited {
		select {
		case <-w.Ready():
		default:
			return false
		}
	}
	return true
}

// awaitResources installs a listener once all that it needs is there.
func (p *Proxy) awaitResources(n *pending) {
	defer close(n.over)
	for _, w := range n.c.awaited {
		select {
		case <-w.Ready():
		case <-n.stop:
			return
		case <-p.flushStop:
			return
		}
	}
	p.applying.Lock()
	defer p.applying.Unlock()
	p.mu.Lock()
	current := p.pending[n.name] == n && !p.closed
	if current {
		delete(p.pending, n.name)
	}
	p.mu.Unlock()
	if !current {
		return
	}
	p.install(n)
	if err := p.startListener(n.name); err != nil {
		p.log("config").Error("a listener could not start", "listener", n.name, "error", err)
	}
}

// abandon forgets a configuration that still waits.
func (p *Proxy) abandon(name string) {
	p.mu.Lock()
	n := p.pending[name]
	delete(p.pending, name)
	p.mu.Unlock()
	if n != nil {
		n.close(p.listeners[name])
	}
}

// close ends a pending listener; what it shares with the one that runs stays.
func (n *pending) close(runs *running) {
	close(n.stop)
	if n.made != nil {
		n.made.Close() // With its configuration.
		closeAll(n.c.owned)
		return
	}
	n.c.close(runs)
}

// install makes a compiled listener the one of its name.
func (p *Proxy) install(n *pending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.listeners[n.name]
	if n.made == nil {
		p.update(old, n.c)
		old.proto, old.stamp = n.proto, n.stamp
		return
	}
	p.listeners[n.name] = &running{l: n.made, proto: n.proto, config: n.c.config, owned: n.c.owned, stamp: n.stamp}
	if old != nil {
		p.retire(old)
	}
}

// startListener has a listener accept, if it is there and does not yet.
func (p *Proxy) startListener(name string) error {
	r := p.listeners[name]
	if r == nil || r.active {
		return nil
	}
	if err := r.l.Start(); err != nil {
		return err
	}
	r.active = true
	if l, ok := r.l.(*listener.Listener); ok {
		p.accept(l)
	}
	return nil
}

func (p *Proxy) removeListener(name string) {
	p.abandon(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.listeners[name]; r != nil {
		delete(p.listeners, name)
		p.retire(r)
	}
}

// sameSockets reports whether two listeners have the same sockets, so that one
// can take the place of the other without closing them.
func sameSockets(a, b *listenerv3.Listener) bool {
	return proto.Equal(socketsOf(a), socketsOf(b))
}

func socketsOf(l *listenerv3.Listener) *listenerv3.Listener {
	return &listenerv3.Listener{
		Address: l.GetAddress(), AdditionalAddresses: l.GetAdditionalAddresses(), StatPrefix: l.GetStatPrefix(),
		DeprecatedV1: l.GetDeprecatedV1(), BindToPort: l.GetBindToPort(), TcpBacklogSize: l.GetTcpBacklogSize(), //nolint:staticcheck // Still found in people's files.
		EnableReusePort: l.GetEnableReusePort(), Transparent: l.GetTransparent(), Freebind: l.GetFreebind(),
		UdpListenerConfig: l.GetUdpListenerConfig(), TcpFastOpenQueueLength: l.GetTcpFastOpenQueueLength(), SocketOptions: l.GetSocketOptions(), TcpKeepalive: l.GetTcpKeepalive(),
	}
}

// compiledListener has either options and config or, for UDP, their packet kind and
// what closes that.
type compiledListener struct {
	options       *listener.Options
	config        *listener.Config
	packetOptions *listener.PacketOptions
	packetConfig  *listener.PacketConfig
	owned         []func()
	// awaited are what must be there before the configuration can be used.
	awaited []*resource.Watch
}

// update gives a running listener with the same sockets the configuration.
func (p *Proxy) update(r *running, c *compiledListener) {
	switch l := r.l.(type) {
	case *listener.Listener:
		p.retireConfig(l.Update(c.config))
		r.config = c.config
		p.accept(l)
	case *listener.PacketListener:
		l.Update(c.packetConfig)
		r.owned = append(r.owned, c.owned...) // Sessions of the old configuration go on with it.
	}
}

// close closes what was made for a configuration that nobody uses, apart from what it
// shares with that of the listener that runs, which may be nil.
func (c *compiledListener) close(runs *running) {
	if c.config != nil {
		var used *listener.Config
		if runs != nil {
			used = runs.config
		}
		c.config.Abandon(used)
	}
	closeAll(c.owned)
}

func (p *Proxy) newListener(c *compiledListener) (server, error) {
	if c.packetConfig != nil {
		return listener.NewPacket(p.loops, *c.packetOptions, c.packetConfig, p.limits, p.store, p.log("conn_handler"))
	}
	return listener.New(p.loops, *c.options, c.config, p.limits, p.store, p.log("conn_handler"))
}

// compileListener compiles a listener; old is the one that runs under its name, or nil.
func (p *Proxy) compileListener(l *listenerv3.Listener, origin string, old *running) (*compiledListener, error) {
	c := &compiledListener{awaited: slices.Clone(p.runtime.Awaited())}
	in := &extension.Network{
		Services: p.services, Listener: l.GetName(), Draining: p.draining,
		Own:   func(f func()) { c.owned = append(c.owned, f) },
		Await: func(w *resource.Watch) { c.awaited = append(c.awaited, w) },
	}
	p.overloadFor(l.GetBypassOverloadManager(), in)
	p.awaiting = in.Await
	defer func() { p.awaiting = nil }()
	warn := func(field, reason string) { p.warn(l, origin, field, reason) }
	var err error
	if listener.IsPacket(l) {
		c.packetOptions, c.packetConfig, err = listener.CompilePacket(l, &listener.PacketContext{
			Filter: func(f *listenerv3.ListenerFilter) (listener.PacketFactory, error) { return p.packetFilter(f, in) },
			Warn:   warn,
		})
		return c.orClosed(err)
	}
	cx := &listener.Context{
		Network: func(f *listenerv3.Filter, own func(func())) (conn.Filter, conn.Factory, error) {
			of := *in
			of.Own = own
			of.Told = func(field, reason string) { warn(joinPath(pathOf(l, f), field), reason) }
			return p.networkFilter(f, &of)
		},
		Listener:  func(f *listenerv3.ListenerFilter) (listener.Filter, error) { return p.listenerFilter(f, in) },
		Transport: p.transport,
		AccessLog: p.services.AccessLogs.Load,
		Runtime:   p.runtime,
		Warn:      warn,
	}
	if old != nil && old.config != nil && listener.SameButChains(old.proto, l) {
		c.config, err = listener.Rechain(l, old.config, cx)
		return c, err
	}
	c.options, c.config, err = listener.Compile(l, cx)
	if err != nil {
		return c.orClosed(err)
	}
	c.config.Own(c.owned...)
	c.owned = nil
	return c, nil
}

// warn tells of a field of a listener that is not taken as it stands, and where it is.
func (p *Proxy) warn(l *listenerv3.Listener, origin, field, reason string) {
	pr := xds.Problem{Severity: xds.Warning, Kind: xds.KindListener, Name: l.GetName(), Path: joinPath(origin, field), Reason: reason}
	if pos, ok := place(p.opts.Positions, pr.Path); ok {
		pr.File, pr.Line, pr.Column = pos.File, pos.Line, pos.Column
	}
	p.log("config").Warn(pr.Error())
}

// pathOf is where in a listener a network filter stands.
func pathOf(l *listenerv3.Listener, f *listenerv3.Filter) string {
	for i, c := range l.GetFilterChains() {
		if j := slices.Index(c.GetFilters(), f); j >= 0 {
			return fmt.Sprintf("filter_chains[%d].filters[%d]", i, j)
		}
	}
	if j := slices.Index(l.GetDefaultFilterChain().GetFilters(), f); j >= 0 {
		return fmt.Sprintf("default_filter_chain.filters[%d]", j)
	}
	return ""
}

// orClosed returns what was compiled or, if err tells that it could not be, closes
// what was made so far.
func (c *compiledListener) orClosed(err error) (*compiledListener, error) {
	if err == nil {
		return c, nil
	}
	closeAll(c.owned)
	return nil, err
}

func (p *Proxy) packetFilter(f *listenerv3.ListenerFilter, in *extension.Network) (listener.PacketFactory, error) {
	if f.GetConfigDiscovery() != nil {
		return nil, errors.New("config_discovery: the filters of a UDP listener are not delivered: use typed_config")
	}
	for i := range p.opts.Extensions.UDP {
		e := &p.opts.Extensions.UDP[i]
		if cfg, ok, err := extension.Decode(f.GetTypedConfig(), e.Config); err != nil {
			return nil, err
		} else if ok {
			return e.New(cfg, in)
		}
	}
	return nil, extension.Unknown(f.GetTypedConfig())
}

func (p *Proxy) networkFilter(f *listenerv3.Filter, in *extension.Network) (conn.Filter, conn.Factory, error) {
	if f.GetConfigDiscovery() != nil {
		return p.discoverNetworkFilter(f, in)
	}
	for i := range p.opts.Extensions.Network {
		e := &p.opts.Extensions.Network[i]
		cfg, ok, err := extension.Decode(f.GetTypedConfig(), e.Config)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			continue
		}
		if e.Terminal {
			h, err := e.Handler(cfg, in)
			return nil, h, err
		}
		nf, err := e.New(cfg, in)
		return nf, nil, err
	}
	return nil, nil, extension.Unknown(f.GetTypedConfig())
}

func (p *Proxy) listenerFilter(f *listenerv3.ListenerFilter, in *extension.Network) (listener.Filter, error) {
	if f.GetConfigDiscovery() != nil {
		return p.discoverListenerFilter(f, in)
	}
	for i := range p.opts.Extensions.Listener {
		e := &p.opts.Extensions.Listener[i]
		if cfg, ok, err := extension.Decode(f.GetTypedConfig(), e.Config); err != nil {
			return nil, err
		} else if ok {
			return e.New(cfg, in)
		}
	}
	return nil, extension.Unknown(f.GetTypedConfig())
}

func (p *Proxy) transport(t *corev3.TransportSocket) (listener.TransportFactory, error) {
	for i := range p.opts.Extensions.Transport {
		e := &p.opts.Extensions.Transport[i]
		if cfg, ok, err := extension.Decode(t.GetTypedConfig(), e.Config); err != nil {
			return nil, err
		} else if ok {
			return e.New(cfg, p.services)
		}
	}
	return nil, extension.Unknown(t.GetTypedConfig())
}

// upstreamTransport compiles the transport socket of a cluster, or one within it;
// raw_buffer is nil.
func (p *Proxy) upstreamTransport(t *corev3.TransportSocket) (upstream.Transport, error) {
	if _, raw, err := extension.Decode(t.GetTypedConfig(), &rawbufferv3.RawBuffer{}); raw || err != nil {
		return nil, err
	}
	if t.GetTypedConfig() == nil && t.GetName() == "envoy.transport_sockets.raw_buffer" {
		return nil, nil
	}
	for i := range p.opts.Extensions.UpstreamTransport {
		e := &p.opts.Extensions.UpstreamTransport[i]
		if cfg, ok, err := extension.Decode(t.GetTypedConfig(), e.Config); err != nil {
			return nil, err
		} else if ok {
			return e.New(cfg, p.services)
		}
	}
	return nil, extension.Unknown(t.GetTypedConfig())
}

// upstreamFilters compiles the HTTP filters in front of a cluster's hosts.
func (p *Proxy) upstreamFilters(list []*hcmv3.HttpFilter, path, cluster string, own func(close func())) (*stream.Chain, error) {
	in := extension.HTTP{Services: p.services, Scope: p.store.Scope("cluster." + cluster), Own: own, Await: p.awaiting}
	chain := new(stream.Chain)
	if err := extension.AddFilters(chain, extension.Upstream, list, path, in); err != nil {
		return nil, err
	}
	return chain, nil
}

// all returns the listeners in the order of their names.
func (p *Proxy) all() []*running {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*running, 0, len(p.listeners))
	for _, name := range slices.Sorted(maps.Keys(p.listeners)) {
		out = append(out, p.listeners[name])
	}
	return out
}

// check compiles a snapshot and makes nothing of it.
func (p *Proxy) check(s *xds.Snapshot) []xds.Problem {
	changes := p.changes(s)
	for i := range changes { // What clusters may name.
		switch c := &changes[i]; c.Kind {
		case xds.KindSecret:
			p.changeSecret(c)
		case xds.KindCluster:
			p.known.set(c.Name, true)
		default:
			// Listeners come last; a bootstrap has nothing else.
		}
	}
	for i := range changes {
		c := &changes[i]
		if c.Kind != xds.KindCluster {
			continue
		}
		cfg, problems := p.compileCluster(c.Message.(*clusterv3.Cluster), c.Origin.Field)
		if cfg != nil {
			cfg.Close()
		}
		p.refuse(c, problems...)
	}
	problems := append(p.problems(), p.checkListeners(s)...)
	xds.Sort(problems)
	return problems
}

// checkListeners compiles the listeners of a snapshot and makes none.
func (p *Proxy) checkListeners(s *xds.Snapshot) []xds.Problem {
	var problems []xds.Problem
	for name, l := range s.Listeners().All() {
		origin := s.Listeners().Origin(name).Field
		c, err := p.compileListener(l, origin, nil)
		if err != nil {
			problems = append(problems, p.located(xds.KindListener, name, origin, err))
			continue
		}
		c.close(nil)
	}
	return problems
}
