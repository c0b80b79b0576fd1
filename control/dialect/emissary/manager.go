// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"net/netip"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	bridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_bridge/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
)

// socketOf is what a Listener has besides its chains.
func socketOf(in *install, services *services, l *listener) (filters map[string]proto.Message, o graph.Overlay) {
	if l.proxy {
		filters = map[string]proto.Message{build.ProxyProtocol: &proxyprotocolv3.ProxyProtocol{}}
	}
	m := &listenerv3.Listener{StatPrefix: l.statsPrefix, PerConnectionBufferLimitBytes: number(in.config.BufferLimitBytes)}
	if services.tracing != nil {
		m.TrafficDirection = corev3.TrafficDirection_OUTBOUND // Spans are called so.
	}
	return filters, graph.Overlay{Message: m}
}

// managerOf is the connection manager of a Listener, and its filters.
func managerOf(in *install, l *listener) (graph.Overlay, map[string]proto.Message) {
	c := &in.config
	m := &hcmv3.HttpConnectionManager{
		StatPrefix: l.statsPrefix, XffNumTrustedHops: uint32(l.depth), MergeSlashes: is(c.MergeSlashes),
		PreserveExternalRequestId: is(c.PreserveExternalRequestID),
	}
	// Emissary's paths are as they were written, unless the Module says otherwise.
	o := graph.Overlay{Message: m, Also: []string{"merge_slashes", "path_with_escaped_slashes_action", "upgrade_configs"}}
	if is(c.RejectEscapedSlashes) {
		m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_REJECT_REQUEST
	}
	if c.UseRemoteAddress != nil {
		m.UseRemoteAddress = wrapperspb.Bool(*c.UseRemoteAddress)
	}
	if c.ServerName != nil {
		m.ServerName = *c.ServerName
		o.Also = append(o.Also, "server_header_transformation")
	}
	if c.MaxRequestHeadersKB != nil {
		m.MaxRequestHeadersKb = number(c.MaxRequestHeadersKB)
	}
	common := &corev3.HttpProtocolOptions{IdleTimeout: msOf(c.ListenerIdleTimeout)}
	if a, ok := corev3.HttpProtocolOptions_HeadersWithUnderscoresAction_value[c.HeadersWithUnderscores]; ok {
		common.HeadersWithUnderscoresAction = corev3.HttpProtocolOptions_HeadersWithUnderscoresAction(a)
	}
	if proto.Size(common) > 0 {
		m.CommonHttpProtocolOptions = common
	}
	one := &corev3.Http1ProtocolOptions{AcceptHttp_10: is(c.EnableHTTP10), AllowChunkedLength: is(c.AllowChunkedLength)}
	if is(c.ProperCase) {
		one.HeaderKeyFormat = &corev3.Http1ProtocolOptions_HeaderKeyFormat{
			HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_ProperCaseWords_{ProperCaseWords: &corev3.Http1ProtocolOptions_HeaderKeyFormat_ProperCaseWords{}},
		}
	}
	if proto.Size(one) > 0 {
		m.HttpProtocolOptions = one
	}
	if l.streams != nil {
		m.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{MaxConcurrentStreams: number(l.streams)}
	}
	if log := readLog(c, func(string, string, string, ...any) {}); log != nil {
		m.AccessLog = []*accesslogv3.AccessLog{log}
	}
	clientCertificate(in, m)
	return o, filtersOf(in)
}

// clientCertificate says what backends are told of a client's certificate.
func clientCertificate(in *install, m *hcmv3.HttpConnectionManager) {
	if v, ok := hcmv3.HttpConnectionManager_ForwardClientCertDetails_value[in.config.ForwardClientCert]; ok {
		m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_ForwardClientCertDetails(v)
	}
	if set := in.config.SetCurrentClientCert; len(set) > 0 {
		m.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{
			Cert: set["cert"], Chain: set["chain"], Dns: set["dns"], Uri: set["uri"],
		}
		if set["subject"] {
			m.SetCurrentClientCertDetails.Subject = wrapperspb.Bool(true)
		}
	}
}

