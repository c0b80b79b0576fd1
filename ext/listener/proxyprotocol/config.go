// SPDX-License-Identifier: Apache-2.0

package proxyprotocol

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/stats"
)

// Name is Envoy's canonical name, and the namespace of metadata that no rule
// gives one.
const Name = "envoy.filters.listener.proxy_protocol"

// Extension returns the filter's place in a registry.
func Extension() extension.ListenerFilter {
	return extension.ListenerFilter{Name: Name, Config: &proxyprotocolv3.ProxyProtocol{}, New: newFilter}
}

func newFilter(cfg proto.Message, c *extension.Network) (listener.Filter, error) {
	m, ok := cfg.(*proxyprotocolv3.ProxyProtocol)
	if !ok {
		return nil, fmt.Errorf("configuration is a %s, not a ProxyProtocol", cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	f := &filter{optional: m.GetAllowRequestsWithoutProxyProtocol(), inState: m.GetTlvLocation() == proxyprotocolv3.ProxyProtocol_FILTER_STATE}
	var err error
	if f.rules, err = rules(m.GetRules()); err != nil {
		return nil, err
	}
	f.pass = pass(m.GetPassThroughTlvs())
	for i, v := range m.GetDisallowedVersions() {
		switch v {
		case corev3.ProxyProtocolConfig_V1:
			f.disallowed[1] = true
		case corev3.ProxyProtocolConfig_V2:
			f.disallowed[2] = true
		default:
			return nil, fmt.Errorf("disallowed_versions[%d]: %d is no version", i, v)
		}
	}
	if f.disallowed[1] && f.disallowed[2] {
		return nil, errors.New("disallowed_versions: every version is disallowed, so no connection could be served: remove one, or the filter")
	}
	prefix := "proxy_proto."
	if p := m.GetStatPrefix(); p != "" {
		prefix += p + "."
	}
	f.stats = stats.Register[Stats](c.Stats.Scope(prefix), len(c.Loops))
	f.errors = stats.Register[errorStats](c.Stats.Scope(""), len(c.Loops))
	c.Own(f.stats.Close)
	c.Own(f.errors.Close)
	return f, nil
}

func rules(list []*proxyprotocolv3.ProxyProtocol_Rule) (map[byte]rule, error) {
	out := map[byte]rule{}
	for i, r := range list {
		p := r.GetOnTlvPresent()
		if p == nil {
			continue // As in Envoy, a rule without an effect.
		}
		to := rule{namespace: p.GetMetadataNamespace(), key: p.GetKey()}
		if to.namespace == "" {
			to.namespace = Name
		}
		switch e := p.GetValueStringEncoding(); e {
		case proxyprotocolv3.ProxyProtocol_KeyValuePair_UNSPECIFIED, proxyprotocolv3.ProxyProtocol_KeyValuePair_SANITIZED_UTF8:
		case proxyprotocolv3.ProxyProtocol_KeyValuePair_BASE64:
			to.base64 = true
		default:
			return nil, fmt.Errorf("rules[%d].on_tlv_present.value_string_encoding: %d is not known", i, e)
		}
		out[byte(r.GetTlvType())] = to // Envoy's message allows for no more than 255.
	}
	return out, nil
}

// pass tells which TLVs are kept for those who write a header upstream.
func pass(m *corev3.ProxyProtocolPassThroughTLVs) (in [256]bool) {
	if m == nil {
		return in
	}
	for i := range in {
		in[i] = m.GetMatchType() == corev3.ProxyProtocolPassThroughTLVs_INCLUDE_ALL
	}
	for _, t := range m.GetTlvType() {
		in[byte(t)] = true
	}
	return in
}
