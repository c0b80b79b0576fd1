// SPDX-License-Identifier: Apache-2.0

// Package dnscache keeps what the names that clients ask for resolve to: Envoy's
// dynamic forward proxy cache (DnsCacheConfig). Filters load names into a cache,
// and the dynamic forward proxy cluster has a host for each of them. Names are
// resolved again and again while they are used, and forgotten after.
//
// A [Set] owns the caches, by name; who uses one holds it.
package dnscache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
)

// Errors of Load.
var (
	// ErrFull: the cache holds max_hosts names.
	ErrFull = errors.New("dns cache overflow")
	// ErrPending: max_pending_requests names are being resolved.
	ErrPending = errors.New("too many names are being resolved")
	errClosed  = errors.New("the dns cache is closed")
)

// Config is a compiled DnsCacheConfig. It compares with the Key.
type Config struct {
	Name string
	// Key tells two configurations of one name apart.
	Key string
	DNS upstream.DNSConfig
	// HostTTL is how long a name is kept that nobody asks for, 5 min by default.
	HostTTL time.Duration
	// QueryTimeout bounds a lookup, 5 s by default; 0 is none.
	QueryTimeout time.Duration
	// MaxHosts is 1024 by default, MaxPending unlimited (0).
	MaxHosts, MaxPending int
	// Preresolve are names to load at once.
	Preresolve []Name
	// ForgetFailures drops a name that does not resolve in place of trying again.
	ForgetFailures bool
	// Allow, if set, tells which of the resolved addresses may be used.
	Allow func(netip.Addr) bool
}

// A Name is a host's name, lower case, and the port that is connected to.
type Name struct {
	Host string
	Port uint16
}

// String is the name as the key of its host: "example.com:443".
func (n Name) String() string {
	if strings.Contains(n.Host, ":") {
		return "[" + n.Host + "]:" + strconv.Itoa(int(n.Port))
	}
	return n.Host + ":" + strconv.Itoa(int(n.Port))
}

// ParseName reads "host" or "host:port", as an authority has it; port is that of a
// host without one. It reports false for what cannot be a host.
func ParseName(s string, port uint16) (Name, bool) {
	host := s
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return Name{}, false
		}
		host, s = s[1:end], s[end+1:]
		if _, err := netip.ParseAddr(host); err != nil || s != "" && s[0] != ':' {
			return Name{}, false
		}
		s = strings.TrimPrefix(s, ":")
	} else {
		host, s, _ = strings.Cut(s, ":")
	}
	if s != "" {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return Name{}, false
		}
		port = uint16(n)
	}
	if host == "" || len(host) > maxName || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Name{}, false // Names beyond ASCII are asked for as DNS has them (RFC 5890).
	}
	return Name{strings.ToLower(host), port}, true
}

// maxName is the longest name that DNS knows, with its last dot.
const maxName = 254

// Keys of the filter state by which filters tell the dynamic forward proxy cluster
// where to connect to.
const (
	HostKey = "envoy.upstream.dynamic_host"
	PortKey = "envoy.upstream.dynamic_port"
)

// Stats are a cache's statistics (dns_cache.NAME.*).
type Stats struct {
	CacheLoad       stats.Counter `stat:"cache_load"`
	QueryAttempt    stats.Counter `stat:"dns_query_attempt"`
	QuerySuccess    stats.Counter `stat:"dns_query_success"`
	QueryFailure    stats.Counter `stat:"dns_query_failure"`
	QueryTimeout    stats.Counter `stat:"dns_query_timeout"`
	AddressChanged  stats.Counter `stat:"host_address_changed"`
	Added           stats.Counter `stat:"host_added"`
	Removed         stats.Counter `stat:"host_removed"`
	Overflow        stats.Counter `stat:"host_overflow"`
	Hosts           stats.Gauge   `stat:"num_hosts"`
	PendingOverflow stats.Counter `stat:"dns_rq_pending_overflow"`
}

// A Cache resolves names. Its methods may be called from any goroutine; none waits.
type Cache struct {
	cfg      Config
	resolver dns.Resolver
	ctx      context.Context
	cancel   context.CancelFunc
	wait     sync.WaitGroup

	mu      sync.Mutex
	entries map[Name]*Entry
	pending int
	closed  bool
	subs    map[int]func([]upstream.Endpoint)
	nextSub int
	st      *Stats // written under mu
	shown   *stats.Sharded[Stats]
}

