// SPDX-License-Identifier: Apache-2.0

// Package proxyprotocol is the upstream transport socket that tells the upstream
// whose connection it gets, by a PROXY protocol header before the first byte of
// another transport socket
// (envoy.transport_sockets.upstream_proxy_protocol).
package proxyprotocol

import (
	"fmt"

	"weir.dev/weir/proxy/engine"
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
	inner  upstream.Transport // nil is cleartext
	sender *proxyproto.Sender
	stats  *stats.Sharded[Stats]
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

// header appends the header.
func (t *transport) header(b []byte, loop int, own, from *streaminfo.Connection) []byte {
	var info *streaminfo.Stream
	if from != nil {
		info = &streaminfo.Stream{Conn: from, Metadata: from.Metadata, Remote: from.Remote, Start: from.Start}
	}
	b, complete := t.sender.Append(b, own, info)
	if !complete {
		t.stats.At(loop).TooLong.Inc()
	}
	return b
}
