// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a name server on 127.0.0.1, UDP and TCP, that answers as the test says.
type server struct {
	addr netip.AddrPort
	mu   sync.Mutex
	seen []string // network, type and name of each question
}

func newServer(t *testing.T, answer func(network string, q dns.Question, m *dns.Msg)) *server {
	t.Helper()
	s := &server{}
	l, p := bothPorts(t)
	s.addr = netip.MustParseAddrPort(l.Addr().String())
	handle := func(network string) dns.HandlerFunc {
		return func(w dns.ResponseWriter, r *dns.Msg) {
			s.mu.Lock()
			s.seen = append(s.seen, fmt.Sprintf("%s %s %s", network, dns.TypeToString[r.Question[0].Qtype], r.Question[0].Name))
			s.mu.Unlock()
			m := new(dns.Msg)
			m.SetReply(r)
			answer(network, r.Question[0], m)
			if m.MsgHdr.Opcode == silent {
				return
			}
			if network == "udp" {
				size := dns.MinMsgSize
				if o := r.IsEdns0(); o != nil {
					size = int(o.UDPSize())
				}
				m.Truncate(size)
			}
			_ = w.WriteMsg(m)
		}
	}
	for _, srv := range []*dns.Server{{PacketConn: p, Handler: handle("udp")}, {Listener: l, Handler: handle("tcp")}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = srv.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			_ = srv.Shutdown()
			<-done
		})
	}
	return s
}

// bothPorts listens on one port by TCP and UDP; a port that is free for one may be taken
// for the other.
func bothPorts(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return l, p
		}
		l.Close()
	}
	t.Fatal("no port is free for both TCP and UDP")
	return nil, nil
}

// silent as the opcode of an answer keeps it from being sent.
const silent = 15

func (s *server) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// config asks the server, and gives it as much time as a busy machine may take.
func (s *server) config() upstream.DNSConfig {
	return upstream.DNSConfig{Resolver: upstream.ResolverConfig{
		Custom: true, Servers: []netip.AddrPort{s.addr}, Timeout: 20 * time.Second, Tries: 2,
	}}
}

// impatient is config for who is not answered.
func (s *server) impatient() upstream.DNSConfig {
	c := s.config()
	c.Resolver.Timeout = 100 * time.Millisecond
	return c
}

