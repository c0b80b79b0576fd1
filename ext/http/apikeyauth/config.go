// SPDX-License-Identifier: Apache-2.0

package apikeyauth

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"

	apikeyauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.api_key_auth"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:   Name,
		Config: &apikeyauthv3.ApiKeyAuth{},
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			m, ok := cfg.(*apikeyauthv3.ApiKeyAuth)
			if !ok {
				return nil, fmt.Errorf("%s: configuration is a %s, not an ApiKeyAuth", Name, cfg.ProtoReflect().Descriptor().FullName())
			}
			own, err := compile(m, c.Services, nil)
			if err != nil {
				return nil, err
			}
			f := &Filter{name: c.Name, own: own, stats: stats.Register[Stats](c.Scope.Scope("api_key_auth"), len(c.Loops))}
			c.Own(f.stats.Close)
			return f, nil
		},
		Route: &apikeyauthv3.ApiKeyAuthPerRoute{},
		NewRoute: func(cfg proto.Message, s *extension.Services) (any, error) {
			m, ok := cfg.(*apikeyauthv3.ApiKeyAuthPerRoute)
			if !ok {
				return nil, fmt.Errorf("%s: configuration is a %s, not an ApiKeyAuthPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
			}
			return compile(m, s, m.GetAllowedClients())
		},
	}
}

// config is what both messages have.
type config interface {
	proto.Message
	GetCredentials() []*apikeyauthv3.Credential
	GetKeySources() []*apikeyauthv3.KeySource
	GetForwarding() *apikeyauthv3.Forwarding
	ValidateAll() error
}

func compile(m config, s *extension.Services, allowed []string) (*Settings, error) {
	if err := supported.Apply(m, "", s.Warn("API key filter")); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	out := &Settings{}
	for i, c := range m.GetCredentials() {
		if out.clients == nil {
			out.clients = map[hash]string{}
		}
		key := sha256.Sum256([]byte(c.GetKey()))
		if _, twice := out.clients[key]; twice {
			return nil, fmt.Errorf("credentials[%d].key: is the key of another client, too: each key is one client's", i)
		}
		out.clients[key] = c.GetClient()
	}
	for i, k := range m.GetKeySources() {
		p, err := place(k)
		if err != nil {
			return nil, fmt.Errorf("key_sources[%d]%w", i, err)
		}
		out.places = append(out.places, p)
	}
	if f := m.GetForwarding(); f != nil {
		out.forwarding = &forwarding{hide: f.GetHideCredentials()}
		if f.GetHeader() != "" {
			var err error
			if out.forwarding.header, err = header.ParseName(f.GetHeader()); err != nil {
				return nil, fmt.Errorf("forwarding.header: %w", err)
			}
		}
	}
	for _, c := range allowed {
		if out.allowed == nil {
			out.allowed = map[string]bool{}
		}
		out.allowed[c] = true
	}
	return out, nil
}

// place says where a key is: of several fields the first that is set counts.
func place(k *apikeyauthv3.KeySource) (source, error) {
	switch {
	case k.GetHeader() != "":
		n, err := header.ParseName(k.GetHeader())
		if err != nil {
			return source{}, fmt.Errorf(".header: %w", err)
		}
		return source{header: n}, nil
	case k.GetQuery() != "":
		return source{query: k.GetQuery()}, nil
	case k.GetCookie() != "":
		return source{cookie: k.GetCookie()}, nil
	}
	return source{}, errors.New(": has neither header nor query nor cookie: set one")
}
