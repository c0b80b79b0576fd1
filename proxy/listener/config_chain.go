// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/match"
)

// compiled is a filter chain and what it was made of.
type compiled struct {
	from  *listenerv3.FilterChain
	chain *Chain
}

// known finds the chains of a configuration by what they were made of: the very
// message, or an equal one of the same name.
type known struct {
	same   map[*listenerv3.FilterChain]*Chain
	byName map[string][]compiled
}

func knownOf(cfg *Config) *known {
	k := &known{map[*listenerv3.FilterChain]*Chain{}, map[string][]compiled{}}
	for _, c := range cfg.compiled {
		k.same[c.from] = c.chain
		k.byName[c.from.GetName()] = append(k.byName[c.from.GetName()], c)
	}
	return k
}

func (k *known) find(f *listenerv3.FilterChain) *Chain {
	if k == nil {
		return nil
	}
	if ch := k.same[f]; ch != nil {
		return ch
	}
	for _, c := range k.byName[f.GetName()] {
		if proto.Equal(c.from, f) {
			return c.chain
		}
	}
	return nil
}

// chains compiles the filter chains, but for those that are known already. Of chains
// that cannot be used nothing is left.
func chains(p *listenerv3.Listener, c *Context, cfg *Config, old *known) (err error) {
	var list []*Chain
	var made []*Chain
	defer func() {
		if err == nil {
			return
		}
		for _, ch := range made {
			ch.close()
		}
	}()
	one := func(f *listenerv3.FilterChain, path string) (*Chain, error) {
		ch := old.find(f)
		if ch == nil {
			if old != nil { // Otherwise the listener was looked at as a whole.
				if err := supported.Apply(f, path, c.Warn); err != nil {
					return nil, err
				}
			}
			ch = &Chain{}
			made = append(made, ch)
			if err := ch.compile(f, c); err != nil {
				return nil, fmt.Errorf("%s.%w", path, err)
			}
		}
		cfg.compiled = append(cfg.compiled, compiled{f, ch})
		return ch, nil
	}
	for i, f := range p.GetFilterChains() {
		ch, err := one(f, fmt.Sprintf("filter_chains[%d]", i))
		if err != nil {
			return err
		}
		list = append(list, ch)
	}
	var fallback *Chain
	if f := p.GetDefaultFilterChain(); f != nil {
		if fallback, err = one(f, "default_filter_chain"); err != nil {
			return err
		}
	}
	if len(list) == 0 && fallback == nil {
		return errors.New("filter_chains: there is none, so no connection could be served: add one")
	}
	if err := cfg.SetChains(list, fallback); err != nil {
		return fmt.Errorf("filter_chains: %w", err)
	}
	return nil
}

func (ch *Chain) compile(f *listenerv3.FilterChain, c *Context) error {
	ch.Name = f.GetName()
	if err := ch.Match.compile(f.GetFilterChainMatch()); err != nil {
		return fmt.Errorf("filter_chain_match.%w", err)
	}
	if t := f.GetTransportSocket(); t != nil {
		tr, err := c.Transport(t)
		if err != nil {
			return fmt.Errorf("transport_socket (%s): %w", t.GetName(), err)
		}
		ch.Transport = tr
	}
	ch.ConnectTimeout = f.GetTransportSocketConnectTimeout().AsDuration()
	if len(f.GetFilters()) == 0 {
		return errors.New("filters: there is none, so every connection would be closed: add one")
	}
	for i, nf := range f.GetFilters() {
		filter, handler, err := c.Network(nf, func(f func()) { ch.owned = append(ch.owned, f) })
		if err != nil {
			return fmt.Errorf("filters[%d] (%s): %w", i, nf.GetName(), err)
		}
		last := i == len(f.GetFilters())-1
		switch {
		case handler != nil && !last:
			return fmt.Errorf("filters[%d] (%s): a terminal filter must be the last: move it to the end", i, nf.GetName())
		case handler == nil && last:
			return fmt.Errorf("filters[%d] (%s): the last filter must be terminal, such as the HTTP connection manager", i, nf.GetName())
		case handler != nil:
			ch.Handler = handler
		default:
			ch.Filters = append(ch.Filters, filter)
		}
	}
	return nil
}

func (m *Match) compile(p *listenerv3.FilterChainMatch) error {
	m.DestinationPort = uint16(p.GetDestinationPort().GetValue())
	m.SourceType = SourceType(p.GetSourceType())
	m.TransportProtocol = p.GetTransportProtocol()
	m.ApplicationProtocols = p.GetApplicationProtocols()
	for _, n := range p.GetSourcePorts() {
		m.SourcePorts = append(m.SourcePorts, uint16(n))
	}
	for i, n := range p.GetServerNames() {
		name := strings.ToLower(n)
		if rest, ok := strings.CutPrefix(name, "*."); strings.Contains(name, "*") && (!ok || strings.Contains(rest, "*")) {
			return fmt.Errorf("server_names[%d]: %q: a wildcard may only be the first label, as in *.example.com", i, n)
		}
		m.ServerNames = append(m.ServerNames, name)
	}
	var err error
	if m.Prefixes, err = prefixes(p.GetPrefixRanges()); err != nil {
		return fmt.Errorf("prefix_ranges%w", err)
	}
	if m.DirectSourcePrefixes, err = prefixes(p.GetDirectSourcePrefixRanges()); err != nil {
		return fmt.Errorf("direct_source_prefix_ranges%w", err)
	}
	if m.SourcePrefixes, err = prefixes(p.GetSourcePrefixRanges()); err != nil {
		return fmt.Errorf("source_prefix_ranges%w", err)
	}
	return nil
}

func prefixes(rs []*corev3.CidrRange) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, r := range rs {
		p, err := match.CompilePrefix(r)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out = append(out, p)
	}
	return out, nil
}
