// SPDX-License-Identifier: Apache-2.0

// Package compressor is Envoy's compressor filter (envoy.filters.http.compressor): it
// compresses responses for clients that accept it and, if asked, requests for hosts, by
// gzip, brotli or zstd. Of several in a chain, the one that the client likes best does.
package compressor

import (
	"bytes"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Stats are those of one direction; the last six are of responses alone.
type Stats struct {
	Compressed        stats.Counter `stat:"compressed"`
	NotCompressed     stats.Counter `stat:"not_compressed"`
	UncompressedBytes stats.Counter `stat:"total_uncompressed_bytes"`
	CompressedBytes   stats.Counter `stat:"total_compressed_bytes"`
	TooSmall          stats.Counter `stat:"content_length_too_small"`
	NoAcceptHeader    stats.Counter `stat:"no_accept_header"`
	Identity          stats.Counter `stat:"header_identity"`
	Used              stats.Counter `stat:"header_compressor_used"`
	Overshadowed      stats.Counter `stat:"header_compressor_overshadowed"`
	Wildcard          stats.Counter `stat:"header_wildcard"`
	NotValid          stats.Counter `stat:"header_not_valid"`
	ETag              stats.Counter `stat:"not_compressed_etag"`
}

// direction is how bodies of one direction are compressed.
type direction struct {
	enabled match.RuntimeFlag
	on      bool
	least   int64 // a length in bytes, below which nothing is compressed
	types   []string
	match   match.Strings // of content types; in place of types
	stats   *stats.Sharded[Stats]
}

// Filter is the filter in one chain.
type Filter struct {
	name              string
	slot              stream.Slot
	runtime           match.Runtime
	library           *library
	request, response direction
	first             bool
	noETag, weaken    bool
	removeAccept      bool
	status            bool  // tell of it in a header
	except            []int // statuses of responses that are sent as they are
}

// Override is what a route has otherwise.
type Override struct {
	disabled     bool
	on           bool // responses are compressed, whatever the filter says
	removeAccept *bool
	library      *library
}

// state is one stream. The filter is one of those that took part.
type state struct {
	body     compressing // of the response
	upload   compressing // of the request
	override *Override
}

// key is where the filters of a chain note who takes part.
const key = "envoy.filters.http.compressor"

// round is what the filters of one stream know of each other.
type round struct {
	accept  string
	present bool // that the client has said what it accepts
	among   []candidate
	chosen  bool
	choice  choice
}

// candidate is a filter that may compress.
type candidate struct {
	filter   *Filter
	encoding string
}

// Request compresses the body, if that is asked for, and notes what the client accepts.
func (f *Filter) Request(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	if o, ok := stream.RouteConfig[*Override](s, f.name); ok {
		st.override = o
		if o.disabled {
			return nil
		}
	}
	m := &s.Request
	if f.request.on && f.request.enabled.Enabled(f.runtime) {
		f.compressRequest(s, st)
	}
	if !f.responds(st) {
		return nil
	}
	r := roundOf(s)
	if r == nil {
		r = &round{}
		r.present = m.Header.Has(header.AcceptEncoding)
		if r.present {
			joined, _ := m.Header.AppendJoined(nil, header.AcceptEncoding)
			r.accept = string(joined)
		}
		if s.Info.FilterState == nil {
			s.Info.FilterState = streaminfo.FilterState{}
		}
		s.Info.FilterState[key] = streaminfo.StateObject{Value: r}
	}
	r.among = append(r.among, candidate{f, f.libraryOf(st).encoding})
	remove := f.removeAccept
	if st.override != nil && st.override.removeAccept != nil {
		remove = *st.override.removeAccept
	}
	if remove {
		m.Header.Del(header.AcceptEncoding)
	}
	return nil
}

func roundOf(s *stream.Stream) *round {
	r, _ := s.Info.FilterState[key].Value.(*round)
	return r
}

// responds tells whether responses are compressed at all.
func (f *Filter) responds(st *state) bool {
	if st.override != nil && st.override.on {
		return true
	}
	return f.response.on && f.response.enabled.Enabled(f.runtime)
}

func (f *Filter) libraryOf(st *state) *library {
	if st.override != nil && st.override.library != nil {
		return st.override.library
	}
	return f.library
}

func (f *Filter) compressRequest(s *stream.Stream, st *state) {
	m, c := &s.Request, f.request.stats.At(s.Task().Loop().ID())
	if m.Body == nil || s.Upgrade || m.Header.Has(header.ContentEncoding) || !f.request.takes(m, c) || !f.request.ofType(m) {
		c.NotCompressed.Inc()
		return
	}
	lib := f.libraryOf(st)
	c.Compressed.Inc()
	m.Header.Del(header.ContentLength)
	m.Header.Set(header.ContentEncoding, lib.encoding)
	st.upload.begin(m.Body, lib, c)
	m.Body, m.Length = &st.upload, -1
}

// takes tells whether a body is long enough. One of unknown length is.
func (d *direction) takes(m *stream.Message, c *Stats) bool {
	if m.Length >= 0 && m.Length < d.least {
		c.TooSmall.Inc()
		return false
	}
	return true
}

// ofType tells whether bodies of the type are compressed; without a type they are, too.
func (d *direction) ofType(m *stream.Message) bool {
	v := m.Header.Get(header.ContentType)
	if len(v) == 0 {
		return true
	}
	v, _, _ = bytes.Cut(v, []byte(";"))
	v = bytes.TrimSpace(v)
	if len(d.match) > 0 {
		return d.match.MatchBytes(v)
	}
	for _, t := range d.types {
		if bytes.EqualFold(v, []byte(t)) {
			return true
		}
	}
	return false
}

// Response compresses the body, if the client likes this filter's way best.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	if st.override == nil { // Of a reply that was made before the filter saw the request.
		if o, ok := stream.RouteConfig[*Override](s, f.name); ok {
			st.override = o
		}
	}
	r := roundOf(s)
	if r == nil || st.override != nil && st.override.disabled || !f.responds(st) {
		return nil
	}
	m, c := &s.Response, f.response.stats.At(s.Task().Loop().ID())
	lib := f.libraryOf(st)
	why := f.obstacle(s, c)
	if why == "" && !f.accepted(r, m, lib, c) {
		why = "EncodingNotAccepted"
		vary(m.Header)
	} else if why == "" {
		vary(m.Header)
	}
	if f.status {
		text := lib.encoding + ";" + why
		if why == "" {
			text = lib.encoding + ";Compressed;OriginalLength=" + string(m.Header.Get(header.ContentLength))
		}
		m.Header.Set(statusHeader, text)
	}
	if why != "" {
		c.NotCompressed.Inc()
		return nil
	}
	c.Compressed.Inc()
	f.etag(m.Header)
	m.Header.Del(header.ContentLength)
	m.Header.Set(header.ContentEncoding, lib.encoding)
	if m.Body == nil {
		s.SetLocalBody(func(dst, old []byte) []byte { return lib.append(dst, old, c) })
		return nil
	}
	st.body.begin(m.Body, lib, c)
	m.Body, m.Length = &st.body, -1
	return nil
}

