// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
)

// Begin begins the span of a request, whose head it may change: an operation that the
// client or the route has decorated it with names the span, and is passed on or not.
func (c *Config) Begin(s *Span, h *header.Map, info *streaminfo.Stream, r *route.Route, traced bool) {
	s.config = c
	s.Kind, s.egress = Server, info.Conn != nil && info.Conn.TrafficDirection == streaminfo.Outbound
	if s.egress && !c.Spawns {
		s.Kind = Client
	}
	s.name = append(s.name[:0], "ingress"...)
	if s.egress {
		s.name = append(append(s.name[:0], "egress "...), h.Get(header.Authority)...)
	}
	c.Tracer.Begin(s, h, traced)
	if s.Sampled {
		s.Start = info.Start.UnixNano()
		s.TagText("node_id", c.Node)
		s.TagText("zone", c.Zone)
	}
	c.decorate(s, h, r)
}

// named reports whether a format names the span, so that decorators do not.
func (c *Config) named(r *route.Route) route.Formatter {
	if r != nil && r.Tracing != nil && r.Tracing.Operation != nil {
		return r.Tracing.Operation
	}
	return c.Operation
}

// decorate takes the names of operations that the route and the client's proxy give.
func (c *Config) decorate(s *Span, h *header.Map, r *route.Route) {
	ignored := c.named(r) != nil
	propagate := true
	if r != nil && r.Decorator != nil && !ignored {
		s.operation, propagate = r.Decorator.Operation, r.Decorator.Propagate
		if s.operation != "" {
			s.SetName([]byte(s.operation))
		}
	}
	if !propagate {
		s.operation = ""
	}
	if s.egress {
		if s.operation != "" {
			h.Set(header.XEnvoyDecoratorOperation, s.operation)
		}
		return
	}
	if name := h.Get(header.XEnvoyDecoratorOperation); name != nil {
		if len(name) > 0 && !ignored {
			s.SetName(name)
			s.operation = "" // Who asked knows it.
		}
		h.Del(header.XEnvoyDecoratorOperation)
	}
}

// Respond tells the client's proxy, in the head of the response, how the route has
// decorated the request; or takes what the host's tells.
func (s *Span) Respond(h *header.Map) {
	if !s.egress {
		if s.operation != "" {
			h.Set(header.XEnvoyDecoratorOperation, s.operation)
		}
		return
	}
	if name := h.Get(header.XEnvoyDecoratorOperation); name != nil {
		if len(name) > 0 && s.config.Operation == nil {
			s.SetName(name)
		}
		h.Del(header.XEnvoyDecoratorOperation)
	}
}

// FinishRequest ends the span of a request, with the tags that tell of it.
func (s *Span) FinishRequest(info *streaminfo.Stream, r *route.Route) {
	if !s.Sampled {
		return
	}
	c := s.config
	if h := info.Request; h != nil {
		s.head(h, info)
	}
	s.TagInt("request_size", int64(info.BodyReceived))
	s.TagInt("response_size", int64(info.BodySent))
	s.common(info, info.Status, info.Flags)
	if info.ClusterName != "" {
		s.cluster(info.ClusterName, info.ClusterStatName)
	}
	s.grpc(info.Response, info.ResponseTrailer, info)
	s.custom(info, r)
	if f := c.named(r); f != nil {
		s.name = f.AppendTo(s.name[:0], info)
	}
	s.Finish()
}

// head tells of the request.
func (s *Span) head(h *header.Map, info *streaminfo.Stream) {
	if id := h.Get(header.XRequestID); id != nil {
		s.Tag("guid:x-request-id", id)
	}
	s.TagFunc("http.url", func(dst []byte) []byte { return s.config.appendURL(dst, h) })
	s.Tag("http.method", h.Get(header.Method))
	s.Tag("downstream_cluster", orNone(h.Get(header.XEnvoyDownstreamServiceCluster)))
	s.Tag("user_agent", orNone(h.Get(header.UserAgent)))
	s.TagText("http.protocol", protocol(info.Protocol))
	if info.Conn != nil {
		if info.Conn.DirectRemote.IsUnix() {
			s.TagText("peer.address", info.Conn.DirectRemote.Path())
		} else {
			s.TagFunc("peer.address", info.Conn.DirectRemote.AppendIP)
		}
	}
	if id := h.Get(header.XClientTraceID); id != nil {
		s.Tag("guid:x-client-trace-id", id)
	}
	if isGRPC(h) {
		s.Tag("grpc.path", h.Get(header.Path))
		s.Tag("grpc.authority", h.Get(header.Authority))
		s.Tag("grpc.content_type", h.Get(header.ContentType))
		if t := h.Get(header.GRPCTimeout); t != nil {
			s.Tag("grpc.timeout", t)
		}
	}
}

// appendURL appends the URL as the client asked for it.
func (c *Config) appendURL(dst []byte, h *header.Map) []byte {
	path := h.Get(header.XEnvoyOriginalPath)
	if path == nil {
		path = h.Get(header.Path)
	}
	dst = append(append(dst, h.Get(header.XForwardedProto)...), "://"...)
	dst = append(dst, h.Get(header.Authority)...)
	return append(dst, path[:min(len(path), c.MaxPath)]...)
}

func orNone(v []byte) []byte {
	if len(v) == 0 {
		return []byte("-")
	}
	return v
}

func protocol(p streaminfo.Protocol) string {
	if p == streaminfo.NoProtocol {
		return "-"
	}
	return p.String()
}

// common sets the tags that every span of a request or attempt has.
func (s *Span) common(info *streaminfo.Stream, status int, flags streaminfo.Flags) {
	s.Status = status
	s.TagText("component", "proxy")
	s.TagInt("http.status_code", int64(status))
	s.TagFunc("response_flags", flags.Append)
	if status == 0 || status >= 500 {
		s.fail()
	}
	if s.config.Verbose {
		s.narrate(info)
	}
}

func (s *Span) fail() {
	s.Failed = true
	s.TagText("error", "true")
}

func (s *Span) cluster(name, observed string) {
	s.TagText("upstream_cluster", name)
	if observed == "" {
		observed = name
	}
	s.TagText("upstream_cluster.name", observed)
}

// narrate adds the moments of a stream as events.
func (s *Span) narrate(info *streaminfo.Stream) {
	t := &info.Timing
	for _, e := range [...]struct {
		name  string
		since int64
	}{
		{"last_downstream_rx_byte_received", t.RequestEnd},
		{"first_upstream_tx_byte_sent", t.UpstreamFirstTx},
		{"last_upstream_tx_byte_sent", t.UpstreamLastTx},
		{"first_upstream_rx_byte_received", t.UpstreamFirstRx},
		{"last_upstream_rx_byte_received", t.UpstreamLastRx},
		{"first_downstream_tx_byte_sent", t.DownstreamFirstTx},
		{"last_downstream_tx_byte_sent", t.DownstreamLastTx},
	} {
		if e.since > 0 {
			s.events = append(s.events, event{e.name, info.Start.Add(time.Duration(e.since)).UnixNano()})
		}
	}
}

// custom sets the tags that the configuration asks for; the route's go first.
func (s *Span) custom(info *streaminfo.Stream, r *route.Route) {
	for i := range s.config.Custom {
		t := &s.config.Custom[i]
		s.TagFunc(t.Name, func(dst []byte) []byte { return t.AppendTo(dst, info) })
	}
	if r == nil || r.Tracing == nil {
		return
	}
	for i := range r.Tracing.Tags {
		t := &r.Tracing.Tags[i]
		s.TagFunc(t.Name, func(dst []byte) []byte { return t.AppendTo(dst, info) })
	}
}
