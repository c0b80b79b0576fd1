// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/admin"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/proxy/upstream/clusterdial"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/fetch"
)

// fetching is what the proxy keeps of the resources that it fetches.
type fetching struct {
	client *fetch.Client
	dialer *clusterdial.Dialer
	counts map[xds.Kind]*resource.Stats // of LDS and CDS
	server *resource.ServerStats        // of the aggregated stream
	// all are all listeners and all clusters that the bootstrap asks for.
	all map[xds.Kind]whole
	// first is closed when the first answer for a kind has come.
	first map[xds.Kind]chan struct{}

	// What follows is guarded by the proxy's applying.
	static  *xds.Snapshot // the bootstrap's own
	warming []<-chan struct{}

	dynamic dynamic
	// toADS is done once the server of the aggregated stream is told of load.
	toADS sync.Once
}

// prepareFetching readies the client, which asks for nothing yet.
func (p *Proxy) prepareFetching() error {
	d := p.opts.Bootstrap.GetDynamicResources()
	sources := map[string]*corev3.ConfigSource{"dynamic_resources.lds_config": d.GetLdsConfig(), "dynamic_resources.cds_config": d.GetCdsConfig()}
	if err := p.findWholes(); err != nil {
		return err
	}
	for i, l := range p.opts.Bootstrap.GetLayeredRuntime().GetLayers() {
		sources[fmt.Sprintf("layered_runtime.layers[%d].rtds_layer.rtds_config", i)] = l.GetRtdsLayer().GetRtdsConfig()
	}
	for field, cs := range sources {
		if cs == nil {
			continue
		}
		if (cs.GetAds() != nil || cs.GetSelf() != nil) && d.GetAdsConfig() == nil {
			return fmt.Errorf("%s.ads: there is no dynamic_resources.ads_config: say there where the management server is", field)
		}
		if _, err := p.resources.Key(cs); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
	}
	for field, a := range map[string]*corev3.ApiConfigSource{
		"dynamic_resources.ads_config": d.GetAdsConfig(), "cluster_manager.load_stats_config": p.opts.Bootstrap.GetClusterManager().GetLoadStatsConfig(),
	} {
		if a == nil {
			continue
		}
		cs := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: a}}
		if _, err := p.resources.Key(cs); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
	}
	if t := p.opts.Bootstrap.GetClusterManager().GetLoadStatsConfig().GetApiType(); t == corev3.ApiConfigSource_REST {
		return errors.New("cluster_manager.load_stats_config.api_type: load is reported over gRPC alone: write GRPC")
	}
	return nil
}

// startFetching begins to fetch what resources ask for. It comes before those of the
// bootstrap, which wait for it.
func (p *Proxy) startFetching() {
	b := p.opts.Bootstrap
	f := &p.fetching
	f.first = map[xds.Kind]chan struct{}{xds.KindListener: make(chan struct{}), xds.KindCluster: make(chan struct{})}
	d := b.GetDynamicResources()
	if d != nil {
		f.counts = map[xds.Kind]*resource.Stats{
			xds.KindListener: resource.NewStats(p.store.Scope("listener_manager.lds.")),
			xds.KindCluster:  resource.NewStats(p.store.Scope("cluster_manager.cds.")),
		}
		for kind, w := range f.all {
			if resource.Streams(w.source) {
				f.counts[kind].Serve()
			}
		}
		f.server = resource.NewServerStats(p.store.Scope("control_plane."))
	}
	f.dialer = clusterdial.New(p.loops, p.clusters)
	f.client = fetch.New(fetch.Options{
		Node: p.nodeMessage(), ADS: d.GetAdsConfig(), Target: fetchTarget{p}, Log: p.log("config"),
		Dial: func(ctx context.Context, cluster, alpn string) (net.Conn, error) {
			return f.dialer.Dial(ctx, cluster, alpn)
		},
		Get: call.New(p.loops, p.clusters).Get,
	})
	p.resources.OnWanted(func(id resource.ID, cs *corev3.ConfigSource, wanted bool) {
		switch {
		case id.Source == resource.Snapshot:
		case wanted:
			f.client.Subscribe(id.Source, cs, id.Kind, id.Name)
		default:
			f.client.Unsubscribe(id.Source, id.Kind, id.Name)
		}
	})
}

// fetchResources begins to fetch the listeners and clusters that the bootstrap asks for,
// beside its own.
func (p *Proxy) fetchResources() {
	f := &p.fetching
	f.static = p.snapshot_
	if a := p.opts.Bootstrap.GetClusterManager().GetLoadStatsConfig(); a != nil {
		f.client.ReportLoad(a, p.newMeter(func(*upstream.Cluster) bool { return true }))
	}
	layers := p.runtime.Awaited()
	if len(f.all) == 0 && len(layers) == 0 {
		p.live()
		return
	}
	p.wg.Go(func() {
		for _, w := range layers {
			select {
			case <-w.Ready():
			case <-p.flushStop:
				return
			}
		}
		p.fetchAll(xds.KindCluster)
		p.fetchAll(xds.KindListener)
		p.awaitListeners()
		p.live()
	})
}

