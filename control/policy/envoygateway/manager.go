// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"net/netip"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	customheaderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/custom_header/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/policy/envoygateway/cluster"
)

// manager says how HTTP is spoken.
func (x *clientReader) manager(spec *api.ClientTrafficPolicySpec) *hcmv3.HttpConnectionManager {
	m := &hcmv3.HttpConnectionManager{}
	common := &corev3.HttpProtocolOptions{}
	x.detection(spec.ClientIPDetection, m)
	x.path(spec.Path, m)
	x.headers(spec.Headers, m, common)
	if t := spec.Timeout; t != nil && t.HTTP != nil {
		m.RequestTimeout = x.Duration("timeout.http.requestReceivedTimeout", t.HTTP.RequestReceivedTimeout)
		m.RequestHeadersTimeout = x.Duration("timeout.http.requestHeadersReceivedTimeout", t.HTTP.RequestHeadersReceivedTimeout)
		m.StreamIdleTimeout = x.Duration("timeout.http.streamIdleTimeout", t.HTTP.StreamIdleTimeout)
		common.IdleTimeout = x.Duration("timeout.http.idleTimeout", t.HTTP.IdleTimeout)
	}
	if k := spec.Connection; k != nil && k.ConnectionLimit != nil {
		n := k.ConnectionLimit
		common.MaxConnectionDuration = x.Duration("connection.connectionLimit.maxConnectionDuration", n.MaxConnectionDuration)
		common.MaxStreamDuration = x.Duration("connection.connectionLimit.maxStreamDuration", n.MaxStreamDuration)
		if n.MaxRequestsPerConnection != nil {
			common.MaxRequestsPerConnection = wrapperspb.UInt32(*n.MaxRequestsPerConnection)
		}
	}
	if proto.Size(common) > 0 {
		m.CommonHttpProtocolOptions = common
	}
	x.http1(spec.HTTP1, m)
	m.Http2ProtocolOptions = cluster.HTTP2(&x.Sheet, "http2", spec.HTTP2)
	if spec.HTTP3 != nil {
		x.Note("http3", "is not supported: HTTP/3 is not served yet")
	}
	switch s := ptr.Deref(spec.Scheme, ""); s {
	case "", "Preserve":
	case "MatchBackend":
		m.SchemeHeaderTransformation = &corev3.SchemeHeaderTransformation{MatchUpstream: true}
	default:
		x.Bad("scheme", "is %q: there are Preserve and MatchBackend", s)
	}
	x.web(spec)
	return m
}

// detection says who the client is.
func (x *clientReader) detection(d *api.ClientIPDetection, m *hcmv3.HttpConnectionManager) {
	if d == nil {
		return
	}
	if d.DirectSourceIP != nil {
		x.Note("clientIPDetection.directSourceIP", "is not supported: nothing tells where addresses are, which it is for")
	}
	f, h := d.XForwardedFor, d.CustomHeader
	if f != nil && h != nil {
		x.Bad("clientIPDetection", "give one of xForwardedFor and customHeader")
		return
	}
	if f != nil {
		m.SkipXffAppend = ptr.Deref(f.DisableXForwardedForAppend, false)
		switch {
		case f.NumTrustedHops != nil && len(f.TrustedCIDRs) > 0:
			x.Bad("clientIPDetection.xForwardedFor.trustedCIDRs", "numTrustedHops is given, too: remove one")
		case f.NumTrustedHops != nil:
			m.XffNumTrustedHops = *f.NumTrustedHops
		case len(f.TrustedCIDRs) > 0:
			ranges := &xffv3.XffTrustedCidrs{}
			for i, text := range f.TrustedCIDRs {
				p, err := netip.ParsePrefix(text)
				if err != nil {
					x.Bad(fmt.Sprintf("clientIPDetection.xForwardedFor.trustedCIDRs[%d]", i), "%q is not a range of addresses, such as 10.0.0.0/8", text)
					continue
				}
				ranges.Cidrs = append(ranges.Cidrs, &corev3.CidrRange{AddressPrefix: p.Masked().Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))})
			}
			x.detectBy(m, build.Extension("envoy.http.original_ip_detection.xff", &xffv3.XffConfig{
				XffTrustedCidrs: ranges, SkipXffAppend: wrapperspb.Bool(ptr.Deref(f.DisableXForwardedForAppend, false)),
			}))
		}
	}
	if h != nil {
		if !validHeader(h.Name) {
			x.Bad("clientIPDetection.customHeader.name", "%q is not the name of a header", h.Name)
			return
		}
		config := &customheaderv3.CustomHeaderConfig{HeaderName: h.Name, AllowExtensionToSetAddressAsTrusted: true}
		if ptr.Deref(h.FailClosed, false) {
			config.RejectWithStatus = &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}
		}
		x.detectBy(m, build.Extension("envoy.http.original_ip_detection.custom_header", config))
	}
}

