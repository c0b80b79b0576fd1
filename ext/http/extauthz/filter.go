// SPDX-License-Identifier: Apache-2.0

// Package extauthz asks a service whether a request may pass
// (envoy.filters.http.ext_authz): one of gRPC, envoy.service.auth.v3.Authorization, or one
// of HTTP, such as a login page's. The service may change the request, add to the
// response, and choose the reply to a request that it refuses.
//
// It decides nothing by itself, and keeps no decision.
package extauthz

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/call"
)

// Stats are the filter's statistics (http.STAT_PREFIX.ext_authz.*).
type Stats struct {
	OK                stats.Counter `stat:"ok"`
	Denied            stats.Counter `stat:"denied"`
	Error             stats.Counter `stat:"error"`
	Disabled          stats.Counter `stat:"disabled"`
	FailureAllowed    stats.Counter `stat:"failure_mode_allowed"`
	Invalid           stats.Counter `stat:"invalid"`
	IgnoredMetadata   stats.Counter `stat:"ignored_dynamic_metadata"`
	RejectedMutations stats.Counter `stat:"rejected_header_mutations"`
	OmittedHeaders    stats.Counter `stat:"omitted_response_headers"`
	LimitsReached     stats.Counter `stat:"response_header_limits_reached"`
}

// service is what is asked.
type service interface {
	// ask waits for the decision. An error tells that there is none.
	ask(f *Filter, s *stream.Stream, q *question) (*decision, error)
}

// Filter is the filter in one chain.
type Filter struct {
	name     string
	slot     stream.Slot
	own      *Settings
	runtime  match.Runtime
	clusters *upstream.Manager
	stats    *stats.Sharded[Stats]
	log      *slog.Logger
	buffers  sync.Pool // of *[]byte
}

// Settings are a compiled ExtAuthz.
type Settings struct {
	service                  service
	failOpen, failOpenHeader bool
	buffering                buffering
	clearRoute               bool
	clearHeaders             []string // of which one must change; nil is any
	statusOnError            int
	validate, ingest, charge bool
	namespaces               []string
	routeNamespaces          []string
	enabled                  *match.RuntimeFraction // nil is always
	enabledMetadata          *match.Metadata        // nil is always
	denyAtDisable            match.RuntimeFlag
	peerCertificate          bool
	tlsSession               bool
	raw                      bool // fields are told as they are
	labels                   [][2]string
	chosen                   bool // allowed says which fields are told
	allowed, disallowed      match.Strings
	rules                    *match.HeaderRules // nil allows all
	maxBody                  int                // of a reply; 0 is no limit
	limits                   bool
	filterMetadata           map[string]any
	emit                     bool
}

// buffering says how much of the body is told.
type buffering struct {
	max     int // 0 is nothing
	partial bool
	raw     bool
}

// RouteSettings are a compiled ExtAuthzPerRoute.
type RouteSettings struct {
	disabled   bool
	extensions []extension
	noBody     bool
	buffering  *buffering
	service    service // nil is the filter's
}

// extension is one of context_extensions.
type extension struct{ key, value string }

// question is what is asked, beside what the stream tells.
type question struct {
	buffering  buffering
	body       []byte
	partial    bool // there is more of the body
	extensions []extension
}

// state is what a stream keeps.
type state struct {
	response []mutation
	body     stream.Bytes
	buffer   *[]byte
}

// tells reports whether a service of gRPC is told of a field.
func (c *Settings) tells(name string) bool {
	return name != "x-envoy-auth-partial-body" && (!c.chosen || c.allowed.Match(name)) && !c.disallowed.Match(name)
}

// tellsHTTP reports whether a service of HTTP is told of a field.
func (c *Settings) tellsHTTP(g *httpService, name string) bool {
	if name == "x-envoy-auth-partial-body" || c.disallowed.Match(name) {
		return false
	}
	if name == "authorization" {
		return true
	}
	if c.chosen {
		return c.allowed.Match(name)
	}
	return g.requested.Match(name)
}

// Request asks whether the request may pass.
func (f *Filter) Request(s *stream.Stream) error {
	c, svc := f.own, f.own.service
	q := question{buffering: c.buffering}
	if r := s.Route(); r != nil {
		for v := range r.FilterConfigs(f.name) {
			o, ok := v.(*RouteSettings)
			if !ok {
				continue
			}
			q.merge(o)
			if o.service != nil {
				svc = o.service
			}
		}
		if o, ok := stream.RouteConfig[*RouteSettings](s, f.name); ok && o.disabled {
			return nil
		}
	}
	st := f.stats.At(s.Task().Loop().ID())
	if !f.enabled(s) {
		st.Disabled.Inc()
		if c.denyAtDisable.Enabled(f.runtime) {
			f.reply(s, nil, c.statusOnError, "ext_authz_error")
		}
		return nil
	}
	if done, err := f.gather(s, &q); done || err != nil {
		return err
	}
	began := s.Task().Loop().Now()
	d, err := svc.ask(f, s, &q)
	if err != nil && call.Abandoned(err) {
		return err
	}
	took := time.Duration(s.Task().Loop().Now() - began)
	f.note(s, took)
	if err != nil {
		f.log.Debug("the authorization service gave no decision", "filter", f.name, "reason", err)
		d = &decision{verdict: failed}
	}
	return f.decide(s, st, d, took)
}