// filtersOf returns the HTTP filters that a Module asks for.
func filtersOf(in *install) map[string]proto.Message {
	out := map[string]proto.Message{}
	c := &in.config
	if is(c.EnableGRPCBridge) {
		out[build.GRPCHTTP1Bridge] = &bridgev3.Config{}
	}
	if c.EnableGRPCWeb == nil || *c.EnableGRPCWeb {
		out[build.GRPCWeb] = &grpcwebv3.GrpcWeb{}
	}
	if c.GRPCStats != nil {
		out[build.GRPCStats] = statsFilter(c.GRPCStats)
	}
	if c.Gzip != nil {
		out[build.Compressor] = c.Gzip.filter()
	}
	if c.Buffer != nil {
		out[build.Buffer] = &bufferv3.Buffer{MaxRequestBytes: wrapperspb.UInt32(c.Buffer.MaxRequestBytes)}
	}
	return out
}

func statsFilter(s *grpcStats) *grpcstatsv3.FilterConfig {
	out := &grpcstatsv3.FilterConfig{EnableUpstreamStats: s.UpstreamStats}
	if s.AllMethods {
		out.PerMethodStatSpecifier = &grpcstatsv3.FilterConfig_StatsForAllMethods{StatsForAllMethods: wrapperspb.Bool(true)}
		return out
	}
	list := &corev3.GrpcMethodList{}
	for _, svc := range s.Services {
		list.Services = append(list.Services, &corev3.GrpcMethodList_Service{Name: svc.Name, MethodNames: svc.MethodNames})
	}
	out.PerMethodStatSpecifier = &grpcstatsv3.FilterConfig_IndividualMethodStatsAllowlist{IndividualMethodStatsAllowlist: list}
	return out
}

// allowed returns the network filter that lets in whom the Module allows, or all but
// whom it denies.
func allowed(in *install) map[string]proto.Message {
	list, action := in.config.IPAllow, rbacv3.RBAC_ALLOW
	if len(list) == 0 {
		list, action = in.config.IPDeny, rbacv3.RBAC_DENY
	}
	switch {
	case in.closed:
		// An allowance that has no policies is for nobody.
		return map[string]proto.Message{build.NetworkRBAC: &networkrbacv3.RBAC{StatPrefix: rbacStats(in), Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW}}}
	case len(list) == 0:
		return nil
	}
	policy := &rbacv3.Policy{Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}}}
	for _, p := range list {
		id := &rbacv3.Principal{}
		if p.Peer != "" {
			id.Identifier = &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: rangeOf(p.Peer)}
		} else {
			id.Identifier = &rbacv3.Principal_RemoteIp{RemoteIp: rangeOf(p.Remote)}
		}
		policy.Principals = append(policy.Principals, id)
	}
	return map[string]proto.Message{build.NetworkRBAC: &networkrbacv3.RBAC{
		StatPrefix: rbacStats(in),
		Rules:      &rbacv3.RBAC{Action: action, Policies: map[string]*rbacv3.Policy{"addresses": policy}},
	}}
}

func rbacStats(in *install) string { return "emissary_" + in.name + "." }

// unguarded tells why a Listener cannot be served as the Module asks, or is nil: who a
// client is behind proxies of HTTP is not known when it connects.
func unguarded(in *install, l *listener) *graph.Problem {
	if l.depth == 0 {
		return nil
	}
	for _, p := range append(in.config.IPAllow, in.config.IPDeny...) {
		if p.Remote != "" {
			out := graph.Problemf("spec.l7Depth", reasonUnsupported,
				"the Module's ip_allow and ip_deny can tell remote %s from others only where there is no proxy of HTTP in front: set l7Depth to 0, or use peer; until then the port is not served", p.Remote)
			return &out
		}
	}
	return nil
}

// rangeOf reads a range of addresses, or one. It has been checked.
func rangeOf(text string) *corev3.CidrRange {
	p, _ := parseRange(text)
	return &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}
}

func parseRange(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}
