// SPDX-License-Identifier: Apache-2.0

package basicauth

import (
	_ "embed"
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	basicauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/basic_auth/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/internal/htpasswd"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.basic_auth"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:   Name,
		Config: &basicauthv3.BasicAuth{},
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			m, ok := cfg.(*basicauthv3.BasicAuth)
			if !ok {
				return nil, fmt.Errorf("%s: configuration is a %s, not a BasicAuth", Name, cfg.ProtoReflect().Descriptor().FullName())
			}
			return newFilter(m, c)
		},
		Route: &basicauthv3.BasicAuthPerRoute{},
		NewRoute: func(cfg proto.Message, s *extension.Services) (any, error) {
			m, ok := cfg.(*basicauthv3.BasicAuthPerRoute)
			if !ok {
				return nil, fmt.Errorf("%s: configuration is a %s, not a BasicAuthPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
			}
			if err := supported.Apply(m, "", s.Warn("basic auth of a route")); err != nil {
				return nil, err
			}
			if err := m.ValidateAll(); err != nil {
				return nil, err
			}
			return settings(m.GetUsers(), m.GetRealm(), s)
		},
	}
}

func newFilter(m *basicauthv3.BasicAuth, c *extension.HTTP) (*Filter, error) {
	if err := supported.Apply(m, "", c.Warn("basic auth filter")); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	if m.GetAllowMissing() && !m.GetEmitDynamicMetadata() {
		return nil, errors.New("allow_missing: needs emit_dynamic_metadata: nothing else tells the filters that follow who was let through")
	}
	own, err := settings(m.GetUsers(), m.GetRealm(), c.Services)
	if err != nil {
		return nil, err
	}
	f := &Filter{
		name: c.Name, own: own, from: header.Authorization, missing: m.GetAllowMissing(), emit: m.GetEmitDynamicMetadata(),
		stats: stats.Register[Stats](c.Scope.Scope("basic_auth"), len(c.Loops)),
	}
	c.Own(f.stats.Close)
	if n := m.GetAuthenticationHeader(); n != "" {
		if f.from, err = header.ParseName(n); err != nil {
			return nil, fmt.Errorf("authentication_header: %w", err)
		}
	}
	if n := m.GetForwardUsernameHeader(); n != "" {
		if f.forward, err = header.ParseName(n); err != nil {
			return nil, fmt.Errorf("forward_username_header: %w", err)
		}
	}
	return f, nil
}

func settings(users *corev3.DataSource, realm string, s *extension.Services) (*Settings, error) {
	slot, err := s.Secrets.Data(users)
	if err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	list, err := secret.NewParsed(slot, func(v *secret.Value) (htpasswd.Users, error) { return htpasswd.Parse(v.Generic[""]) }, s.Log("basic_auth"))
	if err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	return &Settings{users: list, realm: realm}, nil
}
