// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"net/netip"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/pool"
)

// connectOptions says what the request asks of its connection.
func (t *try) connectOptions() *pool.Options {
	q, o := t.q, &t.connect
	*o = pool.Options{Priority: q.priority(), Downstream: q.s.Info.Protocol}
	if c := t.host.Cluster; c != nil && c.PoolPerDownstream {
		o.Owner = q.s.Info.Conn
	}
	tr := t.host.Transport.Transport
	if tr == nil {
		return o
	}
	// What filters have noted goes first, of the stream before the connection.
	asked := t.secure.FromState(q.s.Info.FilterState)
	asked = q.s.Info.Conn != nil && t.secure.FromState(q.s.Info.Conn.FilterState) || asked
	asked = secure(&t.secure, q.cluster, q.s.Request.Header) || asked
	if p, ok := tr.(upstream.PerDownstream); ok && p.PerDownstream() {
		t.secure.Downstream, asked = q.s.Info.Conn, true
	}
	if asked {
		o.Transport = &t.secure
	}
	return o
}

// secure adds what the cluster has the transport socket take from the request's head
// (auto_sni, auto_san_validation) and reports whether that is anything.
func secure(o *upstream.TransportOptions, c *upstream.Cluster, h *header.Map) bool {
	http := &c.HTTP
	if !http.AutoSNI && !http.AutoSANValidation {
		return false
	}
	name := string(hostname(authority(c, h)))
	if name == "" {
		return false
	}
	if http.AutoSANValidation && len(o.VerifyNames) == 0 {
		o.VerifyNames = append(o.VerifyNames[:0], name)
	}
	if http.AutoSNI && o.ServerName == "" {
		if _, err := netip.ParseAddr(name); err != nil { // RFC 6066 §3: an address is no name.
			o.ServerName = name
		}
	}
	return true
}

// authority returns the value that the server name is taken from.
func authority(c *upstream.Cluster, h *header.Map) []byte {
	if n := c.SNIHeader; n != (header.Name{}) {
		if v := h.Get(n); len(v) > 0 {
			return v
		}
	}
	return h.Get(header.Authority)
}

// hostname cuts the port off.
func hostname(authority []byte) []byte {
	if i := bytes.LastIndexByte(authority, ':'); i >= 0 && bytes.IndexByte(authority[i:], ']') < 0 {
		if authority[0] == '[' || bytes.IndexByte(authority, ':') == i {
			authority = authority[:i]
		}
	}
	return bytes.Trim(authority, "[]")
}
