// SPDX-License-Identifier: Apache-2.0

package strictdns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	robinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	miekg "github.com/miekg/dns"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
	"weir.dev/weir/xds/ledger"
)

// first is a policy that takes the first host.
type first struct{}

func (first) BuildList(hosts []*upstream.Host) upstream.Table { return firstOf(hosts) }

type firstOf []*upstream.Host

func (f firstOf) Balancer(*upstream.Env) upstream.Balancer  { return f }
func (f firstOf) Pick(*upstream.PickContext) *upstream.Host { return f[0] }

// loop tells when something is posted, which it does not run.
type loop struct{ posted chan struct{} }

func (loop) ID() int { return 0 }

func (l loop) Post(f func()) {
	select {
	case l.posted <- struct{}{}:
	default:
	}
}

// nameServer answers every A question as the test says: with addresses, or with a code.
func nameServer(t *testing.T, answer *atomic.Pointer[[]string], asked chan<- struct{}) netip.AddrPort {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, done := make(chan struct{}), make(chan struct{})
	srv := &miekg.Server{PacketConn: p, NotifyStartedFunc: func() { close(started) }}
	srv.Handler = miekg.HandlerFunc(func(w miekg.ResponseWriter, r *miekg.Msg) {
		m := new(miekg.Msg)
		m.SetReply(r)
		for _, a := range *answer.Load() {
			if code, ok := miekg.StringToRcode[a]; ok {
				m.Rcode = code
				continue
			}
			rr, err := miekg.NewRR(fmt.Sprintf("%s 0 IN A %s", r.Question[0].Name, a))
			if err != nil {
				t.Error(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
		select {
		case asked <- struct{}{}:
		default:
		}
	})
	go func() {
		defer close(done)
		_ = srv.ActivateAndServe()
	}()
	<-started
	t.Cleanup(func() {
		_ = srv.Shutdown()
		<-done
	})
	return netip.MustParseAddrPort(p.LocalAddr().String())
}

// From the configuration to picks, with a name server that changes its mind.
func TestClusterFollowsItsName(t *testing.T) {
	var answer atomic.Pointer[[]string]
	say := func(list ...string) { answer.Store(&list) }
	say("10.0.0.1", "10.0.0.2")
	asked := make(chan struct{})
	server := nameServer(t, &answer, asked)
	c := &clusterv3.Cluster{}
	if err := protojson.Unmarshal([]byte(fmt.Sprintf(`{"name":"shop","type":"STRICT_DNS","dns_lookup_family":"V4_ONLY","dns_refresh_rate":"0.002s",
		"dns_resolvers":[{"socket_address":{"address":"127.0.0.1","port_value":%d}}],
		"load_assignment":{"cluster_name":"shop","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"shop.test.","port_value":80}}}}]}]}}`,
		server.Port())), c); err != nil {
		t.Fatal(err)
	}
	cfg, problems := upstream.Compile(c, &upstream.Context{
		Discoveries: []upstream.DiscoveryFactory{Factory(dns.NewSource("/nonexistent", "/nonexistent"))},
		Policies: []upstream.PolicyFactory{{
			Name: "first", Config: &robinv3.RoundRobin{}, Fields: ledger.MustParse("message envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"),
			New: func(proto.Message) (upstream.Policy, error) {
				return upstream.Layered(first{}, upstream.LayerOptions{}), nil
			},
		}},
	})
	if cfg == nil {
		t.Fatal(problems)
	}
	l := loop{make(chan struct{}, 1)}
	m := upstream.NewManager(upstream.Options{Loops: []upstream.Loop{l}, Stats: stats.NewStore().Scope("")})
	defer m.Close()
	done, err := m.Update(cfg)
	if err != nil {
		t.Fatal(err)
	}
	<-done
	cluster := m.Get("shop")
	cluster.Worker(0) // Only a loop that uses the cluster is told of its hosts.
	hosts := func() (out []string) {
		for _, h := range cluster.Set().Hosts {
			out = append(out, h.Address.String())
		}
		slices.Sort(out)
		return out
	}
	until := func(want ...string) {
		t.Helper()
		for !slices.Equal(hosts(), want) {
			select {
			case <-l.posted:
			case <-t.Context().Done():
				t.Fatalf("hosts are %v, want %v", hosts(), want)
			}
		}
	}
	until("10.0.0.1:80", "10.0.0.2:80")
	stays := cluster.Set().Hosts[1]
	for _, trouble := range [][]string{{"NXDOMAIN"}, {"SERVFAIL"}, {}} {
		say(trouble...)
		for range 9 {
			<-asked // SERVFAIL is asked for four times in one lookup
		}
		if got := hosts(); len(got) != 2 {
			t.Errorf("under %v the hosts are %v", trouble, got)
		}
	}
	say("10.0.0.2", "10.0.0.3")
	until("10.0.0.2:80", "10.0.0.3:80")
	if h, f := cluster.Worker(0).Pick(&upstream.PickContext{}); h == nil || !h.Same(stays) {
		t.Errorf("picked %v, %v", h, f)
	}
}
