// SPDX-License-Identifier: Apache-2.0

package customresponse

import (
	"errors"
	"fmt"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	customresponsev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/custom_response/v3"
	localresponsepolicyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/local_response_policy/v3"
	redirectpolicyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/redirect_policy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.custom_response"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: Name, Config: &customresponsev3.CustomResponse{}, New: newFilter, Route: &customresponsev3.CustomResponse{}, NewRoute: newRoute,
	}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	r, err := compile(cfg, c.Services)
	if err != nil {
		return nil, err
	}
	return &Filter{
		name: c.Name, slot: c.Slot, rules: r,
		noRoute: c.Scope.Counter("custom_response_redirect_no_route"), invalidURI: c.Scope.Counter("custom_response_invalid_uri"),
	}, nil
}

func newRoute(cfg proto.Message, s *extension.Services) (any, error) { return compile(cfg, s) }

func compile(cfg proto.Message, s *extension.Services) (*Rules, error) {
	m, ok := cfg.(*customresponsev3.CustomResponse)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a CustomResponse", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if m.GetCustomResponseMatcher() == nil {
		return &Rules{}, nil
	}
	out := &Rules{}
	tree, err := match.CompileTree(m.GetCustomResponseMatcher(), match.TreeContext[*policy]{
		Action: func(a match.ActionConfig) (*policy, error) {
			x, r := &localresponsepolicyv3.LocalResponsePolicy{}, &redirectpolicyv3.RedirectPolicy{}
			if a.Any().MessageIs(r) {
				out.redirect = true
				if err := a.Any().UnmarshalTo(r); err != nil {
					return nil, err
				}
				return newRedirect(r, s)
			}
			if err := a.Any().UnmarshalTo(x); err != nil {
				return nil, fmt.Errorf("%s is not a custom response: use envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy", a.Any().MessageName())
			}
			return newPolicy(x, s)
		},
		Input: func(c *xdscorev3.TypedExtensionConfig) (match.Input, error) {
			if c.GetTypedConfig().MessageIs(&matcherv3.HttpResponseLocalReplyMatchInput{}) {
				return local{}, nil
			}
			return nil, fmt.Errorf("input %q of type %q is not supported", c.GetName(), c.GetTypedConfig().GetTypeUrl())
		},
		Runtime: s.Runtime,
	})
	if err != nil {
		return nil, fmt.Errorf("custom_response_matcher: %w", err)
	}
	out.tree = tree
	return out, nil
}

func newPolicy(m *localresponsepolicyv3.LocalResponsePolicy, s *extension.Services) (*policy, error) {
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	out := &policy{status: int(m.GetStatusCode().GetValue()), details: m.GetResponseCodeDetails(), keep: m.GetPreserveResponseCodeDetails()}
	var err error
	if d := m.GetBody(); d != nil {
		if out.body, err = text(d); err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
	}
	if f := m.GetBodyFormat(); f != nil {
		l := format.Loader{Options: format.Options{Hostname: s.Node.Hostname, Multiline: true}}
		if out.format, err = l.Load(f); err != nil {
			return nil, fmt.Errorf("body_format: %w", err)
		}
	}
	out.headers, err = route.CompileHeaders("response_headers_to_add", m.GetResponseHeadersToAdd(), formats(s))
	return out, err
}

// formats compiles the values of headers.
func formats(s *extension.Services) route.Context {
	return route.Context{CompileFormat: func(value string) (route.Formatter, error) {
		return format.Compile(value, format.Options{OmitEmpty: true, Hostname: s.Node.Hostname})
	}}
}

// text is a body that stands in the configuration.
func text(d *corev3.DataSource) (string, error) {
	switch v := d.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		return v.InlineString, nil
	case *corev3.DataSource_InlineBytes:
		return string(v.InlineBytes), nil
	}
	return "", errors.New("use inline_string, or for a file body_format.text_format_source")
}
