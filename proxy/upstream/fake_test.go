// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"errors"
	"net/netip"
	"sync"
	"testing"

	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	robinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/xds/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// turns is a fake policy that takes hosts in turn.
type turns struct{}

func (turns) BuildList(hosts []*upstream.Host) upstream.Table { return turnsTable(hosts) }

type turnsTable []*upstream.Host

func (t turnsTable) Balancer(*upstream.Env) upstream.Balancer { return &turnsBalancer{hosts: t} }

type turnsBalancer struct {
	hosts []*upstream.Host
	next  int
}

func (b *turnsBalancer) Pick(*upstream.PickContext) *upstream.Host {
	b.next++
	return b.hosts[b.next%len(b.hosts)]
}

func fakePolicy(name string, m proto.Message) upstream.PolicyFactory {
	text := "message " + string(m.ProtoReflect().Descriptor().FullName()) + "\n"
	for i := range m.ProtoReflect().Descriptor().Fields().Len() {
		text += string(m.ProtoReflect().Descriptor().Fields().Get(i).Name()) + " yes\n"
	}
	return upstream.PolicyFactory{Name: name, Config: m, Fields: ledger.MustParse(text), New: func(proto.Message) (upstream.Policy, error) {
		return upstream.Layered(turns{}, upstream.LayerOptions{}), nil
	}}
}

// fakeDiscovery tells what the test tells it. Without a hand it tells the targets.
type fakeDiscovery struct {
	targets []upstream.Target
	hand    *hand
}

// hand is the test's end of the discoveries of one context, the newest first.
type hand struct {
	mu      sync.Mutex
	updates []func([]upstream.Endpoint, error)
	closed  int
	refuse  bool
}

func (h *hand) tell(i int, endpoints ...upstream.Endpoint) {
	h.mu.Lock()
	update := h.updates[i]
	h.mu.Unlock()
	update(endpoints, nil)
}

func (d *fakeDiscovery) Start(update func([]upstream.Endpoint, error)) error {
	if d.hand == nil {
		var endpoints []upstream.Endpoint
		for _, t := range d.targets {
			endpoints = append(endpoints, t.Endpoint)
		}
		update(endpoints, nil)
		return nil
	}
	d.hand.mu.Lock()
	defer d.hand.mu.Unlock()
	if d.hand.refuse {
		return errors.New("no luck")
	}
	d.hand.updates = append(d.hand.updates, update)
	return nil
}

func (d *fakeDiscovery) Close() {
	if d.hand != nil {
		d.hand.mu.Lock()
		defer d.hand.mu.Unlock()
		d.hand.closed++
	}
}

// testContext has the policies and discoveries of a full proxy, all fake.
func testContext() *upstream.Context { return contextOf(nil) }

// contextOf has STRICT_DNS in the test's hand.
func contextOf(h *hand) *upstream.Context {
	discovery := func(name string, h *hand) upstream.DiscoveryFactory {
		return upstream.DiscoveryFactory{Name: name, New: func(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
			return func() (upstream.Discovery, error) { return &fakeDiscovery{in.Targets, h}, nil }, nil
		}}
	}
	return &upstream.Context{
		Policies: []upstream.PolicyFactory{
			fakePolicy("round_robin", &robinv3.RoundRobin{}), fakePolicy("least_request", &leastv3.LeastRequest{}),
			fakePolicy("random", &randomv3.Random{}),
		},
		Discoveries: []upstream.DiscoveryFactory{
			discovery("STATIC", nil), discovery("STRICT_DNS", h), discovery("LOGICAL_DNS", nil),
		},
	}
}

// fakeLoop runs what is posted when the test says so.
type fakeLoop struct {
	id int
	mu sync.Mutex
	q  []func()
}

func (l *fakeLoop) ID() int { return l.id }

func (l *fakeLoop) Post(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.q = append(l.q, f)
}

func (l *fakeLoop) run() {
	l.mu.Lock()
	q := l.q
	l.q = nil
	l.mu.Unlock()
	for _, f := range q {
		f()
	}
}

// fakePool notes what happens to it.
type fakePool struct{ drained, closed int }

func (p *fakePool) Drain() { p.drained++ }
func (p *fakePool) Close() { p.closed++ }

// rig is a manager on fake loops.
type rig struct {
	*upstream.Manager
	loops []*fakeLoop
	store *stats.Store
}

func newRig(t *testing.T, loops int) *rig {
	t.Helper()
	return rigWith(t, loops, nil)
}

func rigWith(t *testing.T, loops int, runtime breaker.Runtime) *rig {
	t.Helper()
	r := &rig{store: stats.NewStore()}
	o := upstream.Options{Stats: r.store.Scope(""), Seed: func() uint64 { return 1 }, Runtime: runtime}
	for i := range loops {
		l := &fakeLoop{id: i}
		r.loops = append(r.loops, l)
		o.Loops = append(o.Loops, l)
	}
	r.Manager = upstream.NewManager(o)
	t.Cleanup(r.Manager.Close)
	return r
}

func (r *rig) run() {
	for _, l := range r.loops {
		l.run()
	}
}

// at is an endpoint 10.0.0.n:80.
func at(n byte) upstream.Endpoint {
	return upstream.Endpoint{Weight: 1, Address: address.IP(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80))}
}
