// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/tcp/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/codec/h2/config"
	"weir.dev/weir/proxy/route"
)

const (
	httpOptionsName = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	tcpOptionsName  = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions"
)

// http compiles the protocol options: those of typed_extension_protocol_options, or
// the deprecated fields of the cluster itself.
func (k *compiler) http() {
	c, o := k.cluster, &k.out.Settings
	o.TCPIdleTimeout = 10 * time.Minute
	o.HTTP = HTTPOptions{
		IdleTimeout: time.Hour, MaxHeaders: 100, MaxResponseHeadersKB: 60,
	}
	o.MaxRequestsPerConnection = c.GetMaxRequestsPerConnection().GetValue() //nolint:staticcheck // deprecated, still read
	var typed *httpv3.HttpProtocolOptions
	for name, a := range c.GetTypedExtensionProtocolOptions() {
		path := fmt.Sprintf("typed_extension_protocol_options[%s]", name)
		switch name {
		case httpOptionsName, "envoy.upstreams.http.http_protocol_options":
			m := &httpv3.HttpProtocolOptions{}
			if err := a.UnmarshalTo(m); err != nil {
				k.fail(path, err.Error(), "use type "+httpOptionsName)
				continue
			}
			k.check(supported, path, m)
			k.validate(path, m)
			typed = m
			k.typedHTTP(path, m)
		case tcpOptionsName, "envoy.upstreams.tcp.tcp_protocol_options":
			m := &tcpv3.TcpProtocolOptions{}
			if err := a.UnmarshalTo(m); err != nil {
				k.fail(path, err.Error(), "use type "+tcpOptionsName)
				continue
			}
			k.check(supported, path, m)
			o.TCPIdleTimeout = duration(m.GetIdleTimeout(), o.TCPIdleTimeout)
		default:
			k.fail(path, "these protocol options are not known", "known are "+httpOptionsName+" and "+tcpOptionsName)
		}
	}
	k.deprecatedHTTP(typed != nil)
	k.upstreamConfig()
}

func (k *compiler) typedHTTP(path string, m *httpv3.HttpProtocolOptions) {
	h := &k.out.HTTP
	k.commonHTTP(m.GetCommonHttpProtocolOptions())
	k.inPlaceOfRoutes(path, m)
	k.httpFilters(path+".http_filters", m.GetHttpFilters())
	u := m.GetUpstreamHttpProtocolOptions()
	h.AutoSNI, h.AutoSANValidation, h.SNIHeader = u.GetAutoSni(), u.GetAutoSanValidation(), u.GetOverrideAutoSniHeader()
	var h1 *corev3.Http1ProtocolOptions
	var h2 *corev3.Http2ProtocolOptions
	switch v := m.GetUpstreamProtocolOptions().(type) {
	case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
		path += ".explicit_http_config"
		e := v.ExplicitHttpConfig
		h1, h2 = e.GetHttpProtocolOptions(), e.GetHttp2ProtocolOptions()
		if h2 != nil {
			h.Version = UseHTTP2
		}
	case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		path += ".use_downstream_protocol_config"
		e := v.UseDownstreamProtocolConfig
		h.Version, h1, h2 = UseDownstream, e.GetHttpProtocolOptions(), e.GetHttp2ProtocolOptions()
	case *httpv3.HttpProtocolOptions_AutoConfig:
		path += ".auto_config"
		e := v.AutoConfig
		h.Version, h1, h2 = UseALPN, e.GetHttpProtocolOptions(), e.GetHttp2ProtocolOptions()
	}
	k.http1(path+".http_protocol_options", h1)
	k.http2(path+".http2_protocol_options", h2)
}

// inPlaceOfRoutes compiles what the cluster says for all requests that come to it.
func (k *compiler) inPlaceOfRoutes(path string, m *httpv3.HttpProtocolOptions) {
	o, problems := route.CompileOverride(m.GetRetryPolicy(), m.GetRequestMirrorPolicies(), m.GetHashPolicy(), k.cx.Routes)
	for _, p := range problems {
		if p.Warning {
			k.warn(path+"."+p.Path, p.Reason, "")
		} else {
			k.fail(path+"."+p.Path, p.Reason, "")
		}
	}
	k.out.HTTP.Override = o
	if p := m.GetOutlierDetection().GetErrorMatcher(); p != nil {
		match, err := responsePredicate(p)
		if err != nil && !k.failed() { // The ledger refuses what is of no use, too.
			k.fail(path+".outlier_detection.error_matcher", err.Error(), "use http_response_headers_match")
		}
		if k.cluster.GetOutlierDetection() == nil {
			k.warn(path+".outlier_detection", "has no effect without outlier_detection of the cluster", "give that, or remove this")
		}
		k.out.HTTP.Errors = match
	}
}

// upstreamConfig takes the pools that there are: those that speak HTTP for requests and
// carry bytes for a TCP proxy and for CONNECT.
func (k *compiler) upstreamConfig() {
	a := k.cluster.GetUpstreamConfig().GetTypedConfig()
	switch a.MessageName() {
	case "", "envoy.extensions.upstreams.http.generic.v3.GenericConnectionPoolProto",
		"envoy.extensions.upstreams.http.http.v3.HttpConnectionPoolProto",
		"envoy.extensions.upstreams.tcp.generic.v3.GenericConnectionPoolProto":
	default:
		k.fail("upstream_config", fmt.Sprintf("%s is not supported", a.MessageName()),
			"remove it: requests are sent by HTTP, and what connect_config of a route ends here by TCP")
	}
}

