// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
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
}

func (r *running) close() {
	r.l.Close()
	for _, f := range r.owned {
		f()
	}
}

// Apply makes the snapshot what is served: clusters first, then the listeners
// that use them, then what is no longer used goes. A resource that has a problem
// is left as it was, and told.
func (p *Proxy) Apply(s *xds.Snapshot) []xds.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	problems := p.updateSecrets(s)
	configs, more := p.compileClusters(s)
	problems = append(problems, more...)
	if p.snapshot_ == nil && xds.HasErrors(problems) {
		xds.Sort(problems)
		for _, c := range configs {
			c.Close()
		}
		return append(problems, p.checkListeners(s)...)
	}
	p.updateClusters(configs, &problems)
	p.updateListeners(s, &problems)
	p.removeClusters()
	p.snapshot_ = s
	xds.Sort(problems)
	return problems
}

// updateSecrets gives the snapshot's secrets to those who use them, and takes away
// those that it has no more.
func (p *Proxy) updateSecrets(s *xds.Snapshot) []xds.Problem {
	var problems []xds.Problem
	src := p.secrets.Source("")
	for name, m := range s.Secrets().All() {
		if old, ok := p.snapshotSecret(name); ok && proto.Equal(old, m) {
			continue
		}
		if err := src.Set(name, m); err != nil {
			problems = append(problems, p.located(xds.KindSecret, name, s.Secrets().Origin(name).Field, err))
		}
	}
	if p.snapshot_ != nil {
		for name := range p.snapshot_.Secrets().All() {
			if _, ok := s.Secrets().Get(name); !ok {
				src.Remove(name)
			}
		}
	}
	return problems
}

func (p *Proxy) snapshotSecret(name string) (*tlsv3.Secret, bool) {
	if p.snapshot_ == nil {
		return nil, false
	}
	return p.snapshot_.Secrets().Get(name)
}

func (p *Proxy) checkListeners(s *xds.Snapshot) []xds.Problem {
	var problems []xds.Problem
	for name, l := range s.Listeners().All() {
		origin := s.Listeners().Origin(name).Field
		if _, err := p.compileListener(l, origin, nil); err != nil {
			problems = append(problems, p.located(xds.KindListener, name, origin, err))
		}
	}
	return problems
}

func (p *Proxy) hasCluster(name string) bool { return p.known[name] }

func (p *Proxy) compileClusters(s *xds.Snapshot) ([]*upstream.Config, []xds.Problem) {
	var configs []*upstream.Config
	var problems []xds.Problem
	cx := p.upstreamContext()
	p.known = map[string]bool{}
	for name, c := range s.Clusters().All() {
		p.known[name] = true
		cfg, prs := upstream.Compile(c, cx)
		origin := s.Clusters().Origin(name).Field
		for i := range prs {
			prs[i].Kind, prs[i].Name = xds.KindCluster, name
			prs[i].Path = joinPath(origin, prs[i].Path)
			if pos, ok := place(p.opts.Positions, prs[i].Path); ok {
				prs[i].File, prs[i].Line, prs[i].Column = pos.File, pos.Line, pos.Column
			}
			if prs[i].Severity == xds.Warning {
				located := p.opts.Positions.Locate(prs[i : i+1])
				p.log("upstream").Warn(located[0].Error())
			}
		}
		problems = append(problems, p.opts.Positions.Locate(prs)...)
		if cfg != nil {
			configs = append(configs, cfg)
		}
	}
	return configs, problems
}

func joinPath(a, b string) string {
	if b == "" {
		return a
	}
	return a + "." + b
}

// warmLimit bounds how long listeners wait for their clusters' first answer.
const warmLimit = 15 * time.Second

// updateClusters hands the clusters to their manager and waits until they are
// warm, so that no route points at one that is not.
func (p *Proxy) updateClusters(configs []*upstream.Config, problems *[]xds.Problem) {
	limit := time.NewTimer(warmLimit)
	defer limit.Stop()
	var warming []<-chan struct{}
	for _, cfg := range configs {
		warm, err := p.clusters.Update(cfg)
		if err != nil {
			*problems = append(*problems, xds.Problem{Severity: xds.Error, Kind: xds.KindCluster, Name: cfg.Name, Reason: err.Error()})
			continue
		}
		warming = append(warming, warm)
	}
	for _, w := range warming {
		select {
		case <-w:
		case <-limit.C:
			p.log("upstream").Warn("some clusters have no hosts yet: their names could not be resolved in time; requests to them answer 503 until they can")
			return
		}
	}
}

