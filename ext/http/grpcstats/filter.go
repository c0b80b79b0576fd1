// SPDX-License-Identifier: Apache-2.0

// Package grpcstats is Envoy's gRPC statistics filter
// (envoy.filters.http.grpc_stats): it counts the calls and messages of each
// gRPC method in the scope of the cluster they go to. It changes nothing.
package grpcstats

import (
	"fmt"
	"io"
	"time"

	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/grpcstat"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Filter is the filter in one chain.
type Filter struct {
	slot     stream.Slot
	set      *grpcstat.Set
	emit     bool // the filter state
	upstream bool // the histogram of the upstream's time
}

// Messages is what the filter state of the name "envoy.filters.http.grpc_stats"
// holds: how many messages each side has sent.
type Messages struct {
	Request, Response uint64
}

// state is one call.
type state struct {
	f        *Filter
	s        *stream.Stream
	method   *grpcstat.Method
	grpc     bool
	sent     bool  // the request is complete
	answered int64 // when the response's head came
	messages Messages
	request  counted
	response counted
}

// Request begins to count.
func (f *Filter) Request(s *stream.Stream) error {
	if !stream.IsGRPC(s.Request.Header.Get(header.ContentType)) {
		return nil
	}
	st := stream.State[state](s, f.slot)
	st.f, st.s, st.grpc = f, s, true
	st.method = f.set.Find(s, s.Request.Header.Get(header.Path))
	if s.Request.Body != nil && !s.Upgrade {
		st.request = counted{body: s.Request.Body, st: st}
		s.Request.Body = &st.request
	} else {
		st.sent = true
	}
	return nil
}

// Response counts what the head tells, and goes on with the body.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	if !st.grpc {
		return nil
	}
	st.answered = s.Task().Loop().Now()
	m := &s.Response
	st.method.Status(m.Header.Get(header.GRPCStatus))
	if m.Body == nil {
		st.timed()
		return nil
	}
	if !s.Replied() {
		st.response = counted{body: m.Body, st: st, trailer: m.Trailer, answer: true, messages: stream.IsGRPCResponse(m)}
		m.Body = &st.response
	}
	return nil
}

// timed records how long the upstream took from the end of the request, if the
// request has ended.
func (st *state) timed() {
	t := &st.s.Info.Timing
	if st.f.upstream && st.sent && !st.s.Replied() {
		since := st.s.Task().Loop().Now() - st.answered
		st.method.Time(time.Duration(t.UpstreamFirstRx - t.UpstreamLastTx + since))
	}
}

// End writes the filter state, in which there is something once a message has
// passed.
func (f *Filter) End(s *stream.Stream) {
	m := stream.State[state](s, f.slot).messages
	if !f.emit || m == (Messages{}) {
		return
	}
	if s.Info.FilterState == nil {
		s.Info.FilterState = streaminfo.FilterState{}
	}
	s.Info.FilterState[Name] = streaminfo.StateObject{Value: m, Text: fmt.Sprintf("%d,%d", m.Request, m.Response)}
}

// counted is a body whose messages are counted as they pass.
type counted struct {
	body     stream.Body
	st       *state
	track    grpcframe.Tracker
	trailer  *header.Map
	answer   bool
	messages bool // of the answer; those of the request always are
	done     bool
}

// Next returns the next piece, as it is.
func (c *counted) Next() ([]byte, error) {
	p, err := c.body.Next()
	if !c.answer || c.messages {
		c.count(c.track.Inspect(p))
	}
	if err == io.EOF && !c.answer {
		c.st.sent = true
	}
	if err == io.EOF && c.answer && !c.done {
		c.done = true
		if c.trailer != nil {
			c.st.method.Status(c.trailer.Get(header.GRPCStatus))
		}
		c.st.timed()
	}
	return p, err
}

func (c *counted) count(n uint64) {
	if n == 0 {
		return
	}
	if c.answer {
		c.st.method.Responses(n)
		c.st.messages.Response += n
	} else {
		c.st.method.Requests(n)
		c.st.messages.Request += n
	}
}

// Ready reports whether Next would return without waiting.
func (c *counted) Ready() bool { return c.body.Ready() }
