// SPDX-License-Identifier: Apache-2.0

// Package proxyprotocol is the upstream transport socket that tells the upstream
// whose connection it gets, by a PROXY protocol header before the first byte of
// another transport socket
// (envoy.transport_sockets.upstream_proxy_protocol).
package proxyprotocol

import (
	"fmt"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

// Stats are the transport socket's statistics (upstream.proxyprotocol.*).
type Stats struct {
	TooLong stats.Counter `stat:"v2_tlvs_exceed_max_length"`
}

type transport struct {
	inner       upstream.Transport // nil is cleartext
	v2          bool
	unspecified bool // a connection without addresses is PROXY/UNSPEC, not LOCAL
	passAll     bool
	pass        [256]bool
	added       []added
	own         [256]bool // types of added
	stats       *stats.Sharded[Stats]
}

// added is a TLV of the configuration; format, if not nil, makes its value.
type added struct {
	proxyproto.TLV
	format *format.Format
}

// Wrap sends the header and has the inner transport socket do the rest.
func (t *transport) Wrap(task *engine.Task, c *upstream.Conn, o *upstream.TransportOptions) error {
	var from *streaminfo.Connection
	if o != nil {
		from = o.Downstream
	}
	var room [256]byte
	if _, err := c.Socket.Write(t.header(room[:0], task.Loop().ID(), c.Info, from)); err != nil {
		return fmt.Errorf("send the PROXY protocol header: %w", err)
	}
	if t.inner == nil {
		return nil
	}
	return t.inner.Wrap(task, c, o)
}

// Secure reports whether the inner transport socket encrypts.
func (t *transport) Secure() bool { return t.inner != nil && t.inner.Secure() }

// PerDownstream reports that each connection is of one downstream connection, which
// its header tells of.
func (t *transport) PerDownstream() bool { return true }

// header appends the header. Without a downstream connection, such as for a
// health check, the proxy speaks for itself.
func (t *transport) header(b []byte, loop int, own, from *streaminfo.Connection) []byte {
	switch {
	case from == nil && t.v2:
		return proxyproto.AppendLocalV2(b)
	case from == nil:
		return proxyproto.AppendV1(b, own.Local, own.Remote) // Version 1 knows no LOCAL.
	case !t.v2:
		return proxyproto.AppendV1(b, from.Remote, from.Local)
	}
	known := from.Remote.IsUnix() == from.Local.IsUnix() && from.Remote.IsValid() && from.Local.IsValid()
	if !known && !t.unspecified {
		return proxyproto.AppendLocalV2(b)
	}
	b, complete := proxyproto.AppendV2(b, from.Remote, from.Local, t.values(from))
	if !complete {
		t.stats.At(loop).TooLong.Inc()
	}
	return b
}

// values are the TLVs of a header: the configured ones, then those the
// downstream's header had and that no configured one replaces.
func (t *transport) values(from *streaminfo.Connection) []proxyproto.TLV {
	var out []proxyproto.TLV
	for _, a := range t.added {
		if a.format != nil {
			a.Value = a.format.AppendTo(nil, &streaminfo.Stream{Conn: from, Metadata: from.Metadata, Remote: from.Remote, Start: from.Start})
		}
		out = append(out, a.TLV)
	}
	h, ok := from.FilterState[proxyproto.StateKey].Value.(*proxyproto.Header)
	if !ok {
		return out
	}
	for _, v := range h.TLVs {
		// A checksum is that of the header it came with, and padding is nothing.
		if (t.passAll || t.pass[v.Type]) && !t.own[v.Type] && v.Type != proxyproto.TypeCRC32C && v.Type != proxyproto.TypeNoop {
			out = append(out, v)
		}
	}
	return out
}
