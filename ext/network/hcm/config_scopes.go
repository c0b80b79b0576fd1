// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"errors"
	"fmt"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds"
)

// scoped keeps the scopes of a connection manager up to date.
type scoped struct {
	feeder
	builder scopeKeyBuilder
	source  *corev3.ConfigSource // of the route configurations that scopes name
	publish func(*scopes)
	counts  *stats.Sharded[scopeStats] // nil if the scopes do not change

	// mu guards what follows. It is held while feeds are opened, and not by what they
	// call.
	mu     sync.Mutex
	defs   map[string]*scopeDef // by name
	routes map[string]*sharedRoutes
	now    *scopes
	closed bool
}

// scopeStats are Envoy's http.PREFIX.scoped_rds.NAME.* beside those of any subscription.
type scopeStats struct {
	Reload     stats.Counter `stat:"config_reload"`
	Empty      stats.Counter `stat:"update_empty"`
	All        stats.Gauge   `stat:"all_scopes"`
	OnDemand   stats.Gauge   `stat:"on_demand_scopes"`
	Active     stats.Gauge   `stat:"active_scopes"`
	ReloadTime stats.Gauge   `stat:"config_reload_time_ms"`
}

// scopeDef is a scope as it was configured.
type scopeDef struct {
	message *routev3.ScopedRouteConfiguration
	key     string
	inline  *route.Table // nil if the routes are named
	scope   *routeScope
}

// sharedRoutes are named routes and how many scopes name them. Their feed is nil until one
// that is not on demand does, or a request asks for them.
type sharedRoutes struct {
	scopeRoutes
	name string
	refs int
	feed *feed
}

func (b *builder) scopedRoutes(r *hcmv3.ScopedRoutes) error {
	if r.GetName() == "" {
		return errors.New("name: is missing")
	}
	keys, err := scopeKeys(r.GetScopeKeyBuilder())
	if err != nil {
		return fmt.Errorf("scope_key_builder.%w", err)
	}
	if _, err := b.in.Resources.Key(r.GetRdsConfigSource()); err != nil {
		return fmt.Errorf("rds_config_source: %w", err)
	}
	s := &scoped{
		feeder: b.feeder(), builder: keys, source: r.GetRdsConfigSource(), publish: b.Manager.scopes.Store,
		defs: map[string]*scopeDef{}, routes: map[string]*sharedRoutes{}, now: &scopes{builder: keys},
	}
	b.Manager.scoped = s
	s.publish(s.now)
	b.in.Own(s.close)
	switch c := r.GetConfigSpecifier().(type) {
	case *hcmv3.ScopedRoutes_ScopedRouteConfigurationsList:
		defs, err := s.decode(c.ScopedRouteConfigurationsList)
		if err != nil {
			return fmt.Errorf("scoped_route_configurations_list: %w", err)
		}
		s.take(defs)
		for _, w := range s.needs() {
			b.await(w)
		}
		return nil
	case *hcmv3.ScopedRoutes_ScopedRds:
		return b.scopedRDS(s, r.GetName(), c.ScopedRds)
	}
	return errors.New("scoped_rds: one of scoped_rds and scoped_route_configurations_list is required")
}

