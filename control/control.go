// SPDX-License-Identifier: Apache-2.0

// Package control is the control plane: objects in, snapshots and status out.
//
// A [Translator] makes of a View what each Gateway's proxies serve, and what became
// of each object; it is a pure function, remembered unit by unit, so that a change
// costs what it reaches. A [Controller] feeds it from sources, hands snapshots to
// those who run proxies, and statuses to those who write them.
//
// The package opens no sockets and knows no proxy.
package control

import (
	"cmp"
	"maps"
	"slices"

	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/dialect/gatewayapi"
	"weir.dev/weir/control/emit"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/policy/backendtls"
	"weir.dev/weir/control/policy/envoygateway/install"
	"weir.dev/weir/control/policy/xtraffic"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// DefaultController is the controllerName of GatewayClasses that are ours.
const DefaultController = gatewayapi.DefaultController

// Options of translation.
type Options struct {
	// Controller is the controllerName of GatewayClasses that are ours; the default is
	// gatewayapi.DefaultController.
	Controller string
	// ExternalName takes Services of that type, which can lead anywhere.
	ExternalName bool
	// Provision tells that proxies are run as Gateways ask in spec.infrastructure.
	Provision bool
	// Namespaces are where the proxies are, if Provision runs them. A gateway that has no
	// namespace is run as the GatewayParameters say that are called as its Deployment is.
	Namespaces infra.Namespaces
	// Dialects are those that are served, of DialectNames; none is all.
	Dialects []string
	// AmbassadorIDs are the installs of Emissary-ingress that are served; none is all.
	AmbassadorIDs []string
	// Limits are how global rate limits are had; nil refuses them.
	Limits *install.LimitService
	// Redis is where proxies that are provisioned count them; nil is nowhere.
	Redis *infra.Redis
	// Deliver has proxies be told by xDS what their limiters are to know.
	Deliver bool
	// Proxy is what EnvoyProxies leave out, and what holds without one; it may be nil.
	Proxy *api.EnvoyProxySpec
}

// ControllerName is the controllerName of GatewayClasses that are ours.
func (o Options) ControllerName() string {
	return cmp.Or(o.Controller, DefaultController)
}

// Objects are what the options say in the place of objects that no source has.
func (o Options) Objects() []source.Change {
	if o.Proxy == nil {
		return nil
	}
	return []source.Change{{Key: source.Key{Kind: source.EnvoyProxy}, Object: &api.EnvoyProxy{Spec: *o.Proxy}}}
}

// A Translator translates a View as it changes. It is for one goroutine.
type Translator struct {
	db       *memo.DB
	view     *source.View
	dialects *dialects
	emitter  *emit.Emitter
	planner  *infra.Planner
	// all is the gateways that there are; its key means nothing.
	all   *memo.Func[struct{}, []source.Name]
	order []source.Name
	// told is what was last told of each object.
	told map[source.Key]*status.Update
}

// NewTranslator returns a Translator with an empty View.
func NewTranslator(o Options) *Translator {
	policies := backendtls.New()
	traffic := xtraffic.New()
	backends := backend.New(backend.Options{ExternalName: o.ExternalName, InPods: o.Provision, TLS: policies, Traffic: traffic})
	ds := newDialects(o, backends, policies, traffic)
	t := &Translator{
		db: memo.New(), dialects: ds, emitter: emit.New(ds, backends, o.Deliver), planner: infra.NewPlanner(ds, o.Redis),
		view: source.NewView(append(ds.indexes(), policies.Index(), traffic.Index(), backends.Index())...),
		all:  memo.NewFunc(func(c *memo.Ctx, _ struct{}) []source.Name { return ds.Gateways(c) }, slices.Equal[[]source.Name]),
		told: map[source.Key]*status.Update{},
	}
	t.db.Change(t.view)
	t.all.Watch(t.db, struct{}{})
	return t
}

// A Result is what changes have come to.
type Result struct {
	// Gateways whose resources are others now, or that are gone.
	Gateways []source.Name
	// Plans of gateways' proxies that are others now.
	Plans []*infra.Plan
	// Statuses of objects that are others now, and those of objects that have come in
	// place of others of their names, by key.
	Statuses []*status.Update
	// Strangers are objects that were ours and are no more: what is ours of their statuses
	// goes.
	Strangers []source.Key
}

// Apply takes changes of objects.
func (t *Translator) Apply(changes []source.Change) Result {
	next, touched := t.view.Apply(changes)
	seen := map[source.Key]bool{}
	var replaced []source.Key
	for _, c := range changes {
		if seen[c.Key] {
			continue
		}
		seen[c.Key] = true
		is, was := next.Get(c.Key), t.view.Get(c.Key)
		t.dialects.change(t.db, c.Key, is != nil, was != nil)
		if is == nil {
			delete(t.told, c.Key)
		} else if was != nil && is.GetUID() != was.GetUID() {
			replaced = append(replaced, c.Key)
		}
	}
	t.view = next
	t.db.Change(next, touched...)
	var out Result
	// What there is, first: gateways that came are watched, and settled next.
	for settled := t.db.Settle(); len(settled) > 0; settled = t.db.Settle() {
		for _, ch := range settled {
			t.take(ch, &out)
		}
	}
	out.Gateways = append(out.Gateways, t.emitter.Flush()...)
	slices.SortFunc(out.Gateways, source.Compare)
	out.Gateways = slices.Compact(out.Gateways)
	for _, key := range t.dialects.retold() {
		out.tell(key, t.dialects.join(key))
	}
	t.tell(&out, replaced)
	slices.SortFunc(out.Statuses, func(a, b *status.Update) int { return source.CompareKeys(a.Key, b.Key) })
	return out
}

// take takes what one change has come to.
func (t *Translator) take(ch memo.Change, out *Result) {
	if _, now, ok := t.all.Watched(ch); ok {
		t.watch(now, out)
		return
	}
	if t.emitter.Take(t.db, ch) {
		return
	}
	if p, ok := t.planner.Changed(ch); ok {
		if p != nil {
			out.Plans = append(out.Plans, p)
		}
		return
	}
	if key, u, ok := t.dialects.status(ch); ok {
		out.tell(key, u)
	}
}

// tell adds what became of an object; nil if it is nobody's any more.
func (r *Result) tell(key source.Key, u *status.Update) {
	if u == nil {
		r.Strangers = append(r.Strangers, key)
		return
	}
	r.Statuses = append(r.Statuses, u)
}

// tell notes what r tells, and tells again what holds of objects that were replaced: what
// became of them may be the same, but nobody has written it on them.
func (t *Translator) tell(r *Result, replaced []source.Key) {
	for _, key := range r.Strangers {
		delete(t.told, key)
	}
	anew := map[source.Key]bool{}
	for _, u := range r.Statuses {
		t.told[u.Key], anew[u.Key] = u, true
	}
	for _, key := range replaced {
		if u := t.told[key]; u != nil && !anew[key] {
			r.Statuses = append(r.Statuses, u)
		}
	}
}

// watch makes now the gateways that are kept up to date.
func (t *Translator) watch(now []source.Name, out *Result) {
	for _, name := range now {
		if !slices.Contains(t.order, name) {
			t.emitter.Watch(t.db, name)
			t.planner.Watch(t.db, name)
		}
	}
	for _, name := range t.order {
		if slices.Contains(now, name) {
			continue
		}
		t.emitter.Unwatch(t.db, name)
		t.planner.Unwatch(t.db, name)
		out.Gateways = append(out.Gateways, name)
	}
	t.order = now
}

// Statuses returns what became of all objects that are ours, by key.
func (t *Translator) Statuses() []*status.Update {
	return slices.SortedFunc(maps.Values(t.told), func(a, b *status.Update) int { return source.CompareKeys(a.Key, b.Key) })
}

// View returns the objects as of the last Apply.
func (t *Translator) View() *source.View { return t.view }

// Resources returns what a gateway's proxies need, or nil if there is no such
// gateway.
func (t *Translator) Resources(gateway source.Name) *emit.Resources {
	return t.emitter.Resources(gateway)
}

// Limits returns what the limiter of all proxies is told: one for each domain.
func (t *Translator) Limits() []*rlsconfv3.RateLimitConfig {
	byDomain := map[string]*rlsconfv3.RateLimitConfig{}
	for _, name := range t.order {
		for _, m := range t.Resources(name).Limits {
			byDomain[m.GetDomain()] = m // A policy at two Gateways says the same at both.
		}
	}
	var out []*rlsconfv3.RateLimitConfig
	for _, domain := range slices.Sorted(maps.Keys(byDomain)) {
		out = append(out, byDomain[domain])
	}
	return out
}

// Gateways returns the gateways that are ours. Where several want one place, those
// that come first have it.
func (t *Translator) Gateways() []source.Name { return slices.Clone(t.order) }

// classless returns the Gateways whose class is not there, and the fleets that those of the
// class may have shared. Whose they are is not known.
func (t *Translator) classless() []source.Name {
	var out []source.Name
	for _, name := range t.view.Names(source.Gateway) {
		o, ok := t.view.Get(source.Key{Kind: source.Gateway, Name: name}).(*gwapiv1.Gateway)
		if ok && t.view.Get(source.Key{Kind: source.GatewayClass, Name: source.Name{Name: string(o.Spec.GatewayClassName)}}) == nil {
			out = append(out, name, graph.FleetOfClass(string(o.Spec.GatewayClassName)))
		}
	}
	return out
}

// Gateway returns what a gateway serves, or nil if it is not ours or cannot be served.
func (t *Translator) Gateway(name source.Name) *graph.Gateway {
	return t.dialects.Gateway(t.db.Ctx(), name)
}

// Awaits returns the gateway whose proxies the status of an object tells of, if it
// tells of any.
func (t *Translator) Awaits(key source.Key) (gateway source.Name, ok bool) {
	for _, d := range t.dialects.list {
		if gateway, ok := d.Awaits(t.db.Ctx(), key); ok {
			return gateway, true
		}
	}
	return source.Name{}, false
}