// obstacle is why a response is sent as it is, whatever the client accepts; "" is none.
func (f *Filter) obstacle(s *stream.Stream, c *Stats) string {
	m := &s.Response
	code := 0
	for _, d := range m.Header.Get(header.Status) {
		code = code*10 + int(d-'0')
	}
	for _, x := range f.except {
		if x == code {
			return "ResponseCodeNotAllowed"
		}
	}
	local := s.Replied() && m.Body == nil
	switch {
	case m.Body == nil && (!local || len(s.LocalBody()) == 0), s.Upgrade && code < 200, code == 101:
		return "NoBody"
	case local && int64(len(s.LocalBody())) < f.response.least:
		c.TooSmall.Inc()
		return "ContentLengthTooSmall"
	case !local && !f.response.takes(m, c):
		return "ContentLengthTooSmall"
	case !f.response.ofType(m):
		return "ContentTypeNotAllowed"
	case m.Header.Has(header.ContentEncoding):
		return "ContentEncodingPresent"
	case hasToken(m.Header, header.CacheControl, "no-transform"):
		return "CacheControlNoTransform"
	case f.noETag && !f.weaken && m.Header.Has(header.ETag):
		c.ETag.Inc()
		return "EtagNotAllowed"
	}
	return ""
}

// accepted tells whether this filter is the one that the client likes best.
func (f *Filter) accepted(r *round, m *stream.Message, lib *library, c *Stats) bool {
	if !r.present {
		c.NoAcceptHeader.Inc()
		return false
	}
	if !r.chosen {
		var names []string
		first := ""
		for _, x := range r.among {
			if x.filter == f || x.filter.response.ofType(m) {
				names = append(names, x.encoding)
				if x.filter.first {
					first = x.encoding
				}
			}
		}
		r.choice, r.chosen = choose(r.accept, names, first), true
	}
	switch {
	case r.choice.kind == isIdentity:
		c.Identity.Inc()
	case r.choice.kind == isNothing:
		c.NotValid.Inc()
	case r.choice.encoding != lib.encoding:
		c.Overshadowed.Inc()
	case r.choice.kind == isAny:
		c.Wildcard.Inc()
		return true
	default:
		c.Used.Inc()
		return true
	}
	return false
}

// etag keeps a weak validator: what is compressed is not the same bytes any more.
func (f *Filter) etag(h *header.Map) {
	v := h.Get(header.ETag)
	switch {
	case len(v) == 0 || bytes.HasPrefix(v, []byte("W/")) || bytes.HasPrefix(v, []byte("w/")):
	case f.weaken:
		h.SetBytes(header.ETag, append([]byte("W/"), v...))
	default:
		h.Del(header.ETag)
	}
}

var statusHeader = header.NewName("x-envoy-compression-status")

// vary tells caches that the body depends on what the client accepts.
func vary(h *header.Map) {
	if hasToken(h, header.Vary, "accept-encoding") || hasToken(h, header.Vary, "*") {
		return
	}
	h.Append(header.Vary, []byte("Accept-Encoding"))
}

// hasToken reports whether a list has an entry, whatever its case.
func hasToken(h *header.Map, n header.Name, token string) bool {
	for v := range h.Values(n) {
		for part := range bytes.SplitSeq(v, []byte(",")) {
			if bytes.EqualFold(bytes.TrimSpace(part), []byte(token)) {
				return true
			}
		}
	}
	return false
}

// End lets go of what compresses a body that was not read to its end.
func (f *Filter) End(s *stream.Stream) {
	st := stream.State[state](s, f.slot)
	st.body.end()
	st.upload.end()
}
