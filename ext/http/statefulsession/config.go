// SPDX-License-Identifier: Apache-2.0

package statefulsession

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	statefulsessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.stateful_session"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: Name, Config: &statefulsessionv3.StatefulSession{}, New: newFilter,
		Route: &statefulsessionv3.StatefulSessionPerRoute{}, NewRoute: newRoute,
	}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*statefulsessionv3.StatefulSession)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a StatefulSession", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	s, err := compile(m)
	if err != nil {
		return nil, err
	}
	f := &Filter{name: c.Name, slot: c.Slot, session: s}
	if p := m.GetStatPrefix(); p != "" {
		f.stats = stats.Register[Stats](c.Scope.Scope("stateful_session."+p), len(c.Loops))
		if c.Own != nil {
			c.Own(f.stats.Close)
		}
	}
	return f, nil
}

func newRoute(cfg proto.Message, _ *extension.Services) (any, error) {
	m, ok := cfg.(*statefulsessionv3.StatefulSessionPerRoute)
	if !ok {
		return nil, fmt.Errorf("%s: per-route configuration is a %s, not a StatefulSessionPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	switch o := m.GetOverride().(type) {
	case *statefulsessionv3.StatefulSessionPerRoute_Disabled:
		if !o.Disabled {
			return nil, errors.New("disabled is false: it must be true, or stateful_session be set instead")
		}
		return &Session{disabled: true}, nil
	case *statefulsessionv3.StatefulSessionPerRoute_StatefulSession:
		s, err := compile(o.StatefulSession)
		if err != nil {
			return nil, fmt.Errorf("stateful_session.%w", err)
		}
		return s, nil
	}
	return nil, errors.New("says nothing: set disabled to true, or stateful_session")
}

func compile(m *statefulsessionv3.StatefulSession) (*Session, error) {
	s := &Session{strict: m.GetStrict(), status: int(m.GetStatusOnStrictDestinationNotFound())}
	if s.status != 0 && (s.status < 200 || s.status > 599) {
		return nil, fmt.Errorf("status_on_strict_destination_not_found: %d is not the status of a response", s.status)
	}
	if !s.strict {
		s.status = 0
	}
	state := m.GetSessionState().GetTypedConfig()
	if m.GetSessionState() == nil {
		return s, nil // A session without state does nothing, as in Envoy.
	}
	cookie, head := &cookiev3.CookieBasedSessionState{}, &headerv3.HeaderBasedSessionState{}
	switch {
	case state.MessageIs(cookie):
		if err := state.UnmarshalTo(cookie); err != nil {
			return nil, fmt.Errorf("session_state.typed_config: %w", err)
		}
		if err := check(cookie); err != nil {
			return nil, fmt.Errorf("session_state.typed_config.%w", err)
		}
		c := cookie.GetCookie()
		if c.GetName() == "" || strings.ContainsAny(c.GetName()+c.GetPath(), "\r\n\x00;") {
			return nil, errors.New("session_state.typed_config.cookie: name is empty, or name or path has a line break or semicolon")
		}
		s.cookie = &route.HashCookie{Name: c.GetName(), Path: c.GetPath(), TTL: route.OptDuration{Set: c.GetTtl() != nil, Value: c.GetTtl().AsDuration().Truncate(time.Second)}}
		for _, a := range c.GetAttributes() {
			if strings.ContainsAny(a.GetName()+a.GetValue(), "\r\n\x00;") {
				return nil, errors.New("session_state.typed_config.cookie.attributes: has a line break or semicolon")
			}
			s.cookie.Attributes = append(s.cookie.Attributes, route.CookieAttribute{Name: a.GetName(), Value: a.GetValue()})
		}
	case state.MessageIs(head):
		if err := state.UnmarshalTo(head); err != nil {
			return nil, fmt.Errorf("session_state.typed_config: %w", err)
		}
		if err := check(head); err != nil {
			return nil, fmt.Errorf("session_state.typed_config.%w", err)
		}
		if head.GetName() == "" {
			return nil, errors.New("session_state.typed_config.name is empty: name a header")
		}
		s.header = header.NewName(head.GetName())
	default:
		return nil, fmt.Errorf("session_state: %q is not supported (use a CookieBasedSessionState or HeaderBasedSessionState)", state.GetTypeUrl())
	}
	return s, nil
}

func check(m proto.Message) error {
	for _, p := range supported.Check(m, "") {
		if p.Severity == xds.Error {
			return p
		}
	}
	return nil
}