func (p *Proxy) updateListeners(s *xds.Snapshot, problems *[]xds.Problem) {
	seen := map[string]bool{}
	p.order = p.order[:0]
	for name, l := range s.Listeners().All() {
		seen[name] = true
		if err := p.updateListener(name, l, s.Listeners().Origin(name).Field); err != nil {
			*problems = append(*problems, p.located(xds.KindListener, name, s.Listeners().Origin(name).Field, err))
		}
		if p.listeners[name] != nil {
			p.order = append(p.order, name)
		}
	}
	for name, r := range p.listeners {
		if !seen[name] {
			delete(p.listeners, name)
			p.retire(r)
		}
	}
	if p.snapshot_ == nil && xds.HasErrors(*problems) {
		return
	}
	for _, name := range p.order {
		r := p.listeners[name]
		if r.active {
			continue
		}
		if err := r.l.Start(); err != nil {
			*problems = append(*problems, p.located(xds.KindListener, name, s.Listeners().Origin(name).Field, err))
			continue
		}
		r.active = true
	}
}

func (p *Proxy) updateListener(name string, l *listenerv3.Listener, origin string) error {
	old := p.listeners[name]
	if old != nil && proto.Equal(old.proto, l) {
		return nil
	}
	c, err := p.compileListener(l, origin, old)
	if err != nil {
		return err
	}
	if old != nil && sameSockets(old.proto, l) {
		p.update(old, c)
		old.proto = l
		return nil
	}
	made, err := p.newListener(c)
	if err != nil {
		c.close()
		return err
	}
	p.listeners[name] = &running{l: made, proto: l, config: c.config, owned: c.owned}
	if old != nil {
		p.retire(old)
	}
	return nil
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
}

// update gives a running listener with the same sockets the configuration.
func (p *Proxy) update(r *running, c *compiledListener) {
	switch l := r.l.(type) {
	case *listener.Listener:
		p.retireConfig(l.Update(c.config))
		r.config = c.config
	case *listener.PacketListener:
		l.Update(c.packetConfig)
		r.owned = append(r.owned, c.owned...) // Sessions of the old configuration go on with it.
	}
}

// close closes what was made for a configuration that nobody uses.
func (c *compiledListener) close() {
	if c.config != nil {
		c.config.Close()
	}
	for _, f := range c.owned {
		f()
	}
}

func (p *Proxy) newListener(c *compiledListener) (server, error) {
	if c.packetConfig != nil {
		return listener.NewPacket(p.loops, *c.packetOptions, c.packetConfig, p.limits, p.store, p.log("conn_handler"))
	}
	return listener.New(p.loops, *c.options, c.config, p.limits, p.store, p.log("conn_handler"))
}

// compileListener compiles a listener; old is the one that runs under its name, or nil.
func (p *Proxy) compileListener(l *listenerv3.Listener, origin string, old *running) (*compiledListener, error) {
	c := &compiledListener{}
	in := &extension.Network{
		Services: p.services, Listener: l.GetName(), Draining: p.draining,
		Own: func(f func()) { c.owned = append(c.owned, f) },
	}
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
	for _, f := range c.owned {
		f()
	}
	return nil, err
}

func (p *Proxy) packetFilter(f *listenerv3.ListenerFilter, in *extension.Network) (listener.PacketFactory, error) {
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
	in := extension.HTTP{Services: p.services, Scope: p.store.Scope("cluster." + cluster), Own: own}
	chain := new(stream.Chain)
	if err := extension.AddFilters(chain, extension.Upstream, list, path, in); err != nil {
		return nil, err
	}
	return chain, nil
}

// all returns the listeners in the order of the configuration.
func (p *Proxy) all() []*running {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*running, 0, len(p.order))
	for _, name := range p.order {
		out = append(out, p.listeners[name])
	}
	return out
}