// An Entry is one name of a cache.
type Entry struct {
	Name  Name
	done  chan struct{} // closed by the first answer or failure
	used  atomic.Int64  // Unix nanoseconds
	stop  context.CancelFunc
	mu    sync.Mutex
	addrs []netip.Addr
	err   error
}

// Done is closed once the name was resolved for the first time, or could not be.
func (e *Entry) Done() <-chan struct{} { return e.done }

// longest bounds the wait for a name where dns_query_timeout does not.
const longest = time.Minute

// Await waits until Done, for at most what lookups that take query each may need,
// while the loop serves others. It reports whether that was in time.
func (e *Entry) Await(t *engine.Task, query time.Duration) bool {
	select {
	case <-e.done:
		return true
	default:
	}
	most := longest
	if query > 0 {
		// A name may be asked for in two families.
		most = min(most, 2*query+time.Second)
	}
	done := false
	t.Foreign(func() {
		limit := time.NewTimer(most)
		defer limit.Stop()
		select {
		case <-e.done:
			done = true
		case <-limit.C:
		}
	})
	return done
}

// Err says why the name has no address; nil if it has one.
func (e *Entry) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.addrs) > 0 {
		return nil
	}
	return e.err
}

func newCache(cfg Config, r dns.Resolver) *Cache {
	c := &Cache{cfg: cfg, resolver: r, entries: map[Name]*Entry{}, subs: map[int]func([]upstream.Endpoint){}, st: new(Stats)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, n := range cfg.Preresolve {
		// A name too many is counted, and loaded when somebody asks for it.
		_, _ = c.Load(n)
	}
	return c
}

// Load returns the entry of a name, which is resolved from now on.
func (c *Cache) Load(n Name) (*Entry, error) {
	now := time.Now().UnixNano()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[n]; e != nil {
		e.used.Store(now)
		return e, nil
	}
	switch {
	case c.closed:
		return nil, errClosed
	case len(c.entries) >= c.cfg.MaxHosts:
		c.st.Overflow.Inc()
		return nil, ErrFull
	case c.cfg.MaxPending > 0 && c.pending >= c.cfg.MaxPending:
		c.st.PendingOverflow.Inc()
		return nil, ErrPending
	}
	ctx, cancel := context.WithCancel(c.ctx)
	e := &Entry{Name: n, done: make(chan struct{}), stop: cancel}
	e.used.Store(now)
	c.entries[n] = e
	c.pending++
	c.st.Added.Inc()
	c.st.Hosts.Inc()
	c.wait.Go(func() {
		defer cancel()
		first := true
		dns.Watch(ctx, limited{c}, n.Host, c.cfg.DNS, func(a dns.Answer, err error) {
			c.answer(e, first, a, err)
			first = false
		})
		if first { // The cache was closed before the first answer.
			c.answer(e, first, dns.Answer{}, errClosed)
		}
	})
	return e, nil
}

// limited bounds each lookup, and counts them.
type limited struct{ c *Cache }

// Lookup implements dns.Resolver.
func (l limited) Lookup(ctx context.Context, name string, f upstream.DNSFamily) (dns.Answer, error) {
	c := l.c
	c.count(func(s *Stats) { s.QueryAttempt.Inc() })
	if d := c.cfg.QueryTimeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	a, err := c.resolver.Lookup(ctx, name, f)
	if err == nil && c.cfg.Allow != nil {
		a.Addrs = slices.DeleteFunc(slices.Clone(a.Addrs), func(ip netip.Addr) bool { return !c.cfg.Allow(ip) })
		if len(a.Addrs) == 0 {
			err = fmt.Errorf("resolve %q: no address passes resolved_address_filter", name)
		}
	}
	c.count(func(s *Stats) {
		switch {
		case err == nil:
			s.QuerySuccess.Inc()
		case errors.Is(err, context.DeadlineExceeded):
			s.QueryTimeout.Inc()
			s.QueryFailure.Inc()
		default:
			s.QueryFailure.Inc()
		}
	})
	return a, err
}

func (c *Cache) count(f func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.st)
}

// answer takes what a lookup found. Those who wait see it after the subscribers.
func (c *Cache) answer(e *Entry, first bool, a dns.Answer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first {
		c.pending--
		defer close(e.done)
	}
	if c.closed {
		return
	}
	idle := time.Duration(time.Now().UnixNano() - e.used.Load())
	if !first && idle > c.cfg.HostTTL || err != nil && c.cfg.ForgetFailures {
		e.mu.Lock()
		e.err = err
		e.mu.Unlock()
		c.remove(e)
		return
	}
	e.mu.Lock()
	changed := err == nil && !slices.Equal(e.addrs, a.Addrs)
	if changed {
		e.addrs = slices.Clone(a.Addrs)
	}
	e.err = err
	e.mu.Unlock()
	if changed {
		c.st.AddressChanged.Inc()
		c.publish()
	}
}