// detectBy has an extension tell who the client is, rather than its connection.
func (x *clientReader) detectBy(m *hcmv3.HttpConnectionManager, e *corev3.TypedExtensionConfig) {
	m.OriginalIpDetectionExtensions = []*corev3.TypedExtensionConfig{e}
	m.UseRemoteAddress = wrapperspb.Bool(false)
	x.Manager.Also = append(x.Manager.Also, "use_remote_address")
}

func (x *clientReader) path(p *api.PathSettings, m *hcmv3.HttpConnectionManager) {
	if p == nil {
		return
	}
	actions := map[string]hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction{
		"KeepUnchanged": hcmv3.HttpConnectionManager_KEEP_UNCHANGED, "RejectRequest": hcmv3.HttpConnectionManager_REJECT_REQUEST,
		"UnescapeAndRedirect": hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT, "UnescapeAndForward": hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD,
	}
	if p.EscapedSlashesAction != nil {
		action, ok := actions[*p.EscapedSlashesAction]
		if !ok {
			x.Bad("path.escapedSlashesAction", "is %q: there are KeepUnchanged, RejectRequest, UnescapeAndForward and UnescapeAndRedirect", *p.EscapedSlashesAction)
		}
		m.PathWithEscapedSlashesAction = action
	}
	if ptr.Deref(p.DisableMergeSlashes, false) {
		x.Manager.Also = append(x.Manager.Also, "merge_slashes")
	}
}

// kibibyte is the unit of the limit of heads.
const kibibyte = 1 << 10

// headers says what becomes of those of requests and responses.
func (x *clientReader) headers(h *api.HeaderSettings, m *hcmv3.HttpConnectionManager, common *corev3.HttpProtocolOptions) {
	if h == nil {
		return
	}
	if h.EnableEnvoyHeaders != nil && !*h.EnableEnvoyHeaders {
		x.Filters[build.Router] = &routerv3.Router{SuppressEnvoyHeaders: true}
	}
	x.Quiet = ptr.Deref(h.DisableRateLimitHeaders, false)
	x.clientCert(h.XForwardedClientCert, m)
	switch v := ptr.Deref(h.WithUnderscoresAction, ""); v {
	case "":
	case "Allow":
		common.HeadersWithUnderscoresAction = corev3.HttpProtocolOptions_ALLOW
	case "RejectRequest":
		common.HeadersWithUnderscoresAction = corev3.HttpProtocolOptions_REJECT_REQUEST
	case "DropHeader":
		common.HeadersWithUnderscoresAction = corev3.HttpProtocolOptions_DROP_HEADER
	default:
		x.Bad("headers.withUnderscoresAction", "is %q: there are Allow, RejectRequest and DropHeader", v)
	}
	x.requestID(h, m)
	if early := h.EarlyRequestHeaders; early != nil {
		m.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{{
			Name:        "envoy.http.early_header_mutation.header_mutation",
			TypedConfig: build.Any(&earlyv3.HeaderMutation{Mutations: x.mutations("headers.earlyRequestHeaders", early)}),
		}}
	}
	if late := h.LateResponseHeaders; late != nil {
		x.Filters[build.HeaderMutation] = &headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{ResponseMutations: x.mutations("headers.lateResponseHeaders", late)}}
	}
	if h.Host != nil {
		m.StripTrailingHostDot = ptr.Deref(h.Host.StripTrailingHostDot, false)
	}
	if q := h.MaxRequestHeaderLimit; q != nil {
		const most = 8192
		n := (q.Value() + kibibyte - 1) / kibibyte
		if q.Value() < kibibyte || n > most {
			x.Bad("headers.maxRequestHeaderLimit", "%s is not a size from 1Ki to %dKi", q.String(), most)
			return
		}
		m.MaxRequestHeadersKb = wrapperspb.UInt32(uint32(n))
	}
}

func (x *clientReader) requestID(h *api.HeaderSettings, m *hcmv3.HttpConnectionManager) {
	generate := true
	switch v := ptr.Deref(h.RequestID, ""); v {
	case "":
		m.PreserveExternalRequestId = ptr.Deref(h.PreserveXRequestID, false)
		return
	case "PreserveOrGenerate":
		m.PreserveExternalRequestId = true
	case "Preserve":
		generate, m.PreserveExternalRequestId = false, true
	case "Generate":
	case "Disable":
		generate = false
	default:
		x.Bad("headers.requestID", "is %q: there are PreserveOrGenerate, Preserve, Generate and Disable", v)
	}
	m.GenerateRequestId = wrapperspb.Bool(generate)
}

