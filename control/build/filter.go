// SPDX-License-Identifier: Apache-2.0

package build

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	statefulsessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// The names of HTTP filters, which routes configure them by.
const (
	HeaderMutation     = "envoy.filters.http.header_mutation"
	CustomResponse     = "envoy.filters.http.custom_response"
	HealthCheck        = "envoy.filters.http.health_check"
	Fault              = "envoy.filters.http.fault"
	CORS               = "envoy.filters.http.cors"
	CSRF               = "envoy.filters.http.csrf"
	ExtAuthz           = "envoy.filters.http.ext_authz"
	APIKeyAuth         = "envoy.filters.http.api_key_auth"
	BasicAuth          = "envoy.filters.http.basic_auth"
	OAuth2             = "envoy.filters.http.oauth2"
	ExtProc            = "envoy.filters.http.ext_proc"
	JWTAuthn           = "envoy.filters.http.jwt_authn"
	RBAC               = "envoy.filters.http.rbac"
	LocalRateLimit     = "envoy.filters.http.local_ratelimit"
	RateLimit          = "envoy.filters.http.ratelimit"
	BandwidthLimit     = "envoy.filters.http.bandwidth_limit"
	GRPCWeb            = "envoy.filters.http.grpc_web"
	GRPCHTTP1Bridge    = "envoy.filters.http.grpc_http1_bridge"
	GRPCStats          = "envoy.filters.http.grpc_stats"
	Buffer             = "envoy.filters.http.buffer"
	CredentialInjector = "envoy.filters.http.credential_injector"
	StatefulSession    = "envoy.filters.http.stateful_session"
	Compressor         = "envoy.filters.http.compressor"
	AdmissionControl   = "envoy.filters.http.admission_control"
	// DynamicForwardProxy looks up the hosts that requests name.
	DynamicForwardProxy = "envoy.filters.http.dynamic_forward_proxy"
	Router              = "envoy.filters.http.router"
)

// Instance is the name of a filter at another's place in the chain, beside it: for what
// cannot be said by routes alone.
func Instance(filter, name string) string { return filter + "/" + name }

// The names of filters of listeners and connections.
const (
	ProxyProtocol   = "envoy.filters.listener.proxy_protocol"
	Inspector       = "envoy.filters.listener.tls_inspector"
	ConnectionLimit = "envoy.filters.network.connection_limit"
	NetworkRBAC     = "envoy.filters.network.rbac"
	// SNIDynamicForwardProxy looks up the hosts that TLS clients ask for.
	SNIDynamicForwardProxy = "envoy.filters.network.sni_dynamic_forward_proxy"
	HTTPManager            = "envoy.filters.network.http_connection_manager"
	TCPProxying            = "envoy.filters.network.tcp_proxy"
)

// Dynamic has a route's hosts looked up: those that requests name, or as the route
// rewrites it to a text, or to a header.
func Dynamic(host, fromHeader string) *anypb.Any {
	out := &dfpv3.PerRouteConfig{}
	switch {
	case host != "":
		out.HostRewriteSpecifier = &dfpv3.PerRouteConfig_HostRewriteLiteral{HostRewriteLiteral: host}
	case fromHeader != "":
		out.HostRewriteSpecifier = &dfpv3.PerRouteConfig_HostRewriteHeader{HostRewriteHeader: fromHeader}
	}
	return Any(out)
}

// CookieSession keeps a client at one host by a cookie. A lifetime of 0 is that of
// the browser's session.
func CookieSession(name, path string, lifetime time.Duration) *anypb.Any {
	cookie := &httpv3.Cookie{Name: name, Path: path}
	if lifetime > 0 {
		cookie.Ttl = duration(lifetime)
	}
	return session(Extension("envoy.http.stateful_session.cookie", &cookiev3.CookieBasedSessionState{Cookie: cookie}))
}

// HeaderSession keeps a client at one host by a header.
func HeaderSession(name string) *anypb.Any {
	return session(Extension("envoy.http.stateful_session.header", &headerv3.HeaderBasedSessionState{Name: name}))
}

func session(state *corev3.TypedExtensionConfig) *anypb.Any {
	return Any(&statefulsessionv3.StatefulSessionPerRoute{Override: &statefulsessionv3.StatefulSessionPerRoute_StatefulSession{
		StatefulSession: &statefulsessionv3.StatefulSession{SessionState: state},
	}})
}
