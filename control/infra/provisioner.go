// SPDX-License-Identifier: Apache-2.0

package infra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"weir.dev/weir/control/source"
)

// Cluster is where objects are applied.
type Cluster interface {
	// Apply makes an object be as its Body says, and leaves to others what that does not
	// speak of; without a Body it removes the object, if that is there.
	Apply(ctx context.Context, o Object) error
	// Provisioned returns the objects, without their Bodies, that have been applied for
	// Gateways of classes of a controllerName.
	Provisioned(ctx context.Context, controller string) ([]Object, error)
}

// How long to wait before what failed is tried again, and how often everything is applied
// although nothing has changed: others may have changed it.
const (
	again   = 2 * time.Second
	refresh = 5 * time.Minute
)

// A Provisioner applies the newest Plan of each Gateway.
type Provisioner struct {
	cluster Cluster
	options Options
	log     *slog.Logger

	mu      sync.Mutex
	plans   map[source.Name]*Plan
	applied map[source.Name]*Plan // those that have been, once at least
	failed  map[source.Name]bool  // could not be, when that was tried last
	pending map[source.Name]bool
	// there are the Gateways that are ours, whether they have a Plan or not; nil before it
	// is known. sweeping tells that there may be objects of others.
	there    map[source.Name]bool
	sweeping bool
	wake     chan struct{}
}

// NewProvisioner returns a Provisioner.
func NewProvisioner(c Cluster, o Options, log *slog.Logger) *Provisioner {
	return &Provisioner{cluster: c, options: o, log: log, plans: map[source.Name]*Plan{}, applied: map[source.Name]*Plan{}, failed: map[source.Name]bool{}, pending: map[source.Name]bool{}, wake: make(chan struct{}, 1)}
}

// Provision takes Plans, and which Gateways are ours. What Weir has applied for others is
// removed, unless Kubernetes has, because they own it: a Gateway may be of another class
// now, of which another control plane takes care.
func (p *Provisioner) Provision(plans []*Plan, there []source.Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.there
	p.there = map[source.Name]bool{}
	for _, name := range there {
		p.there[name] = true
	}
	for name := range before {
		if !p.there[name] {
			delete(p.plans, name)
			delete(p.applied, name)
			delete(p.failed, name)
			delete(p.pending, name)
			p.sweeping = true
		}
	}
	for _, plan := range plans {
		if old := p.plans[plan.Gateway]; old != nil && (p.at(old) != p.at(plan) || plan.Counting.secret() == nil && old.Counting.secret() != nil || !maps.Equal(old.Parameters.Names, plan.Parameters.Names)) {
			p.sweeping = true
		}
		p.plans[plan.Gateway], p.pending[plan.Gateway] = plan, true
	}
	p.signal()
}

// Again applies a Gateway's Plan once more: something of it has gone.
func (p *Provisioner) Again(gateway source.Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plans[gateway] != nil {
		p.pending[gateway] = true
		p.signal()
	}
}

func (p *Provisioner) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// workers is how many Gateways are provisioned at once.
const workers = 4

// Run applies until ctx ends: first everything, then what changes.
func (p *Provisioner) Run(ctx context.Context) {
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	p.all()
	for {
		p.drain(ctx)
		p.sweep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-tick.C:
			p.all()
		}
	}
}

func (p *Provisioner) all() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.plans {
		p.pending[name] = true
	}
	p.sweeping = true
}

// called is where a Plan's object of a kind is.
func (p *Provisioner) called(plan *Plan, kind string) source.Name {
	at := p.at(plan)
	w := &writer{plan: plan, name: at.Name}
	return source.Name{Namespace: at.Namespace, Name: w.called(kind)}
}

// taken tells of an object that is another Gateway's, too: parameters that both refer to
// name it. It is of the first by name.
func (p *Provisioner) taken(plan *Plan) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(plan.Parameters.Names)) {
		for _, other := range p.plans {
			if source.Compare(other.Gateway, plan.Gateway) < 0 && p.called(other, kind) == p.called(plan, kind) {
				return fmt.Errorf("the %s %s is that of Gateway %s: give each Gateway parameters with names of its own", kind, p.called(plan, kind), other.Gateway)
			}
		}
	}
	return nil
}

// at is where a Plan's objects are, but for those that have names of their own.
func (p *Provisioner) at(plan *Plan) source.Name {
	return p.options.Namespaces.Place(plan.Gateway, plan.Class)
}

// sweep removes the objects of Gateways that are not ours, and those that a Gateway had
// when it was of another class, once what it has now is there.
func (p *Provisioner) sweep(ctx context.Context) {
	p.mu.Lock()
	due := p.sweeping && p.there != nil
	if due {
		p.sweeping = false
	}
	p.mu.Unlock()
	if !due || ctx.Err() != nil {
		return
	}
	objects, err := p.cluster.Provisioned(ctx, p.options.Controller)
	for _, o := range objects {
		if err == nil && p.stray(o) {
			p.log.Info("removes what its Gateway has no more", "object", o.Resource+" "+o.Namespace+"/"+o.Name, "gateway", o.Gateway.String())
			err = p.cluster.Apply(ctx, o)
		}
	}
	if err != nil && ctx.Err() == nil {
		p.log.Warn("what Gateways have no more cannot be removed; it is tried again", "error", err)
		time.AfterFunc(again, p.sweepAgain)
	}
}

func (p *Provisioner) sweepAgain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweeping = true
	p.signal()
}

// stray tells that an object is not of what its Gateway has now. Of one that is ours and
// has no Plan, because it asks for what there is not, everything stays.
func (p *Provisioner) stray(o Object) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.there[o.Gateway] {
		return true
	}
	plan := p.plans[o.Gateway]
	if plan == nil {
		return false
	}
	if p.applied[o.Gateway] != plan {
		p.sweeping = true // A newer one came: this is looked at again when that has been applied.
		return false
	}
	return p.called(plan, o.Kind) != source.Name{Namespace: o.Namespace, Name: o.Name} || o.Kind == secret && plan.Counting.secret() == nil
}

// drain applies all that is pending, and has what fails tried again.
func (p *Provisioner) drain(ctx context.Context) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for plan := p.next(); plan != nil && ctx.Err() == nil; plan = p.next() {
				err := p.apply(ctx, plan)
				p.done(plan, err)
				if err != nil && ctx.Err() == nil {
					p.log.Warn("the proxies of a Gateway cannot be provisioned; it is tried again", "gateway", plan.Gateway.String(), "error", err)
					time.AfterFunc(again, func() { p.Again(plan.Gateway) })
				}
			}
		})
	}
	wg.Wait()
}

// done notes what has become of a Plan. What its Gateway had before goes when it is applied.
func (p *Provisioner) done(plan *Plan, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plans[plan.Gateway] != plan {
		return
	}
	if err != nil {
		p.failed[plan.Gateway] = true
		return
	}
	p.applied[plan.Gateway] = plan
	if p.failed[plan.Gateway] {
		delete(p.failed, plan.Gateway)
		p.sweeping = true // What it had before has waited for this.
	}
}

func (p *Provisioner) next() *Plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.pending {
		delete(p.pending, name)
		if plan := p.plans[name]; plan != nil {
			return plan
		}
	}
	return nil
}

func (p *Provisioner) apply(ctx context.Context, plan *Plan) error {
	if err := p.taken(plan); err != nil {
		return err
	}
	if plan.Counting != nil && plan.Counting.Missing != "" {
		return errors.New(plan.Counting.Missing)
	}
	objects, err := plan.Objects(p.options)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := p.cluster.Apply(ctx, o); err != nil {
			return err
		}
	}
	return nil
}
