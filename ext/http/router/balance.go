// SPDX-License-Identifier: Apache-2.0

package router

import (
	"io"
	"strconv"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
)

// madeCookie is a cookie that a hash policy asked for and the client had not.
type madeCookie struct {
	of    *route.HashCookie
	value string
}

// makeCookie makes the cookie of a hash policy. All that one connection asks for gets
// the same value, as in Envoy, so that requests that race agree.
func (q *request) makeCookie(c *route.HashCookie) string {
	for i := range q.cookies {
		if q.cookies[i].of == c {
			return q.cookies[i].value
		}
	}
	k := q.s.Info.Conn
	if k == nil || !k.Remote.IsValid() || !k.Local.IsValid() {
		return ""
	}
	var room [128]byte
	at := k.Local.Append(k.Remote.Append(room[:0]))
	var hex [16]byte
	sum := strconv.AppendUint(hex[:0], match.XXH64(string(at), 0), 16)
	const zeros = "0000000000000000"
	value := zeros[len(sum):] + string(sum)
	q.cookies = append(q.cookies, madeCookie{c, value})
	return value
}

// watchLoad has the balancer told of a load report in the trailers, if it wants one.
func (q *request) watchLoad() {
	m := &q.s.Response
	if q.reports == nil || m.Body == nil || m.Trailer == nil {
		return
	}
	m.Body = &loadWatcher{Body: m.Body, q: q}
}

// loadWatcher is a response's body that looks at the trailers when it has ended.
type loadWatcher struct {
	stream.Body
	q *request
}

// Next returns the next piece, as it is.
func (b *loadWatcher) Next() ([]byte, error) {
	p, err := b.Body.Next()
	if err == io.EOF && b.q.reports != nil {
		b.q.reports.Report(b.q.host, b.q.s.Response.Trailer)
		b.q.reports = nil
	}
	return p, err
}
