// SPDX-License-Identifier: Apache-2.0

package udpproxy_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	ringhashv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds/ledger"
)

// byHash is a fake policy that takes the host that the hash names, or the first
// without one.
type byHash struct{}

func (byHash) BuildList(hosts []*upstream.Host) upstream.Table { return byHashTable(hosts) }

type byHashTable []*upstream.Host

func (t byHashTable) Balancer(*upstream.Env) upstream.Balancer { return t }

func (t byHashTable) Pick(c *upstream.PickContext) *upstream.Host {
	if !c.HasHash {
		return t[0]
	}
	return t[c.Hash%uint64(len(t))]
}

// hand is a test's discovery: what it tells changes the hosts of the cluster.
type hand struct {
	mu        sync.Mutex
	endpoints []upstream.Endpoint
	update    func([]upstream.Endpoint, error)
}

func (h *hand) Start(update func([]upstream.Endpoint, error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.update = update
	update(slices.Clone(h.endpoints), nil)
	return nil
}

func (*hand) Close() {}

// tell changes the endpoints and lets the cluster know.
func (h *hand) tell(change func([]upstream.Endpoint) []upstream.Endpoint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endpoints = change(h.endpoints)
	h.update(slices.Clone(h.endpoints), nil)
}

// startWith runs a proxy whose static clusters are in the test's hand and whose ring
// hash is byHash.
func startWith(t *testing.T, e proxytest.UDPEdge, backends map[string]string, loops int) (*proxytest.Proxy, *hand) {
	t.Helper()
	h := &hand{}
	x := all.Extensions()
	x.Discoveries = []upstream.DiscoveryFactory{{Name: "STATIC", New: func(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
		for i := range in.Targets {
			h.endpoints = append(h.endpoints, in.Targets[i].Endpoint)
		}
		return func() (upstream.Discovery, error) { return h, nil }, nil
	}}}
	m := &ringhashv3.RingHash{}
	text := "message " + string(m.ProtoReflect().Descriptor().FullName()) + "\n"
	for i := range m.ProtoReflect().Descriptor().Fields().Len() {
		text += string(m.ProtoReflect().Descriptor().Fields().Get(i).Name()) + " yes\n"
	}
	x.Policies = append([]upstream.PolicyFactory{{
		Name: "ring_hash", Config: m, Fields: ledger.MustParse(text),
		New: func(proto.Message) (upstream.Policy, error) {
			return upstream.Layered(byHash{}, upstream.LayerOptions{}), nil
		},
	}}, x.Policies...)
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: x, Backends: backends, Concurrency: loops}), h
}

const ringHash = `load_balancing_policy:
  policies:
  - typed_extension_config:
      name: ring_hash
      typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash}`

// TestHashSticks: all sessions of one address go to one host, whatever the loop and
// the port.
func TestHashSticks(t *testing.T) {
	backends := map[string]string{}
	var names []string
	for _, n := range []string{"a", "b", "c"} {
		backends[n] = proxytest.NewUDPUpstream(t, proxytest.Named(n)).Addr()
		names = append(names, n)
	}
	p, _ := startWith(t, proxytest.UDPEdge{
		Endpoints: hosts(names...), Cluster: ringHash, Proxy: "hash_policies: [{source_ip: true}]",
	}, backends, 2)
	seen := map[string]bool{}
	for i := range 20 {
		ip := fmt.Sprintf("127.0.3.%d", i+1)
		want := names[match.XXH64(ip, 0)%3] + " x"
		for range 4 {
			proxytest.DialUDP(t, ip, p.Addr()).Exchange("x", want)
		}
		seen[want] = true
	}
	if len(seen) != 3 {
		t.Errorf("20 addresses went to %v only", seen)
	}

	p, _ = startWith(t, proxytest.UDPEdge{
		Endpoints: hosts(names...), Cluster: ringHash, Proxy: "hash_policies: [{key: everybody}]",
	}, backends, 1)
	want := names[match.XXH64("everybody", 0)%3] + " x"
	for i := range 5 {
		proxytest.DialUDP(t, fmt.Sprintf("127.0.3.%d", i+1), p.Addr()).Exchange("x", want)
	}
}

// TestHealthMoves: the next datagram of a client whose host became unhealthy goes to
// another; where there is no better, the session stays.
func TestHealthMoves(t *testing.T) {
	a, b := proxytest.NewUDPUpstream(t, proxytest.Named("a")), proxytest.NewUDPUpstream(t, proxytest.Named("b"))
	p, h := startWith(t, proxytest.UDPEdge{Endpoints: hosts("a", "b"), Cluster: "common_lb_config: {healthy_panic_threshold: {value: 0}}"},
		map[string]string{"a": a.Addr(), "b": b.Addr()}, 1)
	c := p.DialUDP()
	c.Send("x")
	other := map[string]string{"a x": "b x", "b x": "a x"}
	first := c.Receive()
	sick := func(addr string) {
		h.tell(func(es []upstream.Endpoint) []upstream.Endpoint {
			es = slices.Clone(es)
			for i := range es {
				if es[i].Address.String() == addr {
					es[i].Status = upstream.StatusUnhealthy
				}
			}
			return es
		})
	}
	addr := map[string]string{"a x": a.Addr(), "b x": b.Addr()}
	sick(addr[first])
	c.Exchange("x", other[first])
	if n := p.Gauge("udp.test.downstream_sess_active"); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
	sick(addr[other[first]]) // Now there is none.
	c.Exchange("x", other[first])
	if n := p.Counter("udp.test.downstream_sess_total"); n != 2 {
		t.Errorf("%d sessions in all, want 2", n)
	}
}

// TestHostLeaves: the sessions of a host that left the cluster end, and no others.
func TestHostLeaves(t *testing.T) {
	a, b := proxytest.NewUDPUpstream(t, proxytest.Named("a")), proxytest.NewUDPUpstream(t, proxytest.Named("b"))
	p, h := startWith(t, proxytest.UDPEdge{Endpoints: hosts("a", "b")}, map[string]string{"a": a.Addr(), "b": b.Addr()}, 1)
	var clients []*proxytest.UDPClient
	for range 4 {
		c := p.DialUDP()
		c.Send("x")
		c.Receive()
		clients = append(clients, c)
	}
	h.tell(func(es []upstream.Endpoint) []upstream.Endpoint {
		return slices.DeleteFunc(slices.Clone(es), func(e upstream.Endpoint) bool { return e.Address.String() == a.Addr() })
	})
	p.WaitGauge("udp.test.downstream_sess_active", 2)
	a.Push("late") // The last that it heard of still gets its answer.
	late := 0
	for _, c := range clients {
		c.Send("x")
		got := c.Receive()
		if got == "late" {
			late++
			got = c.Receive()
		}
		if got != "b x" {
			t.Errorf("got %q", got)
		}
	}
	if late != 1 {
		t.Errorf("%d clients had the late answer, want 1", late)
	}
}
