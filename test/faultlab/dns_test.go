// SPDX-License-Identifier: Apache-2.0

package faultlab

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir.dev/weir/internal/reserve"
)

const labName = "hosts.lab.test."

// A nameServer answers as it is told.
type nameServer struct {
	addr   string
	answer atomic.Pointer[func(q *dns.Msg) []byte]
}

func newNameServer(t *testing.T, answer func(q *dns.Msg) []byte) *nameServer {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{addr: c.LocalAddr().String()}
	s.answer.Store(&answer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(b[:n]) != nil || len(q.Question) != 1 {
				continue
			}
			if r := (*s.answer.Load())(q); r != nil {
				_, _ = c.WriteTo(r, from) // A resolver that has gone asks again.
			}
		}
	}()
	t.Cleanup(func() {
		_ = c.Close() // It has served.
		<-done
	})
	return s
}

func (s *nameServer) tell(answer func(q *dns.Msg) []byte) { s.answer.Store(&answer) }

// addresses answers with addresses.
func addresses(ips ...string) func(*dns.Msg) []byte {
	return reply(func(r *dns.Msg) {
		for _, ip := range ips {
			r.Answer = append(r.Answer, record(labName, "A "+ip))
		}
	})
}

func record(name, data string) dns.RR {
	rr, err := dns.NewRR(name + " 0 IN " + data)
	if err != nil {
		panic(err)
	}
	return rr
}

// reply answers with what change makes of a reply without records.
func reply(change func(r *dns.Msg)) func(*dns.Msg) []byte {
	return func(q *dns.Msg) []byte {
		r := new(dns.Msg).SetReply(q)
		change(r)
		b, err := r.Pack()
		if err != nil {
			panic(err)
		}
		return b
	}
}

func code(rcode int) func(*dns.Msg) []byte {
	return reply(func(r *dns.Msg) { r.Rcode = rcode })
}

// TestNames: a name whose answers change is followed; one whose server fails or talks
// nonsense keeps its hosts; and neither costs a request.
func TestNames(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(reserve.TCP(t))
	at := func(ip string) string { return net.JoinHostPort(ip, port) }
	for _, ip := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		newHostAt(t, ip, at(ip))
	}
	s := newNameServer(t, addresses("127.0.0.2", "127.0.0.3"))
	named := fmt.Sprintf(`  - name: c
    type: STRICT_DNS
    dns_lookup_family: V4_ONLY
    dns_refresh_rate: 0.05s
    typed_dns_resolver_config:
      name: cares
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
        resolvers: [%s]
        dns_resolver_options: {no_default_search_domain: true}
        query_timeout_seconds: 1
        query_tries: 1
    load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: %s}}]}]}
`, address(s.addr), address(strings.TrimSuffix(labName, ".")+":"+port))
	w := start(t, setup{routes: "{match: {prefix: /retried}, route: {cluster: c" + retried + "}}, " + toC(""), clusters: named})
	l := w.startLoad(200, "/")
	serve := func(ips ...string) {
		t.Helper()
		w.waitStat("cluster.c.membership_total", len(ips))
		before := l.answers()
		l.more(60)
		got := l.answers()
		maps.DeleteFunc(got, func(k string, v int) bool { return v == before[k] })
		if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, ips) {
			t.Errorf("%v answer, want %v", have, ips)
		}
	}
	// lookups waits until a statistic of discovery has grown by a few.
	lookups := func(stat string) {
		t.Helper()
		before := w.stat("cluster.c." + stat)
		w.eventually(stat, func() (string, bool) { n := w.stat("cluster.c." + stat); return fmt.Sprint(n), n > before+2 })
	}

	serve("127.0.0.2", "127.0.0.3")
	s.tell(addresses("127.0.0.4")) // It changes wholly,
	serve("127.0.0.4")
	s.tell(addresses("127.0.0.4", "127.0.0.2")) // and in part.
	serve("127.0.0.2", "127.0.0.4")

	for _, c := range []struct {
		what   string
		answer func(*dns.Msg) []byte
	}{
		{"SERVFAIL", code(dns.RcodeServerFailure)},
		{"REFUSED", code(dns.RcodeRefused)},
		{"no such name", code(dns.RcodeNameError)},
		{"no addresses", code(dns.RcodeSuccess)},
		{"nothing", func(*dns.Msg) []byte { return nil }},
		{"nonsense", func(*dns.Msg) []byte { return []byte("nonsense") }},
		{"the answer to another question", reply(func(r *dns.Msg) {
			r.Question[0].Name = "other.test."
			r.Answer = []dns.RR{record("other.test.", "A 127.0.0.99")}
		})},
		{"another's address", reply(func(r *dns.Msg) { r.Answer = []dns.RR{record("other.test.", "A 127.0.0.99")} })},
		{"a name that is its own alias", reply(func(r *dns.Msg) { r.Answer = []dns.RR{record(labName, "CNAME "+labName)} })},
		{"an answer with another's id", func(q *dns.Msg) []byte {
			q = q.Copy()
			q.Id++
			return addresses("127.0.0.99")(q)
		}},
	} {
		s.tell(c.answer)
		lookups("update_failure")
		if n := w.stat("cluster.c.membership_total"); n != 2 {
			t.Errorf("%s: %d hosts are left of 2", c.what, n)
		}
	}
	serve("127.0.0.2", "127.0.0.4")
	s.tell(addresses("127.0.0.3")) // It is well again.
	serve("127.0.0.3")
	l.noneBad()

	// A lie that cannot be told from the truth: nobody listens there. Retries get over it.
	s.tell(addresses("127.0.0.3", "127.0.0.99", "127.0.0.2"))
	w.waitStat("cluster.c.membership_total", 3)
	l = w.startLoad(200, "/retried")
	<-time.After(time.Second)
	l.noneBad()
	if n := w.stat("cluster.c.upstream_cx_connect_fail"); n == 0 || n > 20 {
		t.Errorf("%d connections were tried to where nobody is, want a few", n)
	}
}
