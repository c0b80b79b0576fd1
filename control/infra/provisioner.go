// SPDX-License-Identifier: Apache-2.0

package infra

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"weir.dev/weir/control/source"
)

// Cluster is where objects are applied.
type Cluster interface {
	// Apply makes an object be as its Body says, and leaves to others what that does not
	// speak of; without a Body it removes the object, if that is there.
	Apply(ctx context.Context, o Object) error
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
	pending map[source.Name]bool
	wake    chan struct{}
}

// NewProvisioner returns a Provisioner.
func NewProvisioner(c Cluster, o Options, log *slog.Logger) *Provisioner {
	return &Provisioner{cluster: c, options: o, log: log, plans: map[source.Name]*Plan{}, pending: map[source.Name]bool{}, wake: make(chan struct{}, 1)}
}

// Provision takes Plans, and forgets the Gateways that are gone: Kubernetes removes what
// they own.
func (p *Provisioner) Provision(plans []*Plan, gone []source.Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range gone {
		delete(p.plans, name)
		delete(p.pending, name)
	}
	for _, plan := range plans {
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
}

// drain applies all that is pending, and has what fails tried again.
func (p *Provisioner) drain(ctx context.Context) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for plan := p.next(); plan != nil && ctx.Err() == nil; plan = p.next() {
				if err := p.apply(ctx, plan); err != nil && ctx.Err() == nil {
					p.log.Warn("the proxies of a Gateway cannot be provisioned; it is tried again", "gateway", plan.Gateway.String(), "error", err)
					time.AfterFunc(again, func() { p.Again(plan.Gateway) })
				}
			}
		})
	}
	wg.Wait()
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
	for _, o := range plan.Objects(p.options) {
		if err := p.cluster.Apply(ctx, o); err != nil {
			return err
		}
	}
	return nil
}
