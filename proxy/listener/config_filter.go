// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"errors"
	"fmt"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
)

// filters compiles the listener filters. As in Envoy, the fields that ask for
// one without naming it put it last.
func filters(p *listenerv3.Listener, c *Context, cfg *Config) error {
	for i, f := range p.GetListenerFilters() {
		lf, err := filter(f, c)
		if err != nil {
			return fmt.Errorf("listener_filters[%d] (%s): %w", i, f.GetName(), err)
		}
		cfg.Filters = append(cfg.Filters, lf)
	}
	if cfg.UseOriginalDst {
		if err := implied(cfg, c, "envoy.filters.listener.original_dst", &originaldstv3.OriginalDst{}); err != nil {
			return fmt.Errorf("use_original_dst: %w", err)
		}
	}
	proxied, err := useProxyProto(p)
	if err != nil {
		return err
	}
	if proxied {
		if err := implied(cfg, c, "envoy.filters.listener.proxy_protocol", &proxyprotocolv3.ProxyProtocol{}); err != nil {
			return fmt.Errorf("use_proxy_proto: %w", err)
		}
	}
	if !needsInspector(p) {
		return nil
	}
	c.Warn("filter_chains", "what they match needs the listener filter envoy.filters.listener.tls_inspector, which is put last: add it to listener_filters where it should be")
	if err := implied(cfg, c, "envoy.filters.listener.tls_inspector", &tlsinspectorv3.TlsInspector{}); err != nil {
		return fmt.Errorf("filter_chains: a match needs the listener filter envoy.filters.listener.tls_inspector: %w", err)
	}
	return nil
}

// needsInspector tells whether a filter chain matches what only the TLS inspector
// finds, while there is none. Envoy decides it so.
func needsInspector(p *listenerv3.Listener) bool {
	for _, f := range p.GetListenerFilters() {
		if f.GetTypedConfig().MessageIs(&tlsinspectorv3.TlsInspector{}) {
			return false
		}
	}
	for _, ch := range p.GetFilterChains() {
		m := ch.GetFilterChainMatch()
		named := len(m.GetServerNames()) > 0 || len(m.GetApplicationProtocols()) > 0
		if m.GetTransportProtocol() == "tls" || m.GetTransportProtocol() == "" && named {
			return true
		}
	}
	return false
}

func implied(cfg *Config, c *Context, name string, m proto.Message) error {
	a, err := anypb.New(m)
	if err != nil {
		return err
	}
	f, err := c.Listener(&listenerv3.ListenerFilter{Name: name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: a}})
	if err != nil {
		return err
	}
	cfg.Filters = append(cfg.Filters, f)
	return nil
}

// useProxyProto tells whether the filter chains ask for the PROXY protocol. The
// header comes before a chain can be chosen, so all of them must.
func useProxyProto(p *listenerv3.Listener) (bool, error) {
	all := p.GetFilterChains()
	if d := p.GetDefaultFilterChain(); d != nil {
		all = append(all[:len(all):len(all)], d)
	}
	on := 0
	for _, ch := range all {
		if ch.GetUseProxyProto().GetValue() { //nolint:staticcheck // Still found in people's files.
			on++
		}
	}
	if on > 0 && on < len(all) {
		return false, errors.New("filter_chains: use_proxy_proto is set on some and not on all of them, but the header comes before a chain is chosen: set it on every filter chain, or add the listener filter envoy.filters.listener.proxy_protocol instead")
	}
	return on > 0, nil
}

func filter(f *listenerv3.ListenerFilter, c *Context) (Filter, error) {
	lf, err := c.Listener(f)
	if err != nil || f.GetFilterDisabled() == nil {
		return lf, err
	}
	off, err := predicate(f.GetFilterDisabled())
	if err != nil {
		return nil, fmt.Errorf("filter_disabled.%w", err)
	}
	return &gate{lf, off}, nil
}

// gate passes by a filter that is disabled for a connection.
type gate struct {
	Filter
	off func(*streaminfo.Connection) bool
}

// Accept runs the filter unless it is disabled.
func (g *gate) Accept(t *engine.Task, c *conn.Conn) error {
	if g.off(c.Info) {
		return nil
	}
	return g.Filter.Accept(t, c)
}

// predicate compiles a ListenerFilterChainMatchPredicate.
func predicate(p *listenerv3.ListenerFilterChainMatchPredicate) (func(*streaminfo.Connection) bool, error) {
	switch r := p.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_AnyMatch:
		if !r.AnyMatch {
			return nil, errors.New("any_match: must be true")
		}
		return func(*streaminfo.Connection) bool { return true }, nil
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		from, to := r.DestinationPortRange.GetStart(), r.DestinationPortRange.GetEnd()
		if from >= to {
			return nil, fmt.Errorf("destination_port_range: %d to %d holds no port: end is the first port after the range", from, to)
		}
		return func(c *streaminfo.Connection) bool {
			port := int32(c.Local.Port())
			return from <= port && port < to
		}, nil
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		in, err := predicate(r.NotMatch)
		if err != nil {
			return nil, fmt.Errorf("not_match.%w", err)
		}
		return func(c *streaminfo.Connection) bool { return !in(c) }, nil
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		return set("or_match", r.OrMatch, true)
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		return set("and_match", r.AndMatch, false)
	}
	return nil, errors.New("rule: one of any_match, or_match, and_match, not_match and destination_port_range is required")
}

// set is decided by the first rule whose outcome is decides.
func set(name string, s *listenerv3.ListenerFilterChainMatchPredicate_MatchSet, decides bool) (func(*streaminfo.Connection) bool, error) {
	if len(s.GetRules()) < 2 {
		return nil, fmt.Errorf("%s.rules: there must be two or more", name)
	}
	var in []func(*streaminfo.Connection) bool
	for i, r := range s.GetRules() {
		f, err := predicate(r)
		if err != nil {
			return nil, fmt.Errorf("%s.rules[%d].%w", name, i, err)
		}
		in = append(in, f)
	}
	return func(c *streaminfo.Connection) bool {
		for _, f := range in {
			if f(c) == decides {
				return decides
			}
		}
		return !decides
	}, nil
}
