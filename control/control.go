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
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/dialect/gatewayapi"
	"weir.dev/weir/control/emit"
	"weir.dev/weir/control/policy/backendtls"
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
}

// A Translator translates a View as it changes. It is for one goroutine.
type Translator struct {
	db       *memo.DB
	view     *source.View
	dialect  *gatewayapi.Dialect
	emitter  *emit.Emitter
	gateways map[source.Name]*emit.Resources
}

// NewTranslator returns a Translator with an empty View.
func NewTranslator(o Options) *Translator {
	policies := backendtls.New()
	backends := backend.New(backend.Options{ExternalName: o.ExternalName, TLS: policies})
	dialect := gatewayapi.New(gatewayapi.Options{Controller: o.Controller, Backends: backends, TLS: policies})
	t := &Translator{
		db: memo.New(), dialect: dialect, emitter: emit.New(dialect, backends),
		view:     source.NewView(append(dialect.Indexes(), policies.Index(), backends.Index())...),
		gateways: map[source.Name]*emit.Resources{},
	}
	t.db.Change(t.view)
	return t
}

// A Result is what changes have come to.
type Result struct {
	// Gateways whose resources are others now, or that are gone.
	Gateways []source.Name
	// Statuses of objects that are others now, by key.
	Statuses []*status.Update
	// Strangers are objects that were ours and are no more; their statuses are left.
	Strangers []source.Key
}

// Apply takes changes of objects.
func (t *Translator) Apply(changes []source.Change) Result {
	next, touched := t.view.Apply(changes)
	seen := map[source.Key]bool{}
	for _, c := range changes {
		if seen[c.Key] {
			continue
		}
		seen[c.Key] = true
		is, was := next.Get(c.Key) != nil, t.view.Get(c.Key) != nil
		t.dialect.Change(t.db, c.Key, is, was)
		if c.Key.Kind == source.Gateway && is != was {
			if is {
				t.emitter.Watch(t.db, c.Key.Name)
			} else {
				t.emitter.Unwatch(t.db, c.Key.Name)
			}
		}
	}
	var out Result
	for key := range seen {
		if key.Kind == source.Gateway && next.Get(key) == nil && t.gateways[key.Name] != nil {
			delete(t.gateways, key.Name)
			out.Gateways = append(out.Gateways, key.Name)
		}
	}
	t.view = next
	t.db.Change(next, touched...)
	for _, ch := range t.db.Settle() {
		if name, r, ok := t.emitter.Changed(ch); ok {
			t.gateways[name] = r
			out.Gateways = append(out.Gateways, name)
		}
		switch key, u, ok := t.dialect.Status(ch); {
		case ok && u != nil:
			out.Statuses = append(out.Statuses, u)
		case ok:
			out.Strangers = append(out.Strangers, key)
		}
	}
	slices.SortFunc(out.Gateways, source.Compare)
	slices.SortFunc(out.Statuses, func(a, b *status.Update) int { return source.CompareKeys(a.Key, b.Key) })
	return out
}

// View returns the objects as of the last Apply.
func (t *Translator) View() *source.View { return t.view }

// Resources returns what a Gateway's proxies need, or nil if there is no such
// Gateway.
func (t *Translator) Resources(gateway source.Name) *emit.Resources { return t.gateways[gateway] }

// Gateways returns the Gateways that are ours, by name.
func (t *Translator) Gateways() []source.Name { return t.dialect.Gateways(t.db.Ctx()) }

// Awaits returns the Gateway whose proxies the status of an object tells of, if it
// tells of any.
func (t *Translator) Awaits(key source.Key) (gateway source.Name, ok bool) {
	switch key.Kind {
	case source.Gateway:
		return key.Name, true
	case source.ListenerSet:
		if o, ok := t.view.Get(key).(*gwapiv1.ListenerSet); ok {
			return gatewayapi.GatewayOfSet(o), true
		}
	}
	return source.Name{}, false
}
