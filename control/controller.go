// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"

	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
)

// A Runner runs the proxies of gateways. Its methods are called from the
// Controller's goroutine.
type Runner interface {
	// Hear is told what came, changed or went, before it is translated; it may be nothing,
	// when the Queue was woken. It returns what has become known of proxies since, as
	// changes of kind source.Fleets.
	Hear(changes []source.Change) []source.Change
	// Plan is told which gateways came, changed or went, before they are served. It
	// returns what is known of their proxies and was not known before, such as their
	// addresses, as changes of kind source.Fleets.
	Plan(t *Translator, gateways []source.Name) []source.Change
	// Serve gives proxies what they need now; gateways are those whose resources are
	// others, or that went. It returns what has become known of the proxies by that.
	// What becomes known later goes to the Controller's Queue.
	Serve(t *Translator, gateways []source.Name) []source.Change
	// Acknowledged reports whether the proxies of a Gateway have answered to all that
	// they were given.
	Acknowledged(gateway source.Name) bool
	// Kept returns the gateways that are gone and whose proxies are to be there nevertheless, until others
	// serve in their place.
	Kept() []source.Name
}

// A Writer writes statuses where objects come from. It must not block for long.
type Writer interface {
	Write(updates []*status.Update)
}

// A Controller joins sources, translation, proxies and status.
type Controller struct {
	// Queue is where sources and the Runner put changes.
	Queue      *source.Queue
	Translator *Translator
	Runner     Runner
	// Writer may be nil.
	Writer Writer
	// Provision is told of each Gateway whose proxies are to be run otherwise, and which
	// Gateways there are. It may be nil, and must not block for long.
	Provision func(plans []*infra.Plan, there []source.Name)
	// Limit is told what the limiter of the proxies is to know, before they ask it. It may
	// be nil.
	Limit func([]*rlsconfv3.RateLimitConfig)
	// Changed, if not nil, is given the objects after each batch of changes.
	Changed func(*source.View)
	Log     *slog.Logger

	held map[source.Key]held
	// provisioned tells that Provision has been called, and kept which gateways were then
	// there that are gone.
	provisioned bool
	kept        []source.Name
}

// held is a status that tells of proxies and waits for their answer.
type held struct {
	update  *status.Update
	gateway source.Name
}

// Run translates what the Queue has until ctx ends, and returns ctx's error.
func (c *Controller) Run(ctx context.Context) error {
	c.held = map[source.Key]held{}
	for {
		batch, err := c.Queue.Take(ctx)
		if err != nil {
			return err
		}
		c.Step(batch)
	}
}

// Step takes one batch of changes.
func (c *Controller) Step(batch []source.Change) {
	if c.held == nil {
		c.held = map[source.Key]held{}
	}
	start := time.Now()
	statuses := map[source.Key]*status.Update{}
	var plans []*infra.Plan
	var touched []source.Name
	applied := false
	apply := func(changes []source.Change) []source.Name {
		r := c.Translator.Apply(changes)
		for _, key := range r.Strangers {
			statuses[key] = &status.Update{Key: key, Status: status.Left(key.Kind)}
		}
		for _, u := range r.Statuses {
			statuses[u.Key] = u
		}
		applied = true
		plans, touched = append(plans, r.Plans...), append(touched, r.Gateways...)
		return r.Gateways
	}
	for changes := append(slices.Clone(batch), c.Runner.Hear(batch)...); len(changes) > 0; {
		gateways := apply(changes)
		if planned := c.Runner.Plan(c.Translator, gateways); len(planned) > 0 {
			gateways = append(gateways, apply(planned)...)
			slices.SortFunc(gateways, source.Compare)
			gateways = slices.Compact(gateways)
		}
		if len(gateways) == 0 {
			break
		}
		if c.Limit != nil {
			c.Limit(c.Translator.Limits())
		}
		changes = c.Runner.Serve(c.Translator, gateways)
	}
	c.provision(plans, touched, applied)
	c.write(statuses)
	if c.Changed != nil {
		c.Changed(c.Translator.View())
	}
	if c.Log != nil && len(batch) > 0 {
		c.Log.Debug("translated", "changes", len(batch), "statuses", len(statuses), "took", time.Since(start))
	}
}

// provision tells who runs proxies how to, once it is known which gateways there are.
func (c *Controller) provision(plans []*infra.Plan, touched []source.Name, known bool) {
	kept := c.Runner.Kept()
	if c.Provision == nil || !known && !c.provisioned {
		return
	}
	there := c.Translator.Gateways()
	gone := slices.ContainsFunc(touched, func(name source.Name) bool { return !slices.Contains(there, name) })
	if len(plans) > 0 || gone || !c.provisioned || !slices.Equal(kept, c.kept) {
		c.provisioned, c.kept = true, kept
		c.Provision(plans, slices.Concat(there, c.Translator.classless(), kept))
	}
}

// write hands out statuses. Those of Gateways and ListenerSets say whether proxies
// serve them: they wait until the proxies have answered.
func (c *Controller) write(statuses map[source.Key]*status.Update) {
	for key, u := range statuses {
		if gateway, ok := c.Translator.Awaits(key); ok {
			c.held[key] = held{u, gateway}
			delete(statuses, key)
		} else {
			delete(c.held, key)
		}
	}
	for key, h := range c.held {
		if c.Runner.Acknowledged(h.gateway) {
			statuses[key] = h.update
			delete(c.held, key)
		}
	}
	if len(statuses) == 0 || c.Writer == nil {
		return
	}
	c.Writer.Write(slices.SortedFunc(maps.Values(statuses), func(a, b *status.Update) int { return source.CompareKeys(a.Key, b.Key) }))
}