func record(t testing.TB, text string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestFamilies(t *testing.T) {
	s := newServer(t, func(_ string, q dns.Question, m *dns.Msg) {
		has := strings.SplitN(q.Name, ".", 2)[0]
		switch {
		case q.Qtype == dns.TypeA && strings.Contains(has, "4"):
			m.Answer = append(m.Answer, record(t, q.Name+" 60 IN A 10.0.0.4"))
		case q.Qtype == dns.TypeAAAA && strings.Contains(has, "6"):
			m.Answer = append(m.Answer, record(t, q.Name+" 30 IN AAAA fd00::6"))
		case strings.Contains(has, "x"):
			m.Rcode = dns.RcodeNameError
		}
	})
	r := NewSource("/nonexistent", "/nonexistent").Resolver(s.config())
	const v4, v6 = "10.0.0.4", "fd00::6"
	tests := []struct {
		name   string
		family upstream.DNSFamily
		want   []netip.Addr
		err    error
	}{
		{"v46.test", upstream.FamilyAuto, addrs(v6), nil},
		{"v4.test", upstream.FamilyAuto, addrs(v4), nil},
		{"v46.test", upstream.FamilyV4Only, addrs(v4), nil},
		{"v6.test", upstream.FamilyV4Only, nil, ErrEmpty},
		{"v46.test", upstream.FamilyV6Only, addrs(v6), nil},
		{"v4.test", upstream.FamilyV6Only, nil, ErrEmpty},
		{"v46.test", upstream.FamilyV4Preferred, addrs(v4), nil},
		{"v6.test", upstream.FamilyV4Preferred, addrs(v6), nil},
		{"v46.test", upstream.FamilyAll, addrs(v4, v6), nil},
		{"v6.test", upstream.FamilyAll, addrs(v6), nil},
		{"x.test", upstream.FamilyAll, nil, ErrNoSuchName},
		{"none.test", upstream.FamilyAuto, nil, ErrEmpty},
		{"127.0.0.9", upstream.FamilyV6Only, addrs("127.0.0.9"), nil},
		{"localhost", upstream.FamilyAuto, addrs("127.0.0.1"), nil},
		{"a.localhost.", upstream.FamilyV6Only, addrs("::1"), nil},
	}
	for _, tt := range tests {
		a, err := r.Lookup(t.Context(), tt.name, tt.family)
		if !slices.Equal(a.Addrs, tt.want) || !errors.Is(err, tt.err) {
			t.Errorf("%s family %d: %v, %v; want %v, %v", tt.name, tt.family, a.Addrs, err, tt.want, tt.err)
		}
	}
	if a, _ := r.Lookup(t.Context(), "v46.test", upstream.FamilyAll); a.TTL != 30*time.Second {
		t.Errorf("the TTL of both is %v, want the smaller", a.TTL)
	}
	for _, q := range s.asked() {
		if strings.Contains(q, "localhost") || strings.Contains(q, "127") {
			t.Errorf("asked %s", q)
		}
	}
}

func TestAnswers(t *testing.T) {
	tests := map[string]struct {
		answer func(network string, q dns.Question, m *dns.Msg)
		want   int // addresses
		ttl    time.Duration
		err    string
	}{
		"aliases in any order": {func(_ string, q dns.Question, m *dns.Msg) {
			m.Answer = append(m.Answer, record(t, "c.test. 9 IN A 10.0.0.1"), record(t, "b.test. 5 IN CNAME c.test."), record(t, q.Name+" 7 IN CNAME b.test."))
		}, 1, 5 * time.Second, ""},
		"an alias that runs in a circle": {func(_ string, q dns.Question, m *dns.Msg) {
			m.Answer = append(m.Answer, record(t, q.Name+" 7 IN CNAME b.test."), record(t, "b.test. 7 IN CNAME "+q.Name))
		}, 0, 0, "no address"},
		"addresses of another name": {func(_ string, q dns.Question, m *dns.Msg) {
			m.Answer = append(m.Answer, record(t, "other.test. 7 IN A 10.0.0.1"))
		}, 0, 0, "no address"},
		"an answer to another question": {func(_ string, q dns.Question, m *dns.Msg) {
			m.Question[0].Name = "other.test."
			m.Answer = append(m.Answer, record(t, "other.test. 7 IN A 10.0.0.1"))
		}, 0, 0, "not for this question"},
		"another id": {func(_ string, q dns.Question, m *dns.Msg) {
			m.Id++
			m.Answer = append(m.Answer, record(t, q.Name+" 7 IN A 10.0.0.1"))
		}, 0, 0, "timeout"},
		"TTL 0": {func(_ string, q dns.Question, m *dns.Msg) {
			m.Answer = append(m.Answer, record(t, q.Name+" 0 IN A 10.0.0.1"))
		}, 1, 0, ""},
		"one address twice": {func(_ string, q dns.Question, m *dns.Msg) {
			m.Answer = append(m.Answer, record(t, q.Name+" 3 IN A 10.0.0.1"), record(t, q.Name+" 3 IN A 10.0.0.1"))
		}, 1, 3 * time.Second, ""},
		"500 addresses do not fit and come by TCP": {func(_ string, q dns.Question, m *dns.Msg) {
			for i := range 500 {
				m.Answer = append(m.Answer, record(t, fmt.Sprintf("%s 8 IN A 10.0.%d.%d", q.Name, i/256, i%256)))
			}
		}, 500, 8 * time.Second, ""},
		"SERVFAIL": {func(_ string, _ dns.Question, m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }, 0, 0, "SERVFAIL"},
		"REFUSED":  {func(_ string, _ dns.Question, m *dns.Msg) { m.Rcode = dns.RcodeRefused }, 0, 0, "REFUSED"},
		"NXDOMAIN": {func(_ string, _ dns.Question, m *dns.Msg) { m.Rcode = dns.RcodeNameError }, 0, 0, "no such name"},
		"empty":    {func(string, dns.Question, *dns.Msg) {}, 0, 0, "no address"},
		"silence":  {func(_ string, _ dns.Question, m *dns.Msg) { m.Opcode = silent }, 0, 0, "timeout"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tt.answer)
			c := s.config()
			if tt.err == "timeout" {
				c = s.impatient()
			}
			a, err := NewSource("/nonexistent", "/nonexistent").Resolver(c).Lookup(t.Context(), "a.test", upstream.FamilyV4Only)
			if len(a.Addrs) != tt.want || a.TTL != tt.ttl {
				t.Errorf("%d addresses for %v, want %d for %v", len(a.Addrs), a.TTL, tt.want, tt.ttl)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestNextServerIsAsked(t *testing.T) {
	bad := newServer(t, func(_ string, _ dns.Question, m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })
	good := newServer(t, func(_ string, q dns.Question, m *dns.Msg) {
		m.Answer = append(m.Answer, record(t, q.Name+" 7 IN A 10.0.0.1"))
	})
	c := bad.config()
	c.Resolver.Servers = append(c.Resolver.Servers, good.addr)
	a, err := NewSource("/nonexistent", "/nonexistent").Resolver(c).Lookup(t.Context(), "a.test", upstream.FamilyV4Only)
	if err != nil || len(a.Addrs) != 1 || len(bad.asked()) != 1 {
		t.Errorf("%v, %v; the bad server was asked %d times", a, err, len(bad.asked()))
	}
}

func TestSystemFiles(t *testing.T) {
	s := newServer(t, func(_ string, q dns.Question, m *dns.Msg) {
		if q.Name == "web.corp.test." {
			m.Answer = append(m.Answer, record(t, q.Name+" 7 IN A 10.0.0.1"))
			return
		}
		m.Rcode = dns.RcodeNameError
	})
	dir := t.TempDir()
	conf, hosts := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts")
	for path, text := range map[string]string{
		conf:  "nameserver 127.0.0.1\nsearch dev.test corp.test\noptions ndots:1\n",
		hosts: "# a comment\n10.9.9.9 db DB.test # and one more\nnonsense\n::ffff:10.9.9.8 six\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := s.config()
	r := NewSource(conf, hosts).Resolver(c)
	if a, err := r.Lookup(t.Context(), "web", upstream.FamilyV4Only); err != nil || !slices.Equal(a.Addrs, addrs("10.0.0.1")) {
		t.Errorf("by the search list: %v, %v", a, err)
	}
	want := []string{"udp A web.dev.test.", "udp A web.corp.test."}
	if got := s.asked(); !slices.Equal(got, want) {
		t.Errorf("asked %v, want %v", got, want)
	}
	for name, want := range map[string]string{"db": "10.9.9.9", "db.TEST.": "10.9.9.9", "six": "10.9.9.8"} {
		if a, err := r.Lookup(t.Context(), name, upstream.FamilyAuto); err != nil || !slices.Equal(a.Addrs, addrs(want)) {
			t.Errorf("%s by the hosts file: %v, %v", name, a, err)
		}
	}
	c.Resolver.NoSearch, c.Resolver.TCP = true, true
	if _, err := NewSource(conf, hosts).Resolver(c).Lookup(t.Context(), "web", upstream.FamilyV4Only); !errors.Is(err, ErrNoSuchName) {
		t.Errorf("without the search list: %v", err)
	}
	if got := s.asked(); got[len(got)-1] != "tcp A web." {
		t.Errorf("asked %v at last", got[len(got)-1])
	}
}

func TestCancelledLookupEndsAtOnce(t *testing.T) {
	asked := make(chan struct{}, 1)
	s := newServer(t, func(_ string, _ dns.Question, m *dns.Msg) {
		m.Opcode = silent
		asked <- struct{}{}
	})
	c := s.config()
	c.Resolver.Timeout, c.Resolver.Tries = time.Hour, 1
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := NewSource("/nonexistent", "/nonexistent").Resolver(c).Lookup(ctx, "a.test", upstream.FamilyV4Only)
		done <- err
	}()
	<-asked
	cancel()
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

func TestWhichResolver(t *testing.T) {
	s := NewSource("", "")
	for want, c := range map[string]upstream.DNSConfig{
		"*dns.system": {},
		"*dns.client": {RespectTTL: true},
	} {
		if got := fmt.Sprintf("%T", s.Resolver(c)); got != want {
			t.Errorf("%+v has a %s, want %s", c, got, want)
		}
	}
	if got := fmt.Sprintf("%T", s.Resolver(upstream.DNSConfig{RespectTTL: true, Resolver: upstream.ResolverConfig{System: true}})); got != "*dns.system" {
		t.Errorf("the system's resolver is a %s", got)
	}
	if a, err := s.Resolver(upstream.DNSConfig{}).Lookup(t.Context(), "localhost", upstream.FamilyAll); err != nil || len(a.Addrs) != 2 {
		t.Errorf("localhost is %v, %v", a, err)
	}
}

// script answers lookups in turn and repeats the last one.
type script struct {
	steps []any // Answer or error
	at    int
}

func (s *script) Lookup(context.Context, string, upstream.DNSFamily) (Answer, error) {
	step := s.steps[min(s.at, len(s.steps)-1)]
	s.at++
	if a, ok := step.(Answer); ok {
		return a, nil
	}
	return Answer{}, step.(error)
}

func TestWatchSchedule(t *testing.T) {
	one := addrs("10.0.0.1")
	fail := errors.New("no luck")
	tests := map[string]struct {
		config upstream.DNSConfig
		steps  []any
		waits  [][2]time.Duration // least and most before each further lookup
	}{
		"default rate":          {upstream.DNSConfig{}, []any{Answer{Addrs: one, TTL: time.Minute}}, [][2]time.Duration{{5 * time.Second, 5 * time.Second}}},
		"TTL":                   {upstream.DNSConfig{RespectTTL: true}, []any{Answer{Addrs: one, TTL: time.Minute}}, [][2]time.Duration{{time.Minute, time.Minute}}},
		"TTL 0 is no TTL":       {upstream.DNSConfig{RespectTTL: true, Refresh: 7 * time.Second}, []any{Answer{Addrs: one}}, [][2]time.Duration{{7 * time.Second, 7 * time.Second}}},
		"TTL below the minimum": {upstream.DNSConfig{RespectTTL: true, MinRefresh: 9 * time.Second}, []any{Answer{Addrs: one, TTL: time.Second}}, [][2]time.Duration{{9 * time.Second, 9 * time.Second}}},
		"TTL of 68 years":       {upstream.DNSConfig{RespectTTL: true}, []any{Answer{Addrs: one, TTL: 1<<31*time.Second - 1}}, [][2]time.Duration{{24 * time.Hour, 24 * time.Hour}}},
		"jitter":                {upstream.DNSConfig{Refresh: time.Second, Jitter: time.Second}, []any{Answer{Addrs: one}}, [][2]time.Duration{{time.Second, 2 * time.Second}, {time.Second, 2 * time.Second}}},
		"failures at the rate":  {upstream.DNSConfig{Refresh: 3 * time.Second}, []any{fail}, [][2]time.Duration{{3 * time.Second, 3 * time.Second}}},
		"empty is a failure":    {upstream.DNSConfig{FailureBase: time.Second}, []any{Answer{}}, [][2]time.Duration{{time.Second / 2, time.Second}}},
		"back-off and recovery": {
			upstream.DNSConfig{FailureBase: time.Second, FailureMax: 3 * time.Second},
			[]any{fail, fail, fail, fail, Answer{Addrs: one}, fail},
			[][2]time.Duration{
				{time.Second / 2, time.Second}, {time.Second, 2 * time.Second}, {1500 * time.Millisecond, 3 * time.Second},
				{1500 * time.Millisecond, 3 * time.Second}, {5 * time.Second, 5 * time.Second}, {time.Second / 2, time.Second},
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				last, n := time.Now(), -1
				Watch(ctx, &script{steps: tt.steps}, "a.test", tt.config, func(_ Answer, err error) {
					if _, failed := tt.steps[min(n+1, len(tt.steps)-1)].(error); failed != (err != nil) && !errors.Is(err, ErrEmpty) {
						t.Errorf("lookup %d told %v", n+1, err)
					}
					if n >= 0 {
						if w := time.Since(last); w < tt.waits[n][0] || w > tt.waits[n][1]+time.Nanosecond {
							t.Errorf("waited %v before lookup %d, want %v", w, n+1, tt.waits[n])
						}
					}
					last = time.Now()
					if n++; n == len(tt.waits) {
						cancel()
					}
				})
			})
		})
	}
}

func FuzzRead(f *testing.F) {
	q := new(dns.Msg)
	q.SetQuestion("a.test.", dns.TypeA)
	q.Id = 1
	r := new(dns.Msg)
	r.SetReply(q)
	r.Answer = append(r.Answer, record(f, "a.test. 7 IN CNAME b.test."), record(f, "b.test. 7 IN A 10.0.0.1"))
	b, err := r.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		a, err := read(q, m)
		if (err == nil) != (len(a.Addrs) > 0) || len(a.Addrs) > maxAddrs {
			t.Errorf("%v with %v", a, err)
		}
	})
}

func FuzzParseHosts(f *testing.F) {
	f.Add("127.0.0.1 a b # c\n::1 d\n")
	f.Fuzz(func(t *testing.T, s string) {
		for name, list := range parseHosts(strings.NewReader(s)) {
			if name != strings.ToLower(name) || len(list) == 0 {
				t.Errorf("%q has %v", name, list)
			}
		}
	})
}

// TestUnroutable: with filter_unroutable_families an IP version that the machine cannot
// reach is not asked for, whatever the lookup family says.
func TestUnroutable(t *testing.T) {
	s := newServer(t, func(_ string, q dns.Question, m *dns.Msg) {
		switch q.Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, record(t, q.Name+" 60 IN A 10.0.0.4"))
		case dns.TypeAAAA:
			m.Answer = append(m.Answer, record(t, q.Name+" 60 IN AAAA fd00::6"))
		}
	})
	c := s.config()
	c.Resolver.RoutableOnly = true
	for _, tt := range []struct {
		interfaces string
		family     upstream.DNSFamily
		want       []netip.Addr
	}{
		{"127.0.0.1/8 ::1/128 10.0.0.1/8", upstream.FamilyAuto, addrs("10.0.0.4")},
		{"127.0.0.1/8 ::1/128 10.0.0.1/8", upstream.FamilyAll, addrs("10.0.0.4")},
		{"127.0.0.1/8 fd00::1/64", upstream.FamilyV4Preferred, addrs("fd00::6")},
		{"10.0.0.1/8 fd00::1/64", upstream.FamilyAll, addrs("10.0.0.4", "fd00::6")},
		{"10.0.0.1/8", upstream.FamilyV6Only, nil},
		{"127.0.0.1/8", upstream.FamilyAuto, nil},
	} {
		src := NewSource("/nonexistent", "/nonexistent")
		src.interfaces = func() (out []net.Addr, err error) {
			for f := range strings.FieldsSeq(tt.interfaces) {
				ip, n, err := net.ParseCIDR(f)
				if err != nil {
					return nil, err
				}
				out = append(out, &net.IPNet{IP: ip, Mask: n.Mask})
			}
			return out, nil
		}
		a, err := src.Resolver(c).Lookup(t.Context(), "a.test", tt.family)
		if !slices.Equal(a.Addrs, tt.want) || (err != nil) != (tt.want == nil) {
			t.Errorf("%s, family %d: %v, %v, want %v", tt.interfaces, tt.family, a.Addrs, err, tt.want)
		}
	}
}