// remove forgets a name; with mu held.
func (c *Cache) remove(e *Entry) {
	e.stop()
	delete(c.entries, e.Name)
	c.st.Removed.Inc()
	c.st.Hosts.Dec()
	c.publish()
}

// publish tells the subscribers all names that have addresses; with mu held, so
// that they hear of them in order.
func (c *Cache) publish() {
	all := c.endpoints()
	for _, f := range c.subs {
		f(all)
	}
}

func (c *Cache) endpoints() []upstream.Endpoint {
	out := []upstream.Endpoint{}
	names := slices.SortedFunc(maps.Keys(c.entries), func(a, b Name) int { return strings.Compare(a.String(), b.String()) })
	for _, n := range names {
		e := c.entries[n]
		e.mu.Lock()
		addrs := e.addrs
		e.mu.Unlock()
		if len(addrs) == 0 {
			continue
		}
		p := upstream.Endpoint{Key: n.String(), Hostname: n.Host, Weight: 1, Address: address.IP(netip.AddrPortFrom(addrs[0], n.Port))}
		for _, a := range addrs[1:] {
			p.Addresses = append(p.Addresses, address.IP(netip.AddrPortFrom(a, n.Port)))
		}
		out = append(out, p)
	}
	return out
}

// Subscribe has f told all names with addresses, now and after each change, until
// cancel is called. f must not call the cache.
func (c *Cache) Subscribe(f func([]upstream.Endpoint)) (cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.nextSub
	c.nextSub++
	c.subs[id] = f
	f(c.endpoints())
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.subs, id)
	}
}

// Show puts the cache's statistics into a store, the first time it is asked.
func (c *Cache) Show(s *stats.Store) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shown != nil {
		return
	}
	c.shown = stats.Register[Stats](s.Scope("dns_cache."+stats.Sanitize(c.cfg.Name)), 1)
	st, old := c.shown.At(0), c.st
	st.CacheLoad.Inc()
	st.QueryAttempt.Add(old.QueryAttempt.Value())
	st.QuerySuccess.Add(old.QuerySuccess.Value())
	st.QueryFailure.Add(old.QueryFailure.Value())
	st.QueryTimeout.Add(old.QueryTimeout.Value())
	st.AddressChanged.Add(old.AddressChanged.Value())
	st.Added.Add(old.Added.Value())
	st.Removed.Add(old.Removed.Value())
	st.Overflow.Add(old.Overflow.Value())
	st.PendingOverflow.Add(old.PendingOverflow.Value())
	st.Hosts.Set(old.Hosts.Value())
	c.st = st
}

func (c *Cache) close() {
	c.mu.Lock()
	c.closed = true
	shown := c.shown
	c.mu.Unlock()
	c.cancel()
	c.wait.Wait()
	if shown != nil {
		shown.Close()
	}
}

// A Set is the caches of a proxy. The zero Set is not ready: use NewSet.
type Set struct {
	names *dns.Source
	mu    sync.Mutex
	m     map[string]*held
}

type held struct {
	*Cache
	users int
}

// NewSet returns an empty Set whose lookups are made by resolvers of the source.
func NewSet(names *dns.Source) *Set { return &Set{names: names, m: map[string]*held{}} }

// Get returns the cache of a configuration, until release is called. Two
// configurations of one name must be alike, as in Envoy.
func (s *Set) Get(cfg Config) (c *Cache, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.m[cfg.Name]
	if h != nil && h.cfg.Key != cfg.Key {
		return nil, nil, fmt.Errorf("dns_cache_config: the DNS cache %q is configured otherwise elsewhere: give it another name, or the same settings", cfg.Name)
	}
	if h == nil {
		h = &held{Cache: newCache(cfg, s.names.Resolver(cfg.DNS))}
		s.m[cfg.Name] = h
	}
	h.users++
	var once sync.Once
	return h.Cache, func() { once.Do(func() { s.release(h) }) }, nil
}

func (s *Set) release(h *held) {
	s.mu.Lock()
	h.users--
	last := h.users == 0
	if last && s.m[h.cfg.Name] == h {
		delete(s.m, h.cfg.Name)
	}
	s.mu.Unlock()
	if last {
		h.close()
	}
}
