// SPDX-License-Identifier: Apache-2.0

// Package ratelimit asks a rate limit service whether a request may pass
// (envoy.filters.http.ratelimit): one that is called by gRPC, or the limiter of this
// process.
package ratelimit

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/ratelimit"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

// kind is which requests are asked about.
type kind uint8

const (
	both kind = iota
	internal
	external
)

// Filter is the filter in one chain.
type Filter struct {
	name    string
	slot    stream.Slot
	runtime match.Runtime

	domain    string
	kind      kind
	own       []route.RateLimit // nil without
	describer ratelimit.Describer
	service   *ratelimit.Service

	enabled, enforced, deny match.RuntimeFraction
	// status is that of requests over a limit, onError that of those that are refused
	// since the service does not answer.
	status, onError           int
	grpc                      stream.GRPCStatus
	headers, retryAfter, tell bool
	onLimited                 *route.Headers
	namespace                 string

	stats    *counts
	clusters *upstream.Manager // may be nil: only names count then
	free     sync.Pool         // of *asked
}

// Override is the configuration of a route.
type Override struct {
	domain string // "" is the filter's
	layers ratelimit.Layers
}

// asked is what was asked for a stream, and the answer.
type asked struct {
	q           ratelimit.Question
	descriptors ratelimit.Descriptors
	told        bool
	text        []byte
}

// state is what a stream keeps.
type state struct{ *asked }

func (f *Filter) runtimeEnabled(key string) bool {
	if v, ok := f.runtime.Fraction(key); ok {
		return v.Enabled(rand.Uint64())
	}
	return true
}

// Request asks, and refuses the request if it is over a limit.
func (f *Filter) Request(s *stream.Stream) error {
	if f.kind == internal && !s.Info.Internal || f.kind == external && s.Info.Internal || !f.enabled.Enabled(f.runtime, s.Random) {
		return nil
	}
	cluster, ok := f.cluster(s)
	if !ok {
		return nil // It goes nowhere.
	}
	a := f.ask(s, false)
	if a == nil {
		return nil
	}
	stream.State[state](s, f.slot).asked = a
	if err := f.service.Ask(s.Task(), &a.q, &s.Info, s.Span); err != nil {
		return err
	}
	n := f.stats.of(cluster)
	if a.q.Metadata != nil {
		if s.Info.Metadata == nil {
			s.Info.Metadata = streaminfo.Metadata{}
		}
		s.Info.Metadata[f.namespace] = a.q.Metadata
	}
	switch {
	case a.q.Err != nil:
		n.errors.Inc()
		if f.deny.Enabled(f.runtime, s.Random) {
			s.Reply(stream.Reply{Status: f.onError, Details: "rate_limiter_error", Flags: streaminfo.RateLimitServiceError})
			return nil
		}
		n.allowed.Inc()
	case !a.q.Over:
		n.ok.Inc()
	default:
		n.over.Inc()
		cluster.charge(s, f.status)
		if f.enforced.Enabled(f.runtime, s.Random) {
			f.refuse(s, a)
			return nil
		}
	}
	for _, h := range a.q.RequestHeaders {
		s.Request.Header.Add(header.NewName(h.Name), h.Value)
	}
	return nil
}

// cluster is where the request goes.
func (f *Filter) cluster(s *stream.Stream) (target, bool) {
	r := s.Route()
	if r == nil || r.Forward == nil {
		return target{}, false
	}
	name := r.Cluster(&route.Request{Header: s.Request.Header, Info: &s.Info, Random: s.Random}).Name
	if f.clusters == nil {
		return target{name: name}, true
	}
	c := f.clusters.Get(name)
	if c == nil {
		return target{}, false
	}
	if c.AltStatName != "" {
		name = c.AltStatName
	}
	return target{name, c}, true
}

// ask makes the question, or nil if there is nothing to ask: of a request as it comes or,
// if done, as it ends.
func (f *Filter) ask(s *stream.Stream, done bool) *asked {
	a, _ := f.free.Get().(*asked)
	if a == nil {
		a = &asked{}
	}
	a.q.Domain, a.q.Hits, a.told = f.domain, hits(&s.Info), false
	layers := ratelimit.Layers{}
	if o, ok := stream.RouteConfig[*Override](s, f.name); ok {
		layers = o.layers
		if o.domain != "" {
			a.q.Domain = o.domain
		}
	}
	if layers.Own == nil {
		layers.Own = f.own
	}
	a.descriptors.Reset()
	f.describer.Describe(&a.descriptors, s, layers, done)
	if len(a.descriptors.List) == 0 {
		f.free.Put(a)
		return nil
	}
	a.q.Descriptors = a.descriptors.List
	return a
}

// hitsState is the filter state that says what a request counts for.
const hitsState = "envoy.ratelimit.hits_addend"

