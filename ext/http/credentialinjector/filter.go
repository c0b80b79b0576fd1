// SPDX-License-Identifier: Apache-2.0

// Package credentialinjector gives requests the credential that a host asks for
// (envoy.filters.http.credential_injector): a secret, or a token that the proxy gets for
// itself by the client credentials grant of OAuth 2.0 (RFC 6749 §4.4).
//
// It does not know who the client is, and judges nobody.
package credentialinjector

import (
	"net/http"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Stats are the filter's statistics (http.STAT_PREFIX.credential_injector.*).
type Stats struct {
	Injected stats.Counter `stat:"injected"`
	Failed   stats.Counter `stat:"failed"`
	Exists   stats.Counter `stat:"already_exists"`
}

// Filter is the filter in one chain.
type Filter struct {
	header             header.Name
	bound              []header.Name // the header
	overwrite, without bool
	value              func() string // "" if there is none yet
	stats              *stats.Sharded[Stats]
}

// Request gives the request its credential. One that has one keeps it, unless it is to be
// overwritten.
func (f *Filter) Request(s *stream.Stream) error {
	h, count := s.Request.Header, f.stats.At(s.Task().Loop().ID())
	if !f.overwrite && len(h.Get(f.header)) > 0 {
		count.Exists.Inc()
		return nil
	}
	v := f.value()
	if v != "" {
		h.Set(f.header, v)
		s.Request.Bind(f.bound)
		count.Injected.Inc()
		return nil
	}
	count.Failed.Inc()
	if !f.without {
		s.Reply(stream.Reply{Status: http.StatusUnauthorized, Body: "Failed to inject credential.", Details: "failed_to_inject_credential"})
	}
	return nil
}

// Response does nothing.
func (f *Filter) Response(*stream.Stream) error { return nil }