// merge takes what one level of the route configuration says: the more specific ones come
// later.
func (q *question) merge(o *RouteSettings) {
	for _, e := range o.extensions {
		i := slices.IndexFunc(q.extensions, func(x extension) bool { return x.key == e.key })
		if i < 0 {
			q.extensions = append(q.extensions, e)
		} else {
			q.extensions[i] = e
		}
	}
	switch {
	case o.noBody:
		q.buffering = buffering{}
	case o.buffering != nil:
		q.buffering = *o.buffering
	}
}

func (f *Filter) enabled(s *stream.Stream) bool {
	c := f.own
	return (c.enabled == nil || c.enabled.Enabled(f.runtime, s.Random)) &&
		(c.enabledMetadata == nil || c.enabledMetadata.Match(s.Info.Metadata))
}

// gather reads as much of the body as the service is told. done tells that the request was
// answered: it is too large.
func (f *Filter) gather(s *stream.Stream, q *question) (done bool, err error) {
	m := &s.Request
	if q.buffering.max == 0 || m.Body == nil || s.Upgrade {
		return false, nil
	}
	st := stream.State[state](s, f.slot)
	if st.buffer, _ = f.buffers.Get().(*[]byte); st.buffer == nil {
		st.buffer = new([]byte)
	}
	if !q.buffering.partial {
		q.body, *st.buffer, err = m.Whole(*st.buffer, q.buffering.max)
		if errors.Is(err, stream.ErrTooLarge) {
			s.Reply(stream.TooLarge())
			return true, nil
		}
		if err != nil {
			return false, err
		}
		f.give(m, st, q.body)
		return false, nil
	}
	buf := (*st.buffer)[:0]
	for len(buf) < q.buffering.max && err == nil {
		var p []byte
		p, err = m.Body.Next()
		buf = append(buf, p...)
	}
	*st.buffer = buf
	q.body = buf[:min(len(buf), q.buffering.max)]
	q.partial = err == nil || len(buf) > q.buffering.max
	switch {
	case err == nil:
		m.Body = stream.NewPrefixed(buf, m.Body)
	case err == io.EOF:
		f.give(m, st, buf)
	default:
		return false, err
	}
	return false, nil
}

// give makes a body that was read the request's again.
func (f *Filter) give(m *stream.Message, st *state, body []byte) {
	st.body = *stream.NewBytes(body)
	m.Body, m.Length = &st.body, int64(len(body))
}

// decide does what the service has decided.
func (f *Filter) decide(s *stream.Stream, st *Stats, d *decision, took time.Duration) error {
	c := f.own
	if d.metadata != nil {
		f.ingest(s, st, d, took)
	}
	if c.validate && !d.sane() {
		st.Invalid.Inc()
		return f.invalid(s)
	}
	switch d.verdict {
	case allowed:
		rejected := len(d.request) + len(d.remove)
		ok := d.permit(c.rules)
		if rejected -= len(d.request) + len(d.remove); rejected > 0 {
			st.RejectedMutations.Add(uint64(rejected))
		}
		if !ok {
			st.Invalid.Inc()
			return f.invalid(s)
		}
		st.OK.Inc()
		f.allow(s, d)
	case denied:
		st.Denied.Inc()
		status := d.statusOr(http.StatusForbidden)
		if c.charge {
			f.charge(s, status)
		}
		f.reply(s, d, status, "ext_authz_denied")
	default:
		st.Error.Inc()
		if c.failOpen {
			st.FailureAllowed.Inc()
			if c.failOpenHeader {
				s.Request.Header.Set(failureModeAllowed, "true")
			}
			return nil
		}
		f.reply(s, d, d.statusOr(c.statusOnError), "ext_authz_error")
	}
	return nil
}

// ingest makes the service's metadata the stream's.
func (f *Filter) ingest(s *stream.Stream, st *Stats, d *decision, took time.Duration) {
	if !f.own.ingest {
		st.IgnoredMetadata.Inc()
		return
	}
	if d.verdict == allowed && len(d.metadata) > 0 {
		d.metadata["ext_authz_duration"] = float64(took / time.Millisecond)
	}
	if s.Info.Metadata == nil {
		s.Info.Metadata = streaminfo.Metadata{}
	}
	if s.Info.Metadata[Name] == nil {
		s.Info.Metadata[Name] = map[string]any{}
	}
	for k, v := range d.metadata {
		s.Info.Metadata[Name][k] = v
	}
}

