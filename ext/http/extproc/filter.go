// SPDX-License-Identifier: Apache-2.0

// Package extproc has an external processor see requests and responses, and change them
// (envoy.filters.http.ext_proc): a service of gRPC,
// envoy.service.ext_proc.v3.ExternalProcessor, on one stream for each request, or one of
// HTTP that sees heads alone. The processor sees headers, bodies and trailers as the
// processing mode says, may change each, and may answer in place of the upstream.
//
// It decides nothing by itself. A processor that is gone, slow or says what makes no sense
// ends the request, or with failure_mode_allow is asked no more.
package extproc

import (
	"log/slog"
	"time"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/match/cel"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream/call"
)

// Stats are the filter's statistics (http.STAT_PREFIX.ext_proc.*).
type Stats struct {
	StreamsStarted     stats.Counter `stat:"streams_started"`
	StreamsClosed      stats.Counter `stat:"streams_closed"`
	StreamsFailed      stats.Counter `stat:"streams_failed"`
	MessagesSent       stats.Counter `stat:"stream_msgs_sent"`
	MessagesReceived   stats.Counter `stat:"stream_msgs_received"`
	Spurious           stats.Counter `stat:"spurious_msgs_received"`
	Timeouts           stats.Counter `stat:"message_timeouts"`
	FailureAllowed     stats.Counter `stat:"failure_mode_allowed"`
	ExtensionsReceived stats.Counter `stat:"override_message_timeout_received"`
	ExtensionsIgnored  stats.Counter `stat:"override_message_timeout_ignored"`
	RejectedMutations  stats.Counter `stat:"rejected_header_mutations"`
	ClearRouteIgnored  stats.Counter `stat:"clear_route_cache_ignored"`
	ClearRouteDisabled stats.Counter `stat:"clear_route_cache_disabled"`
	ClearRouteUpstream stats.Counter `stat:"clear_route_cache_upstream_ignored"`
	HTTPNotOK          stats.Counter `stat:"http_not_ok_resp_received"`
	ImmediateSent      stats.Counter `stat:"immediate_responses_sent"`
}

// Filter is the filter in one chain.
type Filter struct {
	name     string
	slot     stream.Slot
	own      *Settings
	upstream bool // it stands in front of a host, and not of the router
	stats    *stats.Sharded[Stats]
	log      *slog.Logger
}

// Settings are a compiled ExternalProcessor.
type Settings struct {
	client                            *call.Client // nil if the service is one of HTTP
	http                              *call.Client
	failOpen                          bool
	modes                             modes
	requestAttributes                 []attribute
	responseAttributes                []attribute
	timeout, maxTimeout               time.Duration
	rules                             *match.HeaderRules
	allowed, disallowed               match.Strings
	filterMetadata                    map[string]any
	override                          bool
	overrides                         []modes // that are allowed; nil is all
	noImmediate                       bool
	forward, receive, forwardClusters []string
	observe                           bool
	routeCache                        routeCache
	deferred                          time.Duration
	eager                             bool // send_body_without_waiting_for_header_response
	statusOnError                     int
	keepLength                        bool
	spans                             bool
}

// attribute is an expression, and what its value is told as.
type attribute struct {
	name    string
	program *cel.Program
}

// routeCache is when the route is matched anew.
type routeCache uint8

const (
	routeAsAsked routeCache = iota
	routeCleared
	routeRetained
)

// RouteSettings are a compiled ExtProcPerRoute.
type RouteSettings struct {
	disabled bool
	modes    *modes
	client   *call.Client
	metadata [][2]string
	forward  *[]string
	receive  *[]string
	clusters *[]string
	failOpen *bool
	spans    *bool
}

// plan is what holds for one stream.
type plan struct {
	client                            *call.Client
	metadata                          [][2]string
	modes                             modes
	forward, receive, forwardClusters []string
	failOpen, spans                   bool
}

