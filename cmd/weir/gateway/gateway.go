// SPDX-License-Identifier: Apache-2.0

// Package gateway runs a control plane: objects from files or a cluster, translated, and
// served by a proxy of this process that is joined in memory, or by proxies elsewhere.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"

	"weir.dev/weir/control"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/discovery"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/leader"
	"weir.dev/weir/control/local"
	"weir.dev/weir/control/offline"
	"weir.dev/weir/control/peers"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/source/file"
	"weir.dev/weir/control/source/kube"
	"weir.dev/weir/control/status"
	"weir.dev/weir/xds"
)

// A Proxy is what serves.
type Proxy interface {
	Apply(*xds.Snapshot) []xds.Problem
	Run(ctx context.Context) error
}

// A Fleet serves proxies of other processes.
type Fleet struct {
	control.Runner
	// Queue is where the Runner puts changes.
	Queue *source.Queue
	// Serve answers proxies until ctx ends.
	Serve func(ctx context.Context) error
	// Provisioner runs proxies; nil leaves that to others.
	Provisioner *infra.Provisioner
	// Elector says whether this replica writes to the cluster; nil is always.
	Elector *leader.Elector
	// Member has this replica and others tell each other of their proxies; nil is that there
	// are no others.
	Member *peers.Member
}

// A Gateway is a control plane and its proxies.
type Gateway struct {
	serve      func(ctx context.Context) error
	watch      func(ctx context.Context) error // reads changes until ctx ends
	write      func(ctx context.Context)       // writes to the cluster until ctx ends; nil without one
	controller *control.Controller
	discoverer *discovery.Discoverer
	log        *slog.Logger
	wg         sync.WaitGroup
}

// Options of a Gateway.
type Options struct {
	Control control.Options
	// Files and folders that hold the objects.
	Paths []string
	// Skip says which files are not objects; nil is none.
	Skip func(path string, data []byte) bool
	// Proxy of this process; nil if there is a Fleet instead.
	Proxy Proxy
	Fleet *Fleet
	Log   *slog.Logger
	// Changed, if not nil, is given the objects whenever some have changed.
	Changed func(*source.View)
	// Limit, if not nil, is given the limits that objects ask for.
	Limit func([]*rlsconfv3.RateLimitConfig)
	// Pool has the addresses that Gateways get; the zero Prefix is none.
	Pool netip.Prefix
	// Place is where the Proxy is.
	Place build.Place
}

// reached is where the Gateways of this machine are reached.
const reached = "127.0.0.1"

// Start reads the objects and has proxies serve them. The error is that nothing
// can be served, with all problems, one a line; what is wrong with a part is logged.
func Start(o Options) (*Gateway, error) {
	r, err := file.New()
	if err != nil {
		return nil, err
	}
	g := assemble(o)
	t := g.controller.Translator
	g.controller.Writer = &teller{log: o.Log, view: t.View, told: map[source.Key]string{}}
	files := file.NewSource(r, o.Skip, o.Paths...)
	g.watch = func(ctx context.Context) error {
		files.Watch(ctx, g.controller.Queue, func(err error) { g.log.Error(err.Error()) })
		return nil
	}
	changes, problems, err := files.Poll()
	if err != nil {
		return nil, err
	}
	// What the proxy of a file would refuse at its start is refused here, too.
	if err := xds.Err(problems); err != nil {
		return nil, err
	}
	g.controller.Step(changes)
	if len(t.Gateways()) == 0 {
		return nil, fmt.Errorf("there is no Gateway to serve: give a GatewayClass with controllerName %s and a Gateway of it, a Listener of Emissary-ingress, a Gateway of Istio, or an Ingress of class weir or istio", o.Control.ControllerName())
	}
	return g, nil
}

// StartCluster has proxies serve what a cluster says, once Run has read it.
func StartCluster(c *kube.Cluster, o Options) *Gateway {
	g := assemble(o)
	c.Beside(o.Control.Objects())
	s := kube.NewSource(c, g.controller.Queue, o.Log)
	writer := kube.NewStatusWriter(s, o.Control.ControllerName(), o.Log)
	g.controller.Writer = writer
	g.watch, g.write = s.Run, writer.Run
	if o.Fleet != nil {
		g.write = o.Fleet.writes(g.controller, writer)
	}
	return g
}

