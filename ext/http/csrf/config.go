// SPDX-License-Identifier: Apache-2.0

package csrf

import (
	"fmt"

	csrfv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/csrf/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.csrf"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:   Name,
		Config: &csrfv3.CsrfPolicy{},
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			p, err := compile(cfg)
			if err != nil {
				return nil, err
			}
			return &Filter{
				name: c.Name, own: p, runtime: c.Runtime,
				stats: stats.Register[Stats](c.Scope.Scope("csrf"), len(c.Loops)),
			}, nil
		},
		Route:    &csrfv3.CsrfPolicy{},
		NewRoute: func(cfg proto.Message, _ *extension.Services) (any, error) { return compile(cfg) },
	}
}

func compile(cfg proto.Message) (*Policy, error) {
	m, ok := cfg.(*csrfv3.CsrfPolicy)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a CsrfPolicy", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	origins, err := match.CompileStrings(m.GetAdditionalOrigins())
	if err != nil {
		return nil, fmt.Errorf("additional_origins%w", err)
	}
	p := &Policy{origins: origins, enabled: match.CompileRuntimeFraction(m.GetFilterEnabled())}
	if f := m.GetShadowEnabled(); f != nil {
		p.shadow = match.CompileRuntimeFraction(f)
	}
	return p, nil
}
