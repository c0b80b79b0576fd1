// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// fleet is a cluster of hosts that come and go.
type fleet struct {
	t     *testing.T
	addrs []string
	hosts []*host
	more  string // of the cluster
	route string
	proxy *proxytest.Proxy
}

// host is a backend that can be stopped and started again at its address.
type host struct {
	t     *testing.T
	addr  string
	ln    net.Listener
	conns sync.Map
	done  sync.WaitGroup
}

func (h *host) start() {
	at := h.addr
	if at == "" {
		at = "127.0.0.1:0"
	}
	var ln net.Listener
	proxytest.Eventually(h.t, "an address", func() (error, bool) {
		var err error
		ln, err = net.Listen("tcp", at)
		return err, err == nil
	})
	h.addr, h.ln = ln.Addr().String(), ln
	h.done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			h.conns.Store(c, true)
			h.done.Go(func() { h.serve(c) })
		}
	})
}

func (h *host) serve(c net.Conn) {
	defer func() {
		h.conns.Delete(c)
		_ = c.Close()
	}()
	b := make([]byte, 4096)
	for {
		// A request has no body and comes whole.
		if n, err := c.Read(b); err != nil || !strings.HasSuffix(string(b[:n]), "\r\n\r\n") {
			return
		}
		if _, err := c.Write([]byte(proxytest.OK("v"))); err != nil {
			return
		}
	}
}

// open is how many connections the host has accepted that are open.
func (h *host) open() (n int) {
	h.conns.Range(func(any, any) bool { n++; return true })
	return n
}

// stop ends the host at once, whatever it was doing.
func (h *host) stop() {
	_ = h.ln.Close()
	h.conns.Range(func(c, _ any) bool {
		_ = c.(net.Conn).Close()
		return true
	})
	h.done.Wait()
}

func newFleet(t *testing.T, n int, route, more string) *fleet {
	f := &fleet{t: t, route: route, more: more}
	for range n {
		h := &host{t: t}
		h.start()
		t.Cleanup(h.stop)
		f.hosts, f.addrs = append(f.hosts, h), append(f.addrs, h.addr)
	}
	f.proxy = proxytest.Start(t, f.yaml(f.addrs, 0), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}, Concurrency: 2})
	return f
}

func (f *fleet) yaml(addrs []string, version int) string {
	var lb strings.Builder
	for i, a := range addrs {
		fmt.Fprintf(&lb, "{load_balancing_weight: %d, endpoint: {address: %s}}, ", 1+(version+i)%3, proxytest.Address(a))
	}
	return proxytest.Edge{
		Routes:   "- {match: {prefix: /}, route: {cluster: fleet" + f.route + "}}",
		Clusters: "- name: fleet\n" + f.more + "  load_assignment: {cluster_name: fleet, endpoints: [{lb_endpoints: [" + lb.String() + "]}]}",
	}.YAML()
}

func (f *fleet) apply(addrs []string, version int) {
	f.t.Helper()
	s := snapshot(f.t, f.yaml(addrs, version), fmt.Sprint(version), map[string]string{"up": "127.0.0.1:1"})
	if problems := f.proxy.Apply(s); len(problems) > 0 {
		f.t.Fatal(problems)
	}
}

// load sends requests until end is called, which returns how many there were and one
// that failed.
func (f *fleet) load() (served func() int64, end func()) {
	stop := make(chan struct{})
	var n atomic.Int64
	var bad atomic.Pointer[proxytest.Response]
	var wg sync.WaitGroup
	for range 4 {
		c := f.proxy.Dial()
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r := c.Do(plain); r.StatusCode != 200 || r.Content != "v" {
					bad.Store(r)
				}
				n.Add(1)
			}
		})
	}
	return n.Load, func() {
		f.t.Helper()
		close(stop)
		wg.Wait()
		if r := bad.Load(); r != nil {
			f.t.Errorf("of %d requests one was answered %v", n.Load(), r)
		}
		for _, g := range []string{"upstream_rq_active", "upstream_rq_pending_active"} {
			f.proxy.WaitGauge("cluster.fleet."+g, 0)
		}
	}
}

// TestHostsComeAndGo: a hundred changes of hosts, weights, policy and protocol options
// while requests run cost none of them.
func TestHostsComeAndGo(t *testing.T) {
	f := newFleet(t, 5, "", "")
	served, end := f.load()
	r := rand.New(rand.NewPCG(1, 2))
	policies := []string{"", "  lb_policy: LEAST_REQUEST\n", "  lb_policy: RANDOM\n  http_protocol_options: {enable_trailers: true}\n", "  lb_policy: MAGLEV\n  max_requests_per_connection: 3\n"}
	for i := range 100 {
		list := append([]string(nil), f.addrs...)
		r.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
		f.more = policies[i/5%len(policies)]
		before := served()
		f.apply(list[:1+r.IntN(len(list))], i)
		proxytest.Eventually(t, "requests", func() (int64, bool) { n := served(); return n, n > before })
	}
	f.more = ""
	f.apply(f.addrs, 0)
	end()
}

// TestRollingRestart: every host is restarted while requests run: taken out of the
// cluster before, or, with a retry policy, killed in the midst of its work.
func TestRollingRestart(t *testing.T) {
	t.Run("taken out", func(t *testing.T) {
		f := newFleet(t, 4, "", "")
		served, end := f.load()
		for i, h := range f.hosts {
			rest := append(append([]string(nil), f.addrs[:i]...), f.addrs[i+1:]...)
			f.apply(rest, 0)
			// Requests under way finish, and then nothing leads to the host any more: it has
			// no connection, nor one that waits to be accepted, for the others have all that
			// the proxy knows of.
			proxytest.Eventually(t, "connections to go", func() (string, bool) {
				own, all := h.open(), int64(0)
				for _, o := range f.hosts {
					all += int64(o.open())
				}
				active := f.proxy.Gauge("cluster.fleet.upstream_cx_active")
				return fmt.Sprintf("%d of %d; the proxy has %d", own, all, active), own == 0 && all == active
			})
			h.stop()
			before := served()
			proxytest.Eventually(t, "requests", func() (int64, bool) { n := served(); return n, n > before+4 })
			h.start()
			f.apply(f.addrs, 0)
		}
		end()
	})
	t.Run("killed", func(t *testing.T) {
		f := newFleet(t, 4, ", retry_policy: {retry_on: 'connect-failure,reset', num_retries: 5, retry_back_off: {base_interval: 0.001s}, host_selection_retry_max_attempts: 8, "+
			"retry_host_predicate: [{name: p, typed_config: {'@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]}",
			"  circuit_breakers: {thresholds: [{max_retries: 100}]}\n")
		served, end := f.load()
		for range 3 {
			for _, h := range f.hosts {
				h.stop()
				before := served()
				proxytest.Eventually(t, "requests", func() (int64, bool) { n := served(); return n, n > before+8 })
				h.start()
			}
		}
		end()
	})
}