// clientCert tells backends of the client's certificate.
func (x *clientReader) clientCert(f *api.XForwardedClientCert, m *hcmv3.HttpConnectionManager) {
	if f == nil {
		return
	}
	modes := map[string]hcmv3.HttpConnectionManager_ForwardClientCertDetails{
		"Sanitize": hcmv3.HttpConnectionManager_SANITIZE, "ForwardOnly": hcmv3.HttpConnectionManager_FORWARD_ONLY,
		"AppendForward": hcmv3.HttpConnectionManager_APPEND_FORWARD, "SanitizeSet": hcmv3.HttpConnectionManager_SANITIZE_SET,
		"AlwaysForwardOnly": hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY,
	}
	mode, ok := modes[ptr.Deref(f.Mode, "Sanitize")]
	if !ok {
		x.Bad("headers.xForwardedClientCert.mode", "is %q: there are Sanitize, ForwardOnly, AppendForward, SanitizeSet and AlwaysForwardOnly", *f.Mode)
	}
	m.ForwardClientCertDetails = mode
	if len(f.CertDetailsToAdd) == 0 {
		return
	}
	if mode != hcmv3.HttpConnectionManager_APPEND_FORWARD && mode != hcmv3.HttpConnectionManager_SANITIZE_SET {
		x.Note("headers.xForwardedClientCert.certDetailsToAdd", "has no effect: it is for the modes AppendForward and SanitizeSet")
	}
	d := &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{}
	for i, name := range f.CertDetailsToAdd {
		switch name {
		case "Subject":
			d.Subject = wrapperspb.Bool(true)
		case "Cert":
			d.Cert = true
		case "Chain":
			d.Chain = true
		case "DNS":
			d.Dns = true
		case "URI":
			d.Uri = true
		default:
			x.Bad(fmt.Sprintf("headers.xForwardedClientCert.certDetailsToAdd[%d]", i), "is %q: there are Subject, Cert, Chain, DNS and URI", name)
		}
	}
	m.SetCurrentClientCertDetails = d
}

// host tells whether a header is the one that each request has.
func host(name string) bool { return strings.EqualFold(name, "host") }

// mutations change headers.
func (x *clientReader) mutations(at string, f *api.HeaderFilter) []*mutationv3.HeaderMutation {
	var out []*mutationv3.HeaderMutation
	put := func(field, name, value string, action corev3.HeaderValueOption_HeaderAppendAction) {
		if !validHeader(name) {
			x.Bad(at+"."+field, "%q is not the name of a header", name)
		}
		if host(name) && action == corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
			x.Bad(at+"."+field, "host has one value: set it")
		}
		if strings.ContainsAny(value, "\r\n\x00") {
			x.Bad(at+"."+field, "the value of %s has line breaks", name)
		}
		h := build.SetHeaders(false, [2]string{name, value})[0]
		h.AppendAction = action
		out = append(out, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: h}})
	}
	for _, h := range f.Set {
		put("set", string(h.Name), h.Value, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	for _, h := range f.Add {
		put("add", string(h.Name), h.Value, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
	for _, h := range f.AddIfAbsent {
		put("addIfAbsent", string(h.Name), h.Value, corev3.HeaderValueOption_ADD_IF_ABSENT)
	}
	for _, name := range f.Remove {
		if !validHeader(name) {
			x.Bad(at+".remove", "%q is not the name of a header", name)
		}
		if host(name) {
			x.Bad(at+".remove", "host cannot be removed: no request is without it")
		}
		out = append(out, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: name}})
	}
	for i, match := range f.RemoveOnMatch {
		if key := stringMatch(&x.Sheet, fmt.Sprintf("%s.removeOnMatch[%d]", at, i), match); key != nil {
			out = append(out, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{KeyMatcher: key}}})
		}
	}
	return out
}

func (x *clientReader) http1(h *api.HTTP1, m *hcmv3.HttpConnectionManager) {
	if h == nil {
		return
	}
	out := &corev3.Http1ProtocolOptions{EnableTrailers: ptr.Deref(h.EnableTrailers, false), AcceptHttp_10: h.HTTP10 != nil}
	if ptr.Deref(h.PreserveHeaderCase, false) {
		out.HeaderKeyFormat = &corev3.Http1ProtocolOptions_HeaderKeyFormat{HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{
			StatefulFormatter: build.Extension("envoy.http.stateful_header_formatters.preserve_case", &preservecasev3.PreserveCaseFormatterConfig{}),
		}}
	}
	x.DefaultHost = h.HTTP10 != nil && ptr.Deref(h.HTTP10.UseDefaultHost, false)
	x.Unsupported("http1.disableSafeMaxConnectionDuration", h.DisableSafeMaxConnectionDuration, "a connection always finishes its request first")
	x.Unsupported("http1.ignoredUpgradeTypes", h.IgnoredUpgradeTypes, "upgrades of types that routes do not name are ignored already; take a type out of httpUpgrade of a BackendTrafficPolicy")
	if proto.Size(out) > 0 {
		m.HttpProtocolOptions = out
	}
}
