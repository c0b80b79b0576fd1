// SPDX-License-Identifier: Apache-2.0

package route

import (
	"bytes"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
)

// rewrites is what a route does to path and host. At most one of prefix,
// regex, template and path is set, and at most one of the hosts.
type rewrites struct {
	prefix   string
	regex    *match.Rewrite
	template *templateRewrite
	path     *value

	host       string
	hostHeader header.Name
	hostRegex  *match.Rewrite
	hostFormat *value
	appendXFH  bool
}

// value is a fixed string, or a format.
type value struct {
	text   string
	format Formatter
}

func (v *value) append(dst []byte, info *streaminfo.Stream) []byte {
	if v.format != nil {
		return v.format.AppendTo(dst, info)
	}
	return append(dst, v.text...)
}

// connectPortKey is the filter state that holds the port which
// strip_matching_host_port took off a CONNECT's host.
const connectPortKey = "envoy.router.original_connect_port"

func restoreConnectPort(h *header.Map, info *streaminfo.Stream) {
	if info == nil || info.FilterState == nil {
		return
	}
	port, ok := info.FilterState[connectPortKey]
	if !ok || portStart(h.Get(header.Authority)) >= 0 {
		return
	}
	var buf [264]byte
	b := append(buf[:0], h.Get(header.Authority)...)
	b = append(append(b, ':'), port.Text...)
	h.SetBytes(header.Authority, b)
}

func (r *Route) rewriteHost(h *header.Map, info *streaminfo.Stream, keepOriginal bool) {
	w := &r.Forward.rewrite
	switch {
	case w.host != "":
		r.setHost(h, bytesOf(w.host), keepOriginal)
	case !w.hostHeader.IsZero():
		r.setHost(h, h.Get(w.hostHeader), keepOriginal)
	case w.hostRegex != nil:
		pool := r.VirtualHost.common.scratch
		s := pool.Get().(*scratch)
		s.buf = w.hostRegex.Append(s.buf[:0], view(match.TrimQuery(h.Get(header.Path))))
		r.setHost(h, s.buf, keepOriginal)
		pool.Put(s)
	case w.hostFormat != nil:
		pool := r.VirtualHost.common.scratch
		s := pool.Get().(*scratch)
		s.buf = w.hostFormat.append(s.buf[:0], info)
		r.setHost(h, s.buf, keepOriginal)
		pool.Put(s)
	}
}

// RewriteHost sets the host, as auto_host_rewrite asks once an endpoint has
// been chosen. An empty or malformed host changes nothing.
func (r *Route) RewriteHost(h *header.Map, host string, keepOriginal bool) {
	r.setHost(h, bytesOf(host), keepOriginal)
}

func (r *Route) setHost(h *header.Map, host []byte, keepOriginal bool) {
	if len(host) == 0 || bytes.ContainsAny(host, "\r\n\x00 \t/") {
		return
	}
	old := h.Get(header.Authority)
	if r.Forward != nil && r.Forward.rewrite.appendXFH && len(old) > 0 && !lastIs(h.Get(header.XForwardedHost), old) {
		h.Append(header.XForwardedHost, old)
	}
	if keepOriginal && old != nil {
		h.SetBytes(header.XEnvoyOriginalHost, old)
	}
	h.SetBytes(header.Authority, host)
}

// lastIs reports whether host is the last element of a list: it is not
// appended twice.
func lastIs(list, host []byte) bool {
	if i := bytes.LastIndexByte(list, ','); i >= 0 {
		list = list[i+1:]
	}
	return bytes.Equal(bytes.TrimSpace(list), host)
}

func (r *Route) rewritePath(h *header.Map, info *streaminfo.Stream, keepOriginal bool) {
	w := &r.Forward.rewrite
	if w.prefix == "" && w.regex == nil && w.template == nil && w.path == nil {
		return
	}
	path := h.Get(header.Path)
	if path == nil {
		return
	}
	pool := r.VirtualHost.common.scratch
	s := pool.Get().(*scratch)
	just := match.TrimQuery(path)
	dst, ok := s.buf[:0], true
	switch {
	case w.prefix != "":
		dst, ok = r.path.replacePrefix(dst, path, w.prefix)
	case w.regex != nil:
		dst = w.regex.Append(dst, view(just))
		dst = append(dst, path[len(just):]...)
	case w.template != nil:
		if dst, ok = w.template.append(dst, view(just)); ok {
			dst = append(dst, path[len(just):]...)
		}
	default:
		dst = w.path.append(dst, info)
		ok = len(dst) > 0
		dst = append(dst, path[len(just):]...)
	}
	s.buf = dst
	if ok {
		setPath(h, path, dst, keepOriginal)
	}
	pool.Put(s)
}

// setPath replaces the path. One that could not be sent is not set.
func setPath(h *header.Map, old, path []byte, keepOriginal bool) {
	if len(path) == 0 || bytes.ContainsAny(path, "\r\n\x00 ") {
		return
	}
	if keepOriginal {
		h.SetBytes(header.XEnvoyOriginalPath, old)
	}
	h.SetBytes(header.Path, path)
}

// replacePrefix appends path with what the matcher matched of it replaced. It
// reports false if path no longer matches because a filter changed it.
func (p *pathMatcher) replacePrefix(dst, path []byte, with string) ([]byte, bool) {
	n := len(p.text)
	switch p.kind {
	case pathRegex, pathConnect, pathTemplate:
		n = len(match.TrimQuery(path))
	default:
		if len(path) < n || !p.hasPrefix(path) {
			return dst, false
		}
	}
	dst = append(dst, with...)
	return append(dst, path[n:]...), true
}