// TestStats: what comes of lookups is counted; what needs no query is none.
func TestStats(t *testing.T) {
	s := newServer(t, func(_ string, q dns.Question, m *dns.Msg) {
		switch strings.SplitN(q.Name, ".", 2)[0] {
		case "a":
			m.Answer = append(m.Answer, record(t, q.Name+" 60 IN A 10.0.0.4"))
		case "none":
			m.Rcode = dns.RcodeNameError
		case "bad":
			m.Rcode = dns.RcodeServerFailure
		default:
			m.Opcode = silent
		}
	})
	store := stats.NewStore()
	src := NewSource("/nonexistent", "/nonexistent")
	src.Show(store)
	src.Show(store)
	r, hasty := src.Resolver(s.config()), src.Resolver(s.impatient())
	for _, name := range []string{"a.test", "a.test", "none.test", "bad.test", "slow.test", "127.0.0.1"} {
		r := r
		if name == "slow.test" {
			r = hasty
		}
		_, err := r.Lookup(t.Context(), name, upstream.FamilyV4Only)
		if (err == nil) != (name == "a.test" || name == "127.0.0.1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	st := src.stats.Load()
	got := []uint64{st.ResolveTotal.Value(), st.NotFound.Value(), st.Timeout.Value(), st.Failure.Value(), uint64(st.Pending.Value())}
	if want := []uint64{5, 1, 1, 1, 0}; !slices.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	shown := uint64(0)
	store.Visit(func(m stats.Metric) {
		if m.Name == "dns.cares.resolve_total" {
			shown += m.Count
		}
	})
	if shown != 5 {
		t.Errorf("the store shows %d", shown)
	}
}