// planOf merges what the levels of the route configuration say: the more specific ones come
// later. It is false if the processor is not to see the stream.
func (f *Filter) planOf(s *stream.Stream) (plan, bool) {
	c := f.own
	p := plan{
		client: c.client, modes: c.modes, failOpen: c.failOpen, spans: c.spans,
		forward: c.forward, receive: c.receive, forwardClusters: c.forwardClusters,
	}
	r := s.Route()
	if r == nil {
		return p, true
	}
	on := true
	for v := range r.FilterConfigs(f.name) {
		if o, ok := v.(*RouteSettings); ok {
			on = !o.disabled
			p.merge(o)
		}
	}
	return p, on
}

func (p *plan) merge(o *RouteSettings) {
	override(&p.modes, o.modes)
	override(&p.forward, o.forward)
	override(&p.receive, o.receive)
	override(&p.forwardClusters, o.clusters)
	override(&p.failOpen, o.failOpen)
	override(&p.spans, o.spans)
	if o.client != nil {
		p.client = o.client
	}
	p.metadata = append(p.metadata[:len(p.metadata):len(p.metadata)], o.metadata...)
}

func override[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// state is what a stream keeps.
type state struct {
	session *session // nil if the processor sees nothing
	begun   bool
}

// session returns the stream's session, which begins with the first direction that comes
// here: it is nil if the processor is not to see the stream.
func (f *Filter) session(s *stream.Stream) *session {
	st := stream.State[state](s, f.slot)
	if !st.begun {
		st.begun = true
		if p, on := f.planOf(s); on {
			st.session = newSession(f, s, p)
		}
	}
	return st.session
}

// Request has the processor see the request.
func (f *Filter) Request(s *stream.Stream) error {
	x := f.session(s)
	if x == nil {
		return nil
	}
	return x.in.process(&s.Request)
}

// Response has the processor see the response.
func (f *Filter) Response(s *stream.Stream) error {
	x := f.session(s)
	if x == nil {
		return nil
	}
	return x.out.process(&s.Response)
}

// Stop ends the tasks that read bodies.
func (f *Filter) Stop(s *stream.Stream) {
	if x := stream.State[state](s, f.slot).session; x != nil {
		x.stop()
	}
}

// End ends the session.
func (f *Filter) End(s *stream.Stream) {
	st := stream.State[state](s, f.slot)
	if st.session != nil {
		st.session.end()
	}
	*st = state{}
}

// noted is what the filter state has of a stream.
type noted struct {
	metadata map[string]any
	requests figures // of each direction
	replies  figures
	failed   bool
}

// figures are those of the calls of one direction.
type figures struct {
	headers, trailers, body time.Duration
	pieces                  int
}

func (n *noted) fields() map[string]any {
	out := map[string]any{}
	for k, v := range n.metadata {
		out[k] = v
	}
	for prefix, g := range map[string]*figures{"request_": &n.requests, "response_": &n.replies} {
		out[prefix+"header_latency_us"] = float64(g.headers / time.Microsecond)
		out[prefix+"trailer_latency_us"] = float64(g.trailers / time.Microsecond)
		out[prefix+"body_total_latency_us"] = float64(g.body / time.Microsecond)
		out[prefix+"body_call_count"] = float64(g.pieces)
	}
	out["failed_open"] = n.failed
	return out
}

// Field returns a figure, or part of filter_metadata.
func (n *noted) Field(name string) any { return n.fields()[name] }

// LogValue returns filter_metadata, and the figures.
func (n *noted) LogValue() any { return n.fields() }

// note leaves to logs what they want to know.
func (f *Filter) note(s *stream.Stream) *noted {
	n := &noted{metadata: f.own.filterMetadata}
	if s.Info.FilterState == nil {
		s.Info.FilterState = streaminfo.FilterState{}
	}
	s.Info.FilterState[f.name] = streaminfo.StateObject{Value: n}
	return n
}
