// SPDX-License-Identifier: Apache-2.0

package cors

import (
	"fmt"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.cors"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:     Name,
		Config:   &corsv3.Cors{},
		New:      newFilter,
		Route:    &corsv3.CorsPolicy{},
		NewRoute: newPolicy,
	}
}

func newFilter(_ proto.Message, c *extension.HTTP) (stream.Filter, error) {
	return &Filter{
		name:    c.Name,
		slot:    c.Slot,
		runtime: c.Runtime,
		stats:   stats.Register[Stats](c.Scope.Scope("cors"), len(c.Loops)),
	}, nil
}

func newPolicy(cfg proto.Message, _ *extension.Services) (any, error) {
	m, ok := cfg.(*corsv3.CorsPolicy)
	if !ok {
		return nil, fmt.Errorf("%s: per-route configuration is a %s, not a CorsPolicy", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	p := &Policy{
		methods:     m.GetAllowMethods(),
		headers:     m.GetAllowHeaders(),
		expose:      m.GetExposeHeaders(),
		maxAge:      m.GetMaxAge(),
		credentials: optional(m.GetAllowCredentials()),
		private:     optional(m.GetAllowPrivateNetworkAccess()),
		forward:     optional(m.GetForwardNotMatchingPreflights()),
		enabled:     match.RuntimeFraction{Default: match.All},
	}
	origins, err := match.CompileStrings(m.GetAllowOriginStringMatch())
	if err != nil {
		return nil, fmt.Errorf("allow_origin_string_match%w", err)
	}
	p.setOrigins(origins)
	if f := m.GetFilterEnabled(); f != nil {
		p.enabled = match.CompileRuntimeFraction(f)
	}
	if f := m.GetShadowEnabled(); f != nil {
		p.shadow = match.CompileRuntimeFraction(f)
	}
	return p, nil
}

func optional(b *wrapperspb.BoolValue) toggle {
	switch {
	case b == nil:
		return unset
	case b.GetValue():
		return yes
	}
	return no
}
