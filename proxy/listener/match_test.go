// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/streaminfo"
)

func TestMain(m *testing.M) { leak.Main(m) }

// oracle finds a chain as the documentation of FilterChainMatch tells it: one
// criterion after the other, and at each only the chains with the most specific
// value that agrees stay.
func oracle(chains []*Chain, c *streaminfo.Connection) *Chain {
	left := slices.Clone(chains)
	for level := range numLevels {
		best := -1
		scores := make([]int, len(left))
		for i, ch := range left {
			scores[i] = score(&ch.Match, c, level)
			best = max(best, scores[i])
		}
		var next []*Chain
		for i, ch := range left {
			if scores[i] == best && best >= 0 {
				next = append(next, ch)
			}
		}
		left = next
	}
	if len(left) == 0 {
		return nil
	}
	return left[0]
}

// score is how specifically a match agrees at a level: 0 if it has no such
// criterion, -1 if it does not agree.
func score(m *Match, c *streaminfo.Connection, level int) int {
	switch level {
	case byDestinationPort:
		return one(m.DestinationPort == 0, m.DestinationPort == c.Local.Port())
	case byDestination:
		return longest(m.Prefixes, c.Local.Addr())
	case byServerName:
		best := -1
		for _, n := range m.ServerNames {
			name := strings.ToLower(c.ServerName)
			if n == name && name != "" {
				best = 1000
			} else if suffix, ok := strings.CutPrefix(n, "*"); ok && strings.HasSuffix(name, suffix) {
				best = max(best, len(suffix))
			}
		}
		return orAny(len(m.ServerNames) == 0, best)
	case byTransport:
		return one(m.TransportProtocol == "", m.TransportProtocol == c.TransportProtocol)
	case byApplication:
		best := -1
		for _, p := range m.ApplicationProtocols {
			if i := slices.Index(c.ALPNs, p); i >= 0 {
				best = max(best, 100-i) // The client's first choice counts.
			}
		}
		return orAny(len(m.ApplicationProtocols) == 0, best)
	case byDirectSource:
		return longest(m.DirectSourcePrefixes, c.DirectRemote.Addr())
	case bySourceType:
		local := c.Remote.Addr().IsLoopback() || c.Remote.Addr() == c.Local.Addr()
		return one(m.SourceType == AnySource, (m.SourceType == SameIPOrLoopback) == local)
	case bySource:
		return longest(m.SourcePrefixes, c.Remote.Addr())
	default:
		return one(len(m.SourcePorts) == 0, slices.Contains(m.SourcePorts, c.Remote.Port()))
	}
}

func one(absent, agrees bool) int {
	switch {
	case absent:
		return 0
	case agrees:
		return 1
	}
	return -1
}

func orAny(absent bool, n int) int {
	if absent {
		return 0
	}
	return n
}

func longest(ps []netip.Prefix, a netip.Addr) int {
	best := -1
	for _, p := range ps {
		if p.Contains(a) {
			best = max(best, p.Bits()+1)
		}
	}
	return orAny(len(ps) == 0, best)
}

func TestMatchOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(list []string) []string {
		if r.IntN(2) == 0 {
			return nil
		}
		var out []string
		for _, s := range list {
			if r.IntN(3) == 0 {
				out = append(out, s)
			}
		}
		return out
	}
	prefixes := func() []netip.Prefix {
		var out []netip.Prefix
		for _, s := range pick([]string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "127.0.0.0/8", "::1/128", "2001:db8::/32", "0.0.0.0/0"}) {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	addrs := []string{"10.0.0.1", "10.1.0.1", "10.1.2.3", "10.1.2.4", "127.0.0.1", "::1", "2001:db8::1", "192.0.2.1"}
	names := []string{"a.test", "b.a.test", "*.a.test", "*.test", "c.b.a.test", "*.b.a.test"}
	protocols := []string{"h2", "http/1.1", "x"}
	addr := func() address.Addr {
		return address.IP(netip.AddrPortFrom(netip.MustParseAddr(addrs[r.IntN(len(addrs))]), uint16(1+r.IntN(3))))
	}
	found := 0
	for range 2000 {
		var chains []*Chain
		cfg := &Config{}
		for i := range 1 + r.IntN(6) {
			m := Match{
				Prefixes: prefixes(), ServerNames: pick(names), ApplicationProtocols: pick(protocols),
				DirectSourcePrefixes: prefixes(), SourcePrefixes: prefixes(), SourceType: SourceType(r.IntN(3)),
			}
			if r.IntN(2) == 0 {
				m.DestinationPort = uint16(1 + r.IntN(3))
			}
			if r.IntN(3) == 0 {
				m.TransportProtocol = []string{"tls", "raw_buffer"}[r.IntN(2)]
			}
			for range r.IntN(3) {
				m.SourcePorts = append(m.SourcePorts, uint16(1+r.IntN(3)))
			}
			ch := &Chain{Name: fmt.Sprint(i), Match: m}
			// Of two chains with a match in common the second is refused; it may have
			// left something in the index, so the index is made anew without it.
			if err := (&Config{}).SetChains(append(slices.Clone(chains), ch), nil); err == nil {
				chains = append(chains, ch)
			}
		}
		fallback := &Chain{Name: "fallback"}
		if err := cfg.SetChains(chains, fallback); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			c := &streaminfo.Connection{
				Local: addr(), Remote: addr(), DirectRemote: addr(), TransportProtocol: []string{"tls", "raw_buffer"}[r.IntN(2)],
			}
			if r.IntN(2) == 0 {
				c.ServerName = []string{"a.test", "B.a.test", "x.a.test", "c.b.a.test", "x.b.a.test", "other"}[r.IntN(6)]
			}
			for _, p := range r.Perm(3)[:r.IntN(3)] {
				c.ALPNs = append(c.ALPNs, protocols[p])
			}
			want := oracle(chains, c)
			if want == nil {
				want = fallback
			} else {
				found++
			}
			if got := cfg.Find(c); got != want {
				for _, ch := range chains {
					t.Logf("%s: %+v", ch.Name, ch.Match)
				}
				t.Fatalf("%+v: chain %s, want %s", c, got.Name, want.Name)
			}
		}
	}
	if found < 1000 {
		t.Errorf("only %d connections found a chain: the test is too thin", found)
	}
}

func TestSameMatchTwice(t *testing.T) {
	for _, tt := range []struct{ a, b Match }{
		{Match{}, Match{}},
		{Match{DestinationPort: 1}, Match{DestinationPort: 1}},
		{Match{ServerNames: []string{"a", "b"}}, Match{ServerNames: []string{"b", "c"}}},
		{Match{SourcePorts: []uint16{1, 2}}, Match{SourcePorts: []uint16{2}}},
		{Match{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, Match{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
	} {
		c := &Config{}
		err := c.SetChains([]*Chain{{Name: "one", Match: tt.a}, {Name: "two", Match: tt.b}}, nil)
		if err == nil || !strings.Contains(err.Error(), `"two"`) || !strings.Contains(err.Error(), `"one"`) {
			t.Errorf("%+v and %+v: %v", tt.a, tt.b, err)
		}
	}
}

func TestServerNameEdges(t *testing.T) {
	cfg := &Config{}
	if err := cfg.SetChains([]*Chain{{Name: "wild", Match: Match{ServerNames: []string{"*.a.test", "*.test."}}}, {Name: "any"}}, nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"x.a.test": "wild", "x.y.a.test": "wild", "a.test": "any", ".a.test": "any", "..a.test": "wild",
		"xa.test": "any", "x.a.test.": "wild", "a.test.x": "any", "": "any", ".": "any", "..": "any",
	} {
		if got := cfg.Find(&streaminfo.Connection{ServerName: name}); got.Name != want {
			t.Errorf("%q: %s, want %s", name, got.Name, want)
		}
	}
}