// writes returns what writes to the cluster: while this replica leads, the Provisioner and
// the statuses.
func (f *Fleet) writes(c *control.Controller, statuses *kube.StatusWriter) func(ctx context.Context) {
	lead := statuses.Run
	if f.Provisioner != nil {
		c.Provision = f.Provisioner.Provision
		lead = func(ctx context.Context) {
			var wg sync.WaitGroup
			wg.Go(func() { f.Provisioner.Run(ctx) })
			statuses.Run(ctx)
			wg.Wait()
		}
	}
	if f.Elector == nil {
		return lead
	}
	return func(ctx context.Context) {
		var wg sync.WaitGroup
		if f.Member != nil {
			wg.Go(func() { f.Member.Run(ctx) })
		}
		f.Elector.Run(ctx, lead)
		wg.Wait()
	}
}

func assemble(o Options) *Gateway {
	g := &Gateway{log: o.Log, controller: &control.Controller{
		Queue: &source.Queue{}, Translator: control.NewTranslator(o.Control), Limit: o.Limit, Log: o.Log,
	}}
	if o.Fleet != nil {
		g.controller.Queue = o.Fleet.Queue
	}
	g.controller.Translator.Apply([]source.Change{source.Tick(time.Now())})
	g.discoverer = discovery.New(discovery.Options{Queue: g.controller.Queue, Log: o.Log})
	g.controller.Changed = func(v *source.View) {
		g.discoverer.Changed(v)
		if o.Changed != nil {
			o.Changed(v)
		}
	}
	if o.Fleet != nil {
		g.serve, g.controller.Runner = o.Fleet.Serve, o.Fleet.Runner
		return g
	}
	g.serve = o.Proxy.Run
	g.controller.Runner = local.New(local.Options{Apply: o.Proxy.Apply, Reached: reached, Unprivileged: os.Geteuid() != 0, Pool: o.Pool, Place: o.Place})
	return g
}

// Run serves until ctx ends, a proxy of this process decides to stop, or the objects can not be
// read at all; and keeps up with changes until the proxy has drained.
func (g *Gateway) Run(ctx context.Context) error {
	serving, end := context.WithCancel(ctx)
	defer end()
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	var refused error
	g.wg.Go(func() {
		if err := g.watch(watching); err != nil && watching.Err() == nil {
			refused = err
			end()
		}
	})
	g.wg.Go(func() {
		// It ends with the context, and has no other way to.
		_ = g.controller.Run(watching)
	})
	g.wg.Go(func() { g.discoverer.Run(watching) })
	g.wg.Go(func() { g.keepTime(watching) })
	if g.write != nil {
		g.wg.Go(func() { g.write(watching) })
	}
	err := g.serve(serving)
	stop()
	g.wg.Wait()
	return errors.Join(refused, err)
}

// tick is how often objects are told the time: that late is it known that a certificate has expired.
const tick = 10 * time.Minute

// keepTime tells objects the time until ctx ends.
func (g *Gateway) keepTime(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			g.controller.Queue.Put(source.Tick(now))
		case <-ctx.Done():
			return
		}
	}
}

// teller logs what statuses tell of, each problem once.
type teller struct {
	log  *slog.Logger
	view func() *source.View
	told map[source.Key]string
}

// Write logs problems.
func (t *teller) Write(updates []*status.Update) {
	for _, u := range updates {
		problems := offline.Problems(t.view(), u)
		text := fmt.Sprint(problems)
		if t.told[u.Key] == text {
			continue
		}
		if t.told[u.Key] != "" && len(problems) == 0 {
			t.log.Info("all is well again", "object", u.Key.String())
		}
		t.told[u.Key] = text
		if len(problems) == 0 {
			delete(t.told, u.Key)
		}
		for _, p := range problems {
			t.log.Warn(p.Error())
		}
	}
}