// fetchAll begins to fetch all resources of a kind, and waits for the first answer until
// initial_fetch_timeout is over, and then until clusters are warm.
func (p *Proxy) fetchAll(kind xds.Kind) {
	w, ok := p.fetching.all[kind]
	if !ok {
		return
	}
	p.fetching.client.Subscribe(w.key, w.source, kind, w.name)
	limit := 15 * time.Second
	if t := w.source.GetInitialFetchTimeout(); t != nil {
		limit = t.AsDuration()
	}
	var late <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-p.fetching.first[kind]:
	case <-late:
		p.fetching.counts[kind].Late()
		p.log("config").Warn("the management server has not answered in time: the proxy goes on without it until it does", "kind", kind, "initial_fetch_timeout", limit)
		return
	case <-p.flushStop:
		return
	}
	warm := fetchTarget{p}.Warm()
	if warm == nil {
		return
	}
	t := time.NewTimer(warmLimit)
	defer t.Stop()
	select {
	case <-warm:
	case <-t.C:
	case <-p.flushStop:
	}
}

// awaitListeners waits until the listeners that there are serve, which have routes, secrets
// or filters to fetch before.
func (p *Proxy) awaitListeners() {
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.pending))
	p.mu.Unlock()
	for _, n := range all {
		select {
		case <-n.over:
		case <-p.flushStop:
			return
		}
	}
}

// Live is closed once the proxy has had the first answers of the management servers that
// its bootstrap names and serves the listeners among them, or has waited for that as long
// as the bootstrap and they say.
func (p *Proxy) Live() <-chan struct{} { return p.isLive }

func (p *Proxy) live() {
	p.health.Start(false)
	p.state.CompareAndSwap(int32(admin.Initializing), int32(admin.Live))
	p.server.At(0).Live.Set(1)
	close(p.isLive) // Whoever waited finds all this.
}

func (p *Proxy) stopFetching() {
	f := &p.fetching
	if p.resources != nil { // Else the bootstrap was refused before there were any.
		p.resources.Close()
	}
	if f.client != nil {
		f.client.Close()
	}
	for _, s := range f.counts {
		s.Close()
	}
	f.server.Close()
}

// nodeMessage is who the proxy is, for management servers.
func (p *Proxy) nodeMessage() *corev3.Node {
	n := &corev3.Node{}
	if o := p.opts.Bootstrap.GetNode(); o != nil {
		n = proto.CloneOf(o)
	}
	node := p.node()
	n.Id, n.Cluster = node.ID, node.Cluster
	if node.Zone != "" {
		if n.Locality == nil {
			n.Locality = &corev3.Locality{}
		}
		n.Locality.Zone = node.Zone
	}
	if n.UserAgentName == "" {
		n.UserAgentName = "weir"
	}
	if n.GetUserAgentVersionType() == nil {
		n.UserAgentVersionType = &corev3.Node_UserAgentVersion{UserAgentVersion: p.opts.Version}
	}
	return n
}

// fetchTarget gives the proxy what was fetched.
type fetchTarget struct{ p *Proxy }

var _ fetch.Target = fetchTarget{}

// Apply implements fetch.Target.
func (t fetchTarget) Apply(u *fetch.Update) []fetch.Refusal {
	switch u.Kind {
	case xds.KindListener:
		return t.p.applyFetched(u)
	case xds.KindCluster:
		out := t.p.applyFetched(u)
		t.p.answerClusters(u, out)
		return out
	case xds.KindScopedRoute, xds.KindVirtualHost:
		return t.p.mergeFetched(u)
	default:
	}
	if u.Kind == xds.KindExtension {
		// What filters are compiled with belongs to who applies.
		t.p.applying.Lock()
		defer t.p.applying.Unlock()
	}
	var out []fetch.Refusal
	for _, r := range u.Put {
		m := r.Message
		if rt, ok := m.(*runtimev3.Runtime); ok {
			m = rt.GetLayer()
		}
		if err := t.p.resources.Set(resource.ID{Source: u.Source, Kind: u.Kind, Name: r.Name}, m, r.Version); err != nil {
			out = append(out, fetch.Refusal{Name: r.Name, Err: err})
		}
	}
	for _, name := range u.Gone {
		t.p.resources.Remove(resource.ID{Source: u.Source, Kind: u.Kind, Name: name})
	}
	if u.Empty {
		t.p.resources.Empty(u.Source, u.Kind)
	}
	return out
}

