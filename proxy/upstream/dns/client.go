// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"weir.dev/weir/proxy/upstream"
)

const (
	defaultTimeout = 5 * time.Second
	defaultTries   = 4
	// defaultUDPSize avoids fragments (DNS flag day 2020).
	defaultUDPSize = 1232
	// maxChain bounds how many aliases are followed.
	maxChain = 16
)

// client is a stub resolver: it asks recursive name servers.
type client struct {
	config upstream.ResolverConfig
	system *systemFiles
	source *Source
	turn   atomic.Uint32
}

func newClient(s *Source, c upstream.ResolverConfig) *client {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.Tries <= 0 {
		c.Tries = defaultTries
	}
	if c.UDPSize == 0 {
		c.UDPSize = defaultUDPSize
	}
	return &client{config: c, system: newSystemFiles(s.resolvConf, s.hosts), source: s}
}

// Lookup implements Resolver.
func (c *client) Lookup(ctx context.Context, name string, family upstream.DNSFamily) (Answer, error) {
	// The hosts file comes first, so that it may say what localhost is.
	if _, err := netip.ParseAddr(name); err != nil {
		if a, ok := c.system.host(name, family); ok {
			return a, nil
		}
	}
	if a, ok, err := literal(name, family); ok {
		return a, err
	}
	if _, ok := dns.IsDomainName(name); !ok || name == "" {
		return Answer{}, fmt.Errorf("resolve %q: not a domain name", name)
	}
	return c.source.run(ctx, func() (Answer, error) { return c.lookup(ctx, name, family) })
}

// lookup asks for the name as it is and within the search domains.
func (c *client) lookup(ctx context.Context, name string, family upstream.DNSFamily) (Answer, error) {
	conf := c.system.conf()
	servers := c.servers(conf)
	names := []string{dns.Fqdn(name)}
	if !c.config.NoSearch {
		names = conf.NameList(name)
	}
	var last error
	for _, n := range names {
		a, err := byFamily(family, func(v6 bool) (Answer, error) {
			if c.config.RoutableOnly && !c.source.routable(v6) {
				return Answer{}, ErrEmpty
			}
			return c.query(ctx, servers, n, v6)
		})
		if err == nil {
			return a, nil
		}
		// What a definite answer says of the name as given is worth more than what
		// a search domain said.
		if last == nil || !definite(err) {
			last = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return Answer{}, fmt.Errorf("resolve %q: %w", name, last)
}

func definite(err error) bool { return errors.Is(err, ErrNoSuchName) || errors.Is(err, ErrEmpty) }

func (c *client) servers(conf *dns.ClientConfig) []string {
	own := make([]string, 0, len(c.config.Servers))
	for _, s := range c.config.Servers {
		own = append(own, s.String())
	}
	if len(own) > 0 && !(c.config.FallbackToSystem && len(conf.Servers) > 0) {
		return own
	}
	var list []string
	for _, s := range conf.Servers {
		list = append(list, net.JoinHostPort(s, conf.Port))
	}
	if len(list) == 0 {
		list = []string{"127.0.0.1:53"} // resolv.conf(5): the default is the local machine
	}
	return list
}

// query asks the servers in turn until one gives a definite answer.
func (c *client) query(ctx context.Context, servers []string, fqdn string, v6 bool) (Answer, error) {
	m := new(dns.Msg)
	kind := dns.TypeA
	if v6 {
		kind = dns.TypeAAAA
	}
	m.SetQuestion(fqdn, kind)
	m.SetEdns0(c.config.UDPSize, false)
	start := 0
	if c.config.Rotate {
		start = int(c.turn.Add(1) % uint32(len(servers)))
	}
	var last error
	for try := range c.config.Tries {
		server := servers[(start+try)%len(servers)]
		a, err := c.ask(ctx, server, m)
		if err == nil || definite(err) {
			return a, err
		}
		last = fmt.Errorf("ask %s: %w", server, err)
		if ctx.Err() != nil {
			break
		}
	}
	return Answer{}, last
}

// ask puts one question to one server, by TCP if asked to or if the answer does not
// fit.
func (c *client) ask(ctx context.Context, server string, m *dns.Msg) (Answer, error) {
	m.Id = dns.Id()
	network := "udp"
	if c.config.TCP {
		network = "tcp"
	}
	r, err := c.exchange(ctx, network, server, m)
	if err == nil && r.Truncated && network == "udp" {
		r, err = c.exchange(ctx, "tcp", server, m)
	}
	if err != nil {
		return Answer{}, err
	}
	if r.Rcode == dns.RcodeFormatError && m.IsEdns0() != nil {
		// RFC 6891 §6.2.2: an old server that does not know EDNS is asked without.
		plain := m.Copy()
		plain.Extra = nil
		if r, err = c.exchange(ctx, network, server, plain); err != nil {
			return Answer{}, err
		}
	}
	return read(m, r)
}

func (c *client) exchange(ctx context.Context, network, server string, m *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The library does not look at the context while it reads.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	cl := dns.Client{Net: network, UDPSize: c.config.UDPSize, Timeout: c.config.Timeout}
	r, _, err := cl.ExchangeWithConnContext(ctx, m, &dns.Conn{Conn: conn, UDPSize: c.config.UDPSize})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// read takes from a response what answers the question, and nothing else.
func read(m, r *dns.Msg) (Answer, error) {
	q := m.Question[0]
	if !r.Response || r.Id != m.Id || len(r.Question) != 1 ||
		r.Question[0].Qtype != q.Qtype || r.Question[0].Qclass != q.Qclass || !sameName(r.Question[0].Name, q.Name) {
		return Answer{}, errors.New("the response is not for this question")
	}
	switch r.Rcode {
	case dns.RcodeSuccess:
	case dns.RcodeNameError:
		return Answer{}, ErrNoSuchName
	default:
		return Answer{}, fmt.Errorf("the server answered %s", dns.RcodeToString[r.Rcode])
	}
	owner, ttl := q.Name, uint32(1<<31-1)
	// Aliases may come in any order.
	for range maxChain {
		next := ""
		for _, rr := range r.Answer {
			if c, ok := rr.(*dns.CNAME); ok && sameName(c.Hdr.Name, owner) {
				next, ttl = c.Target, min(ttl, c.Hdr.Ttl)
				break
			}
		}
		if next == "" {
			break
		}
		owner = next
	}
	var a Answer
	seen := map[netip.Addr]bool{}
	for _, rr := range r.Answer {
		h := rr.Header()
		if h.Class != dns.ClassINET || h.Rrtype != q.Qtype || !sameName(h.Name, owner) {
			continue
		}
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A.To4()
		case *dns.AAAA:
			ip = rr.AAAA
		}
		addr, ok := netip.AddrFromSlice(ip)
		if !ok || seen[addr] || len(a.Addrs) == maxAddrs {
			continue
		}
		seen[addr] = true
		a.Addrs = append(a.Addrs, addr.Unmap())
		ttl = min(ttl, h.Ttl)
	}
	if len(a.Addrs) == 0 {
		return Answer{}, ErrEmpty
	}
	a.TTL = time.Duration(ttl) * time.Second
	return a, nil
}

func sameName(a, b string) bool { return strings.EqualFold(a, b) }
