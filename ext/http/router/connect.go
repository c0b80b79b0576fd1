// SPDX-License-Identifier: Apache-2.0

package router

import (
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
	asked = t.secure.FromHead(q.cluster, q.s.Request.Header) || asked
	if p, ok := tr.(upstream.PerDownstream); ok && p.PerDownstream() {
		t.secure.Downstream, asked = q.s.Info.Conn, true
	}
	if asked {
		o.Transport = &t.secure
	}
	return o
}