// httpFilters compiles the filters that attempts pass.
func (k *compiler) httpFilters(path string, list []*hcmv3.HttpFilter) {
	if len(list) == 0 {
		return
	}
	if k.cx.Filters == nil {
		k.fail(path, "filters in front of hosts are not known", "remove the field")
		return
	}
	o := k.out
	chain, err := k.cx.Filters(list, path, o.statName(), func(f func()) { o.owned = append(o.owned, f) })
	if err != nil {
		at, reason, _ := strings.Cut(err.Error(), ": ")
		at, _, _ = strings.Cut(at, " ") // Without the filter's name, which the place tells.
		k.fail(at, reason, "")
		return
	}
	o.HTTP.Filters = chain
}

// deprecatedHTTP reads what the cluster has of its own, if no typed options overrule
// it.
func (k *compiler) deprecatedHTTP(overruled bool) {
	c, h := k.cluster, &k.out.HTTP
	//nolint:staticcheck // The fields are deprecated, and still read by Envoy.
	common, u, h1, h2, sel := c.GetCommonHttpProtocolOptions(), c.GetUpstreamHttpProtocolOptions(), c.GetHttpProtocolOptions(), c.GetHttp2ProtocolOptions(), c.GetProtocolSelection()
	if overruled {
		for name, set := range map[string]bool{
			"common_http_protocol_options": common != nil, "upstream_http_protocol_options": u != nil,
			"http_protocol_options": h1 != nil, "http2_protocol_options": h2 != nil,
			"protocol_selection": sel != clusterv3.Cluster_USE_CONFIGURED_PROTOCOL,
		} {
			if set {
				k.warn(name, "has no effect: typed_extension_protocol_options overrules it", "move it to "+httpOptionsName)
			}
		}
		return
	}
	k.commonHTTP(common)
	h.AutoSNI, h.AutoSANValidation, h.SNIHeader = u.GetAutoSni(), u.GetAutoSanValidation(), u.GetOverrideAutoSniHeader()
	switch {
	case sel == clusterv3.Cluster_USE_DOWNSTREAM_PROTOCOL:
		h.Version = UseDownstream
	case h2 != nil && h1 != nil:
		k.fail("http2_protocol_options", "both HTTP/1 and HTTP/2 options are given and neither is chosen",
			"set protocol_selection: USE_DOWNSTREAM_PROTOCOL or remove one")
	case h2 != nil:
		h.Version = UseHTTP2
	}
	k.http1("http_protocol_options", h1)
	k.http2("http2_protocol_options", h2)
}

func (k *compiler) commonHTTP(o *corev3.HttpProtocolOptions) {
	h := &k.out.HTTP
	h.IdleTimeout = duration(o.GetIdleTimeout(), h.IdleTimeout)
	h.MaxConnectionDuration = duration(o.GetMaxConnectionDuration(), 0)
	h.MaxConnectionDurationJitter = o.GetMaxConnectionDurationJitter().GetValue()
	h.MaxStreamDuration = duration(o.GetMaxStreamDuration(), 0)
	h.MaxHeaders = value(o.GetMaxHeadersCount(), h.MaxHeaders)
	h.MaxResponseHeadersKB = value(o.GetMaxResponseHeadersKb(), h.MaxResponseHeadersKB)
	if v := o.GetMaxRequestsPerConnection(); v != nil {
		k.out.MaxRequestsPerConnection = v.GetValue()
	}
}

func value(v *wrapperspb.UInt32Value, def uint32) uint32 {
	if v == nil {
		return def
	}
	return v.GetValue()
}

func (k *compiler) http1(path string, o *corev3.Http1ProtocolOptions) {
	h := &k.out.HTTP.HTTP1
	h.Trailers = o.GetEnableTrailers()
	h.AllowChunkedLength = o.GetAllowChunkedLength()
	h.FullyQualifiedURL = o.GetSendFullyQualifiedUrl()
	h.AllowCustomMethods = o.GetAllowCustomMethods()
	h.KeepOnStreamError = o.GetOverrideStreamErrorOnInvalidHttpMessage().GetValue()
	switch f := o.GetHeaderKeyFormat().GetHeaderFormat().(type) {
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_ProperCaseWords_:
		h.KeyFormat = KeyProperCase
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter:
		k.preserveCase(path+".header_key_format.stateful_formatter", f.StatefulFormatter.GetTypedConfig())
		h.KeyFormat = KeyPreserveCase
	}
}

func (k *compiler) preserveCase(path string, cfg *anypb.Any) {
	var p preservecasev3.PreserveCaseFormatterConfig
	switch err := cfg.UnmarshalTo(&p); {
	case err != nil:
		k.fail(path, fmt.Sprintf("formatter %q is not known", cfg.MessageName()), "use "+string(p.ProtoReflect().Descriptor().FullName()))
	case p.GetForwardReasonPhrase():
		k.fail(path+".typed_config.forward_reason_phrase", "reason phrases are the standard ones", "remove the field")
	case p.GetFormatterTypeOnEnvoyHeaders() != preservecasev3.PreserveCaseFormatterConfig_DEFAULT:
		k.fail(path+".typed_config.formatter_type_on_envoy_headers", "names added here are in lower case", "remove the field")
	}
}

// http2 compiles the options of HTTP/2, of which the limits of a response's head are
// those of every protocol.
func (k *compiler) http2(path string, p *corev3.Http2ProtocolOptions) {
	o, err := config.Upstream(p, path, k.ignored)
	if err != nil {
		k.failErr("", err)
	}
	h := &k.out.HTTP
	o.MaxHeadBytes, o.MaxHeaders = int(h.MaxResponseHeadersKB)<<10, int(h.MaxHeaders)
	h.HTTP2 = o
}