// invalid answers a request whose service asks for what cannot be.
func (f *Filter) invalid(s *stream.Stream) error {
	s.Reply(stream.Reply{Status: http.StatusInternalServerError, Details: "ext_authz_invalid", Flags: streaminfo.UnauthorizedExternalService})
	return nil
}

// allow lets the request pass, as the service wants it.
func (f *Filter) allow(s *stream.Stream, d *decision) {
	h := s.Request.Header
	clear := f.own.clearRoute && f.reroutes(d)
	for i := range d.request {
		if m := &d.request[i]; m.sound() {
			m.apply(h)
		}
	}
	for _, name := range d.remove {
		if removable(name) {
			h.Del(header.NewName(strings.ToLower(name)))
		}
	}
	if len(d.setQuery)+len(d.removeQuery) > 0 {
		h.SetBytes(header.Path, []byte(d.query(string(h.Get(header.Path)))))
	}
	stream.State[state](s, f.slot).response = d.response
	if clear {
		s.ClearRoute()
	}
}

// reroutes reports whether the decision changes what a route may depend on.
func (f *Filter) reroutes(d *decision) bool {
	if f.own.clearHeaders == nil {
		return d.changesRequest()
	}
	for i := range d.request {
		if slices.Contains(f.own.clearHeaders, d.request[i].name) {
			return true
		}
	}
	for _, name := range d.remove {
		if slices.Contains(f.own.clearHeaders, strings.ToLower(name)) {
			return true
		}
	}
	return len(d.setQuery)+len(d.removeQuery) > 0
}

// reply answers in place of the upstream; d, if not nil, says what with.
func (f *Filter) reply(s *stream.Stream, d *decision, status int, details string) {
	r := stream.Reply{Status: status, Details: details, Flags: streaminfo.UnauthorizedExternalService}
	if d != nil {
		body := d.body
		if n := f.own.maxBody; n > 0 && len(body) > n {
			body = body[:n]
		}
		r.Body = string(body)
		r.Header = func(h *header.Map) {
			for i := range d.reply {
				m := &d.reply[i]
				if m.sound() && m.name[0] != ':' && m.name != "content-length" && m.name != "transfer-encoding" {
					m.apply(h)
				}
			}
		}
	}
	s.Reply(r)
}

// charge counts a refusal as a response of the cluster that the request was for.
func (f *Filter) charge(s *stream.Stream, status int) {
	r := s.Route()
	if r == nil || r.Forward == nil {
		return
	}
	ref := r.Cluster(&route.Request{Header: s.Request.Header, Info: &s.Info, Random: s.Random})
	if c := f.clusters.Get(ref.Name); c != nil {
		c.Worker(s.Task().Loop().ID()).Stats.Response(status)
	}
}

// Bounds on the head of a response that the service adds to, with
// enforce_response_header_limits: Envoy's.
const (
	maxResponseFields = 100
	maxResponseSize   = 60 << 10
)

// Response adds what the service wants the client to see.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	list := st.response
	st.response = nil
	h := s.Response.Header
	for i := range list {
		m := &list[i]
		if !m.sound() || m.name[0] == ':' {
			f.stats.At(s.Task().Loop().ID()).OmittedHeaders.Inc()
			continue
		}
		m.apply(h)
	}
	if len(list) > 0 && f.own.limits && (h.Len() > maxResponseFields || h.Size() > maxResponseSize) {
		f.stats.At(s.Task().Loop().ID()).LimitsReached.Inc()
		return &stream.Error{Status: http.StatusInternalServerError, Details: "ext_authz_response_header_limits", Flags: streaminfo.UnauthorizedExternalService}
	}
	return nil
}

// End gives the buffer back.
func (f *Filter) End(s *stream.Stream) {
	st := stream.State[state](s, f.slot)
	if b := st.buffer; b != nil && cap(*b) <= maxKept {
		f.buffers.Put(b)
	}
	st.buffer = nil
}

// maxKept bounds a buffer that is kept for the next request, in bytes.
const maxKept = 256 << 10

// noted is what the filter state has of a call.
type noted struct {
	metadata map[string]any
	latency  time.Duration
	emit     bool
}

// Field returns a figure, or part of filter_metadata.
func (n *noted) Field(name string) any {
	if n.emit && name == "latency_us" {
		return float64(n.latency / time.Microsecond)
	}
	return n.metadata[name]
}

// LogValue returns filter_metadata, and the figures.
func (n *noted) LogValue() any {
	out := map[string]any{}
	for k, v := range n.metadata {
		out[k] = v
	}
	if n.emit {
		out["latency_us"] = float64(n.latency / time.Microsecond)
	}
	return out
}

// note leaves to logs what they want to know.
func (f *Filter) note(s *stream.Stream, took time.Duration) {
	c := f.own
	if !c.emit && c.filterMetadata == nil {
		return
	}
	if s.Info.FilterState == nil {
		s.Info.FilterState = streaminfo.FilterState{}
	}
	s.Info.FilterState[f.name] = streaminfo.StateObject{Value: &noted{c.filterMetadata, took, c.emit}}
}