func hits(info *streaminfo.Stream) uint32 {
	o, ok := info.FilterState[hitsState]
	if !ok {
		return 0
	}
	n, _ := strconv.ParseUint(o.Text, 10, 32)
	return uint32(n)
}

func (f *Filter) refuse(s *stream.Stream, a *asked) {
	s.Reply(stream.Reply{
		Status: f.status, GRPCStatus: f.grpc, Body: string(a.q.Body), Details: "request_rate_limited", Flags: streaminfo.RateLimited,
		Header: func(h *header.Map) {
			f.add(h, a)
			f.onLimited.Apply(h, &s.Info)
			if f.tell {
				h.Set(ratelimited, "true")
			}
			if f.retryAfter && f.status == http.StatusTooManyRequests && !h.Has(header.RetryAfter) {
				if d, ok := after(a.q.Statuses); ok {
					h.AddInt(header.RetryAfter, d)
				}
			}
		},
	})
}

// after is the longest time, in seconds, until all limits that are used up have room.
func after(list []ratelimit.Status) (seconds int64, ok bool) {
	for i := range list {
		if list[i].Over {
			seconds, ok = max(seconds, int64(list[i].Reset/time.Second), 1), true
		}
	}
	return seconds, ok
}

var (
	ratelimited   = header.NewName("x-envoy-ratelimited")
	limitName     = header.NewName("x-ratelimit-limit")
	remainingName = header.NewName("x-ratelimit-remaining")
	resetName     = header.NewName("x-ratelimit-reset")
)

// Response tells of the limits.
func (f *Filter) Response(s *stream.Stream) error {
	if a := stream.State[state](s, f.slot).asked; a != nil && !a.told {
		f.add(s.Response.Header, a)
	}
	return nil
}

// add adds what the service asks for, and the limits.
func (f *Filter) add(h *header.Map, a *asked) {
	a.told = true
	for _, x := range a.q.ResponseHeaders {
		h.Add(header.NewName(x.Name), x.Value)
	}
	var tightest *ratelimit.Status
	a.text = a.text[:0]
	for i := range a.q.Statuses {
		st := &a.q.Statuses[i]
		if !st.Limited || !f.tells(a, i) {
			continue
		}
		if tightest == nil || st.Remaining < tightest.Remaining {
			tightest = st
		}
		if st.Window > 0 {
			a.text = appendPolicy(a.text, st)
		}
	}
	if tightest == nil {
		return
	}
	n := len(a.text)
	a.text = strconv.AppendUint(a.text, uint64(tightest.Requests), 10)
	a.text = append(a.text, a.text[:n]...)
	h.AddBytes(limitName, a.text[n:])
	h.AddInt(remainingName, int64(tightest.Remaining))
	h.AddInt(resetName, int64(tightest.Reset/time.Second))
}

// tells reports whether the response is to tell of a status.
func (f *Filter) tells(a *asked, i int) bool {
	if i >= len(a.q.Descriptors) || a.q.Descriptors[i].Headers == route.Unset {
		return f.headers
	}
	return a.q.Descriptors[i].Headers == route.Enabled
}

// appendPolicy appends a limit as draft-polli-ratelimit-headers-03 has it:
// , 10;w=3600;name="per-user".
func appendPolicy(b []byte, st *ratelimit.Status) []byte {
	b = append(b, ", "...)
	b = strconv.AppendUint(b, uint64(st.Requests), 10)
	b = append(b, ";w="...)
	b = strconv.AppendInt(b, int64(math.Ceil(st.Window.Seconds())), 10)
	if st.Name == "" {
		return b
	}
	b = append(b, `;name="`...)
	for _, c := range []byte(st.Name) {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ' && c != 0x7f:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// End counts what counts as a stream ends, and is done with it.
func (f *Filter) End(s *stream.Stream) {
	st := stream.State[state](s, f.slot)
	if st.asked != nil {
		f.put(st.asked)
		st.asked = nil
	}
	if s.Task() == nil || f.kind == internal && !s.Info.Internal || f.kind == external && s.Info.Internal || !f.enabled.Enabled(f.runtime, s.Random) {
		return
	}
	if _, ok := f.cluster(s); !ok {
		return
	}
	if a := f.ask(s, true); a != nil {
		s.Task().Loop().Go(&report{f, a})
	}
}

// report is a question whose answer is of no use: the request is over.
type report struct {
	f *Filter
	a *asked
}

// Run asks.
func (r *report) Run(t *engine.Task) {
	if err := r.f.service.Ask(t, &r.a.q, nil, nil); err == nil {
		r.f.put(r.a)
	}
}

func (f *Filter) put(a *asked) {
	a.q.Descriptors = nil
	f.free.Put(a)
}
