// SPDX-License-Identifier: Apache-2.0

package build

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	statefulsessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The names of HTTP filters, which routes configure them by.
const (
	CORS            = "envoy.filters.http.cors"
	StatefulSession = "envoy.filters.http.stateful_session"
	Router          = "envoy.filters.http.router"
)

// Filters returns the HTTP filters of every connection manager, in their order. They
// do nothing unless a route says so: that a route begins to use one changes no
// listener.
//
//	cors              first: a preflight has no credentials and no session
//	stateful_session  after all that may refuse a request
//	router            ends the chain
func Filters() []*hcmv3.HttpFilter {
	filter := func(name string, m proto.Message) *hcmv3.HttpFilter {
		return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: Any(m)}}
	}
	return []*hcmv3.HttpFilter{
		filter(CORS, &corsv3.Cors{}),
		filter(StatefulSession, &statefulsessionv3.StatefulSession{}),
		filter(Router, &routerv3.Router{}),
	}
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
