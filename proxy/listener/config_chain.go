// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"weir.dev/weir/proxy/match"
)

func chains(p *listenerv3.Listener, c *Context, cfg *Config) error {
	var list []*Chain
	for i, f := range p.GetFilterChains() {
		ch, err := chain(f, c)
		if err != nil {
			return fmt.Errorf("filter_chains[%d].%w", i, err)
		}
		list = append(list, ch)
	}
	var fallback *Chain
	if f := p.GetDefaultFilterChain(); f != nil {
		ch, err := chain(f, c)
		if err != nil {
			return fmt.Errorf("default_filter_chain.%w", err)
		}
		fallback = ch
	}
	if len(list) == 0 && fallback == nil {
		return errors.New("filter_chains: there is none, so no connection could be served: add one")
	}
	if err := cfg.SetChains(list, fallback); err != nil {
		return fmt.Errorf("filter_chains: %w", err)
	}
	return nil
}

func chain(f *listenerv3.FilterChain, c *Context) (*Chain, error) {
	ch := &Chain{Name: f.GetName()}
	if err := ch.Match.compile(f.GetFilterChainMatch()); err != nil {
		return nil, fmt.Errorf("filter_chain_match.%w", err)
	}
	if t := f.GetTransportSocket(); t != nil {
		tr, err := c.Transport(t)
		if err != nil {
			return nil, fmt.Errorf("transport_socket (%s): %w", t.GetName(), err)
		}
		ch.Transport = tr
	}
	ch.ConnectTimeout = f.GetTransportSocketConnectTimeout().AsDuration()
	if len(f.GetFilters()) == 0 {
		return nil, errors.New("filters: there is none, so every connection would be closed: add one")
	}
	for i, nf := range f.GetFilters() {
		filter, handler, err := c.Network(nf)
		if err != nil {
			return nil, fmt.Errorf("filters[%d] (%s): %w", i, nf.GetName(), err)
		}
		last := i == len(f.GetFilters())-1
		switch {
		case handler != nil && !last:
			return nil, fmt.Errorf("filters[%d] (%s): a terminal filter must be the last: move it to the end", i, nf.GetName())
		case handler == nil && last:
			return nil, fmt.Errorf("filters[%d] (%s): the last filter must be terminal, such as the HTTP connection manager", i, nf.GetName())
		case handler != nil:
			ch.Handler = handler
		default:
			ch.Filters = append(ch.Filters, filter)
		}
	}
	return ch, nil
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
