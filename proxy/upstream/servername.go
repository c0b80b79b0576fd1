// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"bytes"
	"net/netip"

	"weir.dev/weir/proxy/header"
)

// FromHead adds what a cluster has the transport socket take from the head of a request
// (auto_sni, auto_san_validation) and reports whether that is anything.
func (o *TransportOptions) FromHead(c *Cluster, h *header.Map) bool {
	http := &c.HTTP
	if !http.AutoSNI && !http.AutoSANValidation {
		return false
	}
	name := string(hostname(c.nameOf(h)))
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

// nameOf returns the field's value that the server name is taken from.
func (c *Cluster) nameOf(h *header.Map) []byte {
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