func (b *builder) scopedRDS(s *scoped, name string, r *hcmv3.ScopedRds) error {
	locator := r.GetSrdsResourcesLocator()
	if r.GetScopedRdsConfigSource() == nil && locator == "" {
		return errors.New("scoped_rds.scoped_rds_config_source: is missing")
	}
	at := b.scope.Scope("scoped_rds." + stats.Sanitize(name))
	counts := resource.NewStats(at)
	s.counts = stats.Register[scopeStats](at, 1)
	b.in.Own(func() {
		s.counts.Close()
		counts.Close()
	})
	watch, field, what := b.in.Resources.Watch, "scoped_rds_config_source", resource.All
	if locator != "" {
		watch, field, what = b.in.Resources.WatchCollection, "srds_resources_locator", locator
	}
	w, err := watch(r.GetScopedRdsConfigSource(), xds.KindScopedRoute, what, resource.Options{
		Decode: func(m proto.Message) (any, error) { return s.decode(m.(*hcmv3.ScopedRouteConfigurationsList)) },
		Changed: func(v any) {
			began := time.Now()
			s.take(v.(map[string]*scopeDef))
			s.counts.At(0).Reload.Inc()
			s.counts.At(0).ReloadTime.Set(began.UnixMilli())
		},
		Empty: func() { s.counts.At(0).Empty.Inc() },
		Needs: s.needs,
		Stats: counts,
	})
	if err != nil {
		return fmt.Errorf("scoped_rds.%s: %w", field, err)
	}
	b.in.Own(w.Close)
	b.await(w)
	return nil
}

// scopeKeys compiles a scope key builder.
func scopeKeys(p *hcmv3.ScopedRoutes_ScopeKeyBuilder) (scopeKeyBuilder, error) {
	if len(p.GetFragments()) == 0 {
		return nil, errors.New("fragments: are missing: a request without a key is in no scope")
	}
	var out scopeKeyBuilder
	for i, f := range p.GetFragments() {
		x := f.GetHeaderValueExtractor()
		fail := func(field, reason string) (scopeKeyBuilder, error) {
			return nil, fmt.Errorf("fragments[%d].header_value_extractor%s: %s", i, field, reason)
		}
		if x == nil {
			return fail("", "is missing")
		}
		if x.GetName() == "" {
			return fail(".name", "is missing")
		}
		e := extractor{header: header.NewName(x.GetName()), separator: []byte(x.GetElementSeparator())}
		switch t := x.GetExtractType().(type) {
		case *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index:
			if e.index = t.Index; e.index > 0 && len(e.separator) == 0 {
				return fail(".index", "is more than 0, and without element_separator there is one element: set it")
			}
		case *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Element:
			e.byKey, e.key, e.between = true, []byte(t.Element.GetKey()), []byte(t.Element.GetSeparator())
			if len(e.key) == 0 || len(e.between) == 0 {
				return fail(".element", "needs key and separator")
			}
		default:
			return fail("", "says nothing: set index or element")
		}
		out = append(out, e)
	}
	return out, nil
}

// decode reads all scopes there are, and takes over those that are as they were.
func (s *scoped) decode(l *hcmv3.ScopedRouteConfigurationsList) (map[string]*scopeDef, error) {
	s.mu.Lock()
	before := s.defs
	s.mu.Unlock()
	out := make(map[string]*scopeDef, len(l.GetScopedRouteConfigurations()))
	byKey := make(map[string]string, len(out))
	for _, m := range l.GetScopedRouteConfigurations() {
		d := before[m.GetName()]
		if d == nil || d.message != m && !proto.Equal(d.message, m) {
			var err error
			if d, err = s.define(m, d); err != nil {
				return nil, fmt.Errorf("scope %q: %w", m.GetName(), err)
			}
		}
		if out[m.GetName()] != nil {
			return nil, fmt.Errorf("scope %q: is there twice: give one of them another name", m.GetName())
		}
		if other, ok := byKey[d.key]; ok {
			return nil, fmt.Errorf("scope %q: key: is that of scope %q already: a key leads to one scope", m.GetName(), other)
		}
		out[m.GetName()], byKey[d.key] = d, m.GetName()
	}
	return out, nil
}

