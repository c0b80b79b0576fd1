// SPDX-License-Identifier: Apache-2.0

// Package basicauth lets requests through that carry the name and the password of a user
// by HTTP's Basic scheme (RFC 7617; envoy.filters.http.basic_auth).
package basicauth

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // It is what htpasswd -s writes, and all that Envoy takes.
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"

	"weir.dev/weir/internal/htpasswd"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Filter is the filter in one chain.
type Filter struct {
	name          string
	own           *Settings
	from, forward header.Name // forward: zero is none
	missing, emit bool
	stats         *stats.Sharded[Stats]
}

// Settings are the users of the filter, or of a route.
type Settings struct {
	users *secret.Parsed[htpasswd.Users]
	realm string
}

// Stats are the filter's statistics (http.STAT_PREFIX.basic_auth.*).
type Stats struct {
	Allowed stats.Counter `stat:"allowed"`
	Denied  stats.Counter `stat:"denied"`
}

// refusal is why credentials are not taken, and what access logs call it. The zero
// refusal is none.
type refusal struct{ text, details string }

// noCredentials reports whether there were none of the Basic scheme.
func (r refusal) noCredentials() bool { return r == missing || r == otherScheme }

var (
	missing     = refusal{"Missing username and password", "no_credential_for_basic_auth"}
	otherScheme = refusal{"Expected 'Basic' authentication scheme", "invalid_scheme_for_basic_auth"}
	badFormat   = refusal{"Invalid basic credential format", "invalid_format_for_basic_auth"}
	badPassword = refusal{"Invalid username/password combination", "invalid_credential_for_basic_auth"}
)

// Request lets the request through or refuses it.
func (f *Filter) Request(s *stream.Stream) error {
	set := f.own
	if r, ok := stream.RouteConfig[*Settings](s, f.name); ok {
		set = r
	}
	h, count := s.Request.Header, f.stats.At(s.Task().Loop().ID())
	if !f.forward.IsZero() && f.forward != f.from {
		h.Del(f.forward)
	}
	user, why := check(set.users.Load(), h.Get(f.from))
	switch {
	case why == refusal{}:
	case f.missing && why.noCredentials():
		count.Allowed.Inc()
		return nil
	default:
		count.Denied.Inc()
		refuse(s, set, why)
		return nil
	}
	count.Allowed.Inc()
	if !f.forward.IsZero() {
		h.Set(f.forward, user)
	}
	if f.emit {
		f.note(s, user)
	}
	return nil
}

// Response does nothing.
func (f *Filter) Response(*stream.Stream) error { return nil }

// check returns the user whose credentials a field has.
func check(u htpasswd.Users, value []byte) (string, refusal) {
	if len(value) == 0 {
		return "", missing
	}
	encoded, ok := bytes.CutPrefix(value, []byte("Basic "))
	if !ok {
		return "", otherScheme
	}
	pair, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(string(encoded), "="))
	name, password, ok := bytes.Cut(pair, []byte(":"))
	if err != nil || !ok {
		return "", badFormat
	}
	want, known := u[string(name)]
	sum := sha1.Sum(password) //nolint:gosec // As above.
	if subtle.ConstantTimeCompare(want[:], sum[:]) != 1 || !known {
		return "", badPassword
	}
	return string(name), refusal{}
}

func refuse(s *stream.Stream, set *Settings, why refusal) {
	realm := set.realm
	if realm == "" {
		realm = stream.Realm(s.Request.Header)
	}
	s.Reply(stream.Reply{
		Status: http.StatusUnauthorized, Body: "User authentication failed. " + why.text + ".", Details: why.details,
		Header: func(h *header.Map) { h.Set(header.WWWAuthenticate, `Basic realm="`+realm+`"`) },
	})
}

// note tells the user in the dynamic metadata, under the name of the filter.
func (f *Filter) note(s *stream.Stream, user string) {
	if s.Info.Metadata == nil {
		s.Info.Metadata = streaminfo.Metadata{}
	}
	if s.Info.Metadata[f.name] == nil {
		s.Info.Metadata[f.name] = map[string]any{}
	}
	s.Info.Metadata[f.name]["username"] = user
}
