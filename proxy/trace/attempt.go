// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"strconv"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
)

// Spawns reports whether attempts to reach a host have spans of their own.
func (s *Span) Spawns() bool { return s.config.Spawns }

// An Attempt is what became of one to reach a host.
type Attempt struct {
	// Cluster is its name, Observed its alt_stat_name, or "".
	Cluster, Observed string
	Host              address.Addr
	// Status is that of the response, 0 if there was none; Flags tell why.
	Status            int
	Flags             streaminfo.Flags
	Response, Trailer *header.Map
	// Retry counts the attempts before.
	Retry int
}

// Attempt begins the span of an attempt to reach a host of a cluster.
func (s *Span) Attempt(of *Span, cluster string) {
	s.Child(of, "")
	if s.Sampled {
		s.name = append(append(append(s.name[:0], "router "...), cluster...), " egress"...)
	}
}

// FinishAttempt ends it.
func (s *Span) FinishAttempt(a *Attempt, info *streaminfo.Stream, r *route.Route) {
	if !s.Sampled {
		return
	}
	s.TagText("http.protocol", protocol(info.Protocol))
	if a.Host.IsValid() || a.Host.IsUnix() {
		s.TagFunc("upstream_address", a.Host.Append)
		s.TagFunc("peer.address", a.Host.Append)
	}
	if a.Retry > 0 {
		s.TagInt("retry.count", int64(a.Retry))
	}
	s.common(info, a.Status, a.Flags)
	s.cluster(a.Cluster, a.Observed)
	s.grpc(a.Response, a.Trailer, info)
	s.custom(info, r)
	f := s.config.UpstreamOperation
	if r != nil && r.Tracing != nil && r.Tracing.UpstreamOperation != nil {
		f = r.Tracing.UpstreamOperation
	}
	if f != nil {
		s.name = f.AppendTo(s.name[:0], info)
	}
	s.Finish()
}

// FinishCall ends the span of a call that a filter has made to a cluster; failed tells
// that it went wrong. Status is that of its response, or 0.
func (s *Span) FinishCall(cluster string, host address.Addr, status int, failed bool) {
	if !s.Sampled {
		return
	}
	s.Status = status
	s.TagText("component", "proxy")
	s.cluster(cluster, "")
	if host.IsValid() || host.IsUnix() {
		s.TagFunc("upstream_address", host.Append)
		s.TagFunc("peer.address", host.Append)
	}
	if status > 0 {
		s.TagInt("http.status_code", int64(status))
	}
	if failed {
		s.fail()
	}
	s.Finish()
}

func isGRPC(h *header.Map) bool {
	const prefix = "application/grpc"
	v := h.Get(header.ContentType)
	return bytes.HasPrefix(v, []byte(prefix)) && (len(v) == len(prefix) || v[len(prefix)] == '+' || v[len(prefix)] == ';')
}

// grpc tells how a gRPC call ended.
func (s *Span) grpc(h, trailer *header.Map, info *streaminfo.Stream) {
	if info.Request == nil || !isGRPC(info.Request) {
		return
	}
	if trailer != nil && trailer.Has(header.GRPCStatus) {
		h = trailer
	}
	if h == nil {
		return
	}
	v := h.Get(header.GRPCStatus)
	if v == nil {
		return
	}
	s.Tag("grpc.status_code", v)
	if m := h.Get(header.GRPCMessage); m != nil {
		s.Tag("grpc.message", m)
	}
	switch code, err := strconv.Atoi(string(v)); {
	case err != nil:
	case code == 2, code == 4, code == 12, code == 13, code == 14, code == 15:
		s.fail() // The codes that are the server's fault.
	}
}