// applyFetched takes listeners or clusters. Those of the bootstrap stay as they are.
func (p *Proxy) applyFetched(u *fetch.Update) []fetch.Refusal {
	p.applying.Lock()
	defer p.applying.Unlock()
	f := &p.fetching
	b := p.snapshot_.Edit()
	static := func(name string) bool {
		own := p.isStatic(u.Kind, name)
		if own {
			p.log("config").Warn("what the management server says of a resource of the bootstrap is left out", "kind", u.Kind, "name", name)
		}
		return own
	}
	for _, r := range u.Put {
		switch m := r.Message.(type) {
		case *listenerv3.Listener:
			if !static(r.Name) {
				b.Listeners().Put(r.Name, m, xds.OriginOf(m.GetMetadata()))
			}
		case *clusterv3.Cluster:
			if !static(r.Name) {
				b.Clusters().Put(r.Name, m, xds.OriginOf(m.GetMetadata()))
			}
		}
	}
	for _, name := range u.Gone {
		switch {
		case static(name):
		case u.Kind == xds.KindListener:
			b.Listeners().Delete(name)
		default:
			b.Clusters().Delete(name)
		}
	}
	next := b.Build(p.snapshot_.Version())
	began := time.Now()
	p.tried(u, began)
	p.change(next, p.changes(next), false)
	p.mu.Lock()
	p.snapshot_ = next
	p.mu.Unlock()
	out := p.refusals(u)
	p.settled(u, len(out) == 0)
	if len(out) > 0 {
		f.counts[u.Kind].Rejected()
	} else {
		f.counts[u.Kind].Accepted(u.Version, time.Since(began))
	}
	select {
	case <-f.first[u.Kind]:
	default:
		close(f.first[u.Kind])
	}
	return out
}

// refusals are what is wrong with the resources of an update.
func (p *Proxy) refusals(u *fetch.Update) (out []fetch.Refusal) {
	for _, r := range u.Put {
		if err := xds.Err(p.refused[refusal{u.Kind, r.Name}]); err != nil {
			out = append(out, fetch.Refusal{Name: r.Name, Err: err})
		}
	}
	return out
}

// Failed implements fetch.Target.
func (t fetchTarget) Failed(source string, kind xds.Kind, names []string) {
	f := &t.p.fetching
	for _, name := range names {
		if w, ok := f.all[kind]; !ok || name != w.name {
			t.p.resources.Failed(resource.ID{Source: source, Kind: kind, Name: name})
			continue
		}
		f.counts[kind].Failed()
	}
}

// Connected implements fetch.Target.
func (t fetchTarget) Connected(s fetch.Stream, up bool, identifier string) {
	t.servers(s, func(c *resource.ServerStats) { c.Connected(up, identifier) })
	t.p.resources.Connected(s.Source, s.Kind, up, identifier)
}

// Throttled implements fetch.Target.
func (t fetchTarget) Throttled(s fetch.Stream, waits bool) {
	t.servers(s, func(c *resource.ServerStats) { c.Throttled(waits) })
	t.p.resources.Throttled(s.Source, s.Kind, waits)
}

// servers calls f with the statistics of a stream that are not those of a watch.
func (t fetchTarget) servers(s fetch.Stream, f func(*resource.ServerStats)) {
	if s.Source == resource.ADS {
		f(t.p.fetching.server)
		return
	}
	for kind, w := range t.p.fetching.all {
		if w.key == s.Source && (s.Kind == "" || s.Kind == kind) {
			f(t.p.fetching.counts[kind].Server())
		}
	}
}

// Forget implements fetch.Target.
func (t fetchTarget) Forget(source string, kind xds.Kind, names []string) {
	for _, name := range names {
		t.p.resources.Forget(resource.ID{Source: source, Kind: kind, Name: name})
	}
}

// cold are the channels of what is not warm yet.
func cold(all []<-chan struct{}) []<-chan struct{} {
	return slices.DeleteFunc(all, func(w <-chan struct{}) bool {
		select {
		case <-w:
			return true
		default:
			return false
		}
	})
}

// Warm implements fetch.Target.
func (t fetchTarget) Warm() <-chan struct{} {
	p := t.p
	p.applying.Lock()
	defer p.applying.Unlock()
	p.fetching.warming = cold(p.fetching.warming)
	if len(p.fetching.warming) == 0 {
		return nil
	}
	all := append([]<-chan struct{}{}, p.fetching.warming...)
	done := make(chan struct{})
	p.wg.Go(func() {
		defer close(done)
		for _, w := range all {
			select {
			case <-w:
			case <-p.flushStop:
				return
			}
		}
	})
	return done
}

// secretWanted has a secret fetched that configuration names, and what is being compiled
// wait for it.
func (p *Proxy) secretWanted(cs *corev3.ConfigSource, key, name string) {
	id := resource.ID{Source: key, Kind: xds.KindSecret, Name: name}
	w := p.secretWatches[id]
	if w == nil {
		src := p.secrets.Source(key)
		var err error
		w, err = p.resources.Watch(cs, xds.KindSecret, name, resource.Options{
			Decode: func(m proto.Message) (any, error) {
				s, ok := m.(*tlsv3.Secret)
				if !ok {
					return nil, fmt.Errorf("is a %s and not a Secret", m.ProtoReflect().Descriptor().FullName())
				}
				return nil, src.Set(name, s)
			},
			Changed: func(any) {},
		})
		if err != nil {
			p.log("config").Error("a secret cannot be asked for", "secret", name, "error", err)
			return
		}
		p.secretWatches[id] = w
	}
	if p.awaiting != nil {
		p.awaiting(w)
	}
}
