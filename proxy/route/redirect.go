// SPDX-License-Identifier: Apache-2.0

package route

import (
	"bytes"
	"strings"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
)

// Redirect answers with a Location; see [Route.AppendLocation].
type Redirect struct {
	// Status is 301, 302, 303, 307 or 308.
	Status int

	scheme   string
	host     string
	port     string // with its colon
	path     *value
	prefix   string
	regex    *match.Rewrite
	hasQuery bool // path has a query of its own
	strip    bool
	tls      bool // VirtualHost.require_tls: https, the same host and path
}

// DirectResponse answers without an upstream.
type DirectResponse struct {
	Status int
	Body   []byte
	// Format, if not nil, makes the body; %LOCAL_REPLY_BODY% in it is Body.
	Format Formatter
	// ContentType is the body's; "" means text/plain.
	ContentType string
}

// AppendLocation appends the value of a redirect's location header. As in
// Envoy a prefix or regex rewrite changes :path of h first, which logs then
// show, and keepOriginal keeps the old one in x-envoy-original-path.
func (r *Route) AppendLocation(dst []byte, h *header.Map, info *streaminfo.Stream, keepOriginal bool) []byte {
	d := r.Redirect
	if d.tls {
		dst = append(dst, "https://"...)
		dst = append(dst, h.Get(header.Authority)...)
		return append(dst, h.Get(header.Path)...)
	}
	if d.prefix != "" || d.regex != nil {
		r.rewriteRedirect(h, keepOriginal)
	}
	scheme := h.Get(header.Scheme)
	if d.scheme != "" {
		scheme = bytesOf(d.scheme)
	}
	dst = append(dst, scheme...)
	dst = append(dst, "://"...)
	if d.host != "" {
		dst = append(dst, d.host...)
	} else {
		dst = append(dst, d.requestHost(h, scheme)...)
	}
	dst = append(dst, d.port...)
	return d.appendPath(dst, h.Get(header.Path), info)
}

// rewriteRedirect applies prefix_rewrite or regex_rewrite to :path.
func (r *Route) rewriteRedirect(h *header.Map, keepOriginal bool) {
	d, path := r.Redirect, h.Get(header.Path)
	pool := r.VirtualHost.common.scratch
	s := pool.Get().(*scratch)
	dst, ok := s.buf[:0], true
	if d.regex != nil {
		just := match.TrimQuery(path)
		dst = d.regex.Append(dst, view(just))
		ok = len(dst) > 0
		dst = append(dst, path[len(just):]...)
	} else {
		dst, ok = r.path.replacePrefix(dst, path, d.prefix)
	}
	s.buf = dst
	if ok {
		setPath(h, path, dst, keepOriginal)
	}
	pool.Put(s)
}

// requestHost returns the request's host, without its port if the redirect
// names another, or if the scheme changes and the port was the old scheme's
// default. What counts as the old scheme is x-forwarded-proto.
func (d *Redirect) requestHost(h *header.Map, scheme []byte) []byte {
	host := h.Get(header.Authority)
	at := portStart(host)
	if at < 0 {
		return host
	}
	drop := d.port != ""
	if old := h.Get(header.XForwardedProto); !drop && !bytes.Equal(scheme, old) {
		port := string(host[at:])
		drop = port == ":443" && header.EqualLower(old, "https") || port == ":80" && header.EqualLower(old, "http")
	}
	if drop {
		return host[:at]
	}
	return host
}

// appendPath appends path and query. A path_redirect with a query of its own
// replaces the request's, and strip_query does not strip it.
func (d *Redirect) appendPath(dst, path []byte, info *streaminfo.Stream) []byte {
	query := path[len(path):]
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i:]
	}
	if d.strip {
		query = nil
	}
	if d.path == nil {
		return append(append(dst, path...), query...)
	}
	from := len(dst)
	dst = d.path.append(dst, info)
	switch {
	case len(dst) == from: // A format may turn out empty: then the path stays.
		dst = append(dst, path...)
	case d.hasQuery || d.path.format != nil && bytes.IndexByte(dst[from:], '?') >= 0:
		return dst
	}
	return append(dst, query...)
}

// cleanLocation reports whether a fixed part of a location may stand in a
// header.
func cleanLocation(s string) bool { return !strings.ContainsAny(s, "\r\n\x00") }