// define reads a scope; before is what it was, or nil.
func (s *scoped) define(m *routev3.ScopedRouteConfiguration, before *scopeDef) (*scopeDef, error) {
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	d := &scopeDef{message: m}
	var key []byte
	for i, f := range m.GetKey().GetFragments() {
		k, ok := f.GetType().(*routev3.ScopedRouteConfiguration_Key_Fragment_StringKey)
		if !ok {
			return nil, fmt.Errorf("key.fragments[%d].string_key: is missing", i)
		}
		key = appendFragment(key, []byte(k.StringKey))
	}
	d.key = string(key)
	rc, name := m.GetRouteConfiguration(), m.GetRouteConfigurationName()
	switch {
	case rc != nil && name != "":
		return nil, errors.New("route_configuration: route_configuration_name is set, too: only one of them may be")
	case rc != nil:
		var old *route.Table
		if before != nil {
			old = before.inline
		}
		var err error
		if d.inline, err = compileRoutes(rc, old, s.services, s.log, true); err != nil {
			return nil, fmt.Errorf("route_configuration.%w", err)
		}
	case name == "":
		return nil, errors.New("route_configuration_name: is missing: set it or route_configuration")
	case s.source == nil:
		return nil, errors.New("route_configuration_name: the connection manager does not say where routes are fetched from: set scoped_routes.rds_config_source")
	}
	return d, nil
}

// take makes these the scopes there are. What they need is fetched first, and what only
// those before needed is let go.
func (s *scoped) take(defs map[string]*scopeDef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	next := &scopes{builder: s.builder, byKey: make(map[string]*routeScope, len(defs))}
	onDemand := 0
	for name, d := range defs {
		if d.scope == nil {
			d.scope = s.scopeOf(name, d)
		}
		next.byKey[d.key] = d.scope
		if d.message.GetOnDemand() {
			onDemand++
		}
	}
	old := s.defs
	s.defs, s.now = defs, next
	s.publish(next)
	for name, d := range old {
		if defs[name] != d && d.inline == nil {
			s.release(d.message.GetRouteConfigurationName())
		}
	}
	if s.counts != nil {
		c := s.counts.At(0)
		c.All.Set(int64(len(defs)))
		c.OnDemand.Set(int64(onDemand))
		c.Active.Set(int64(len(defs) - onDemand))
	}
}

// scopeOf makes a new scope. Requests of its key go on as they did until its routes come.
func (s *scoped) scopeOf(name string, d *scopeDef) *routeScope {
	sc := &routeScope{name: name, key: d.key, before: s.now.byKey[d.key].load()}
	if d.inline != nil {
		sc.routes = &scopeRoutes{}
		sc.routes.table.Store(d.inline)
		return sc
	}
	named := d.message.GetRouteConfigurationName()
	r := s.routes[named]
	if r == nil {
		r = &sharedRoutes{name: named}
		s.routes[named] = r
	}
	r.refs++
	sc.routes = &r.scopeRoutes
	if !d.message.GetOnDemand() || sc.before != nil {
		s.fetch(r)
	}
	return sc
}

// fetch begins to fetch routes, unless they are.
func (s *scoped) fetch(r *sharedRoutes) {
	if r.feed != nil {
		return
	}
	f, err := s.open(s.source, r.name, r.table.Store)
	if err != nil { // The source was checked.
		s.log.Error("the routes of a scope cannot be asked for", "route_config", r.name, "error", err)
		return
	}
	r.feed = f
}

func (s *scoped) release(name string) {
	r := s.routes[name]
	if r.refs--; r.refs > 0 {
		return
	}
	delete(s.routes, name)
	if r.feed != nil {
		r.feed.close()
	}
}

// demand fetches the routes of a scope that were not needed until now. It returns a watch
// of them, nil if there is nothing to fetch.
func (s *scoped) demand(sc *routeScope) *resource.Watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.routes {
		if &r.scopeRoutes == sc.routes {
			if s.fetch(r); r.feed != nil {
				return r.feed.watch
			}
		}
	}
	return nil
}

// needs are the routes that are fetched.
func (s *scoped) needs() []*resource.Watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*resource.Watch
	for _, r := range s.routes {
		if r.feed != nil {
			out = append(out, r.feed.watch)
		}
	}
	return out
}

func (s *scoped) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.routes {
		if r.feed != nil {
			r.feed.close()
		}
	}
	s.closed = true
}
