// SPDX-License-Identifier: Apache-2.0

// Package ratelimit says under which descriptors a request counts: what the
// rate_limits of its route, of its virtual host or of a filter make of it. Filters ask
// somebody, or buckets of their own, whether there is room.
//
// It neither counts nor refuses anything.
package ratelimit

import (
	"net/netip"
	"strconv"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// An Entry is one part of a descriptor.
type Entry struct {
	Key string
	// Value is a view into the Descriptors.
	Value []byte
}

// A Descriptor is what a request counts under.
type Descriptor struct {
	Entries []Entry
	// RequestsPerUnit and Unit override the limit, if Unit is not empty: it is SECOND,
	// MINUTE, HOUR, DAY, MONTH, YEAR or WEEK.
	RequestsPerUnit uint32
	Unit            string
	// Hits is what the request counts for if Counted; Negative gives it back.
	Hits              uint64
	Counted, Negative bool
	// Headers says whether the response tells of the limit; Unset leaves it to the filter.
	Headers route.Toggle
}

// Descriptors are those of one request. They keep their memory when they are reset.
type Descriptors struct {
	List    []Descriptor
	entries []Entry
	values  []byte
}

// Reset forgets all descriptors.
func (d *Descriptors) Reset() { d.List, d.entries, d.values = d.List[:0], d.entries[:0], d.values[:0] }

// A Describer makes descriptors for one filter.
type Describer struct {
	// Stage is that of the entries that count.
	Stage uint32
	// Cluster is the proxy's own, for source_cluster.
	Cluster string
	// Enabled tells whether an entry with a disable_key counts; nil is never.
	Enabled func(key string) bool
	// ClusterMetadata returns the metadata of a cluster.
	ClusterMetadata func(name string) streaminfo.Metadata
}

// Layers are the places where rate_limits may stand.
type Layers struct {
	// Own are those of the filter's configuration, which replace all others; nil is none.
	Own []route.RateLimit
	// Host says whether those of the virtual host count.
	Host HostLimits
}

// HostLimits is vh_rate_limits.
type HostLimits uint8

// The values of vh_rate_limits: those of the virtual host count if the route has none,
// always, or never.
const (
	Override HostLimits = iota
	Include
	Ignore
)

// Describe appends the descriptors of a request: those that are asked about as it
// comes or, if done, as it ends.
func (d *Describer) Describe(out *Descriptors, s *stream.Stream, l Layers, done bool) {
	if l.Own != nil {
		d.each(out, s, l.Own, done, false)
		return
	}
	r := s.Route()
	if r == nil || r.Forward == nil {
		return
	}
	d.each(out, s, r.Forward.RateLimits, done, true)
	host := l.Host
	if r.Forward.IncludeVirtualHostRateLimits {
		host = Include
	}
	if host == Include || host == Override && len(r.Forward.RateLimits) == 0 {
		d.each(out, s, r.VirtualHost.RateLimits, done, true)
	}
}

func (d *Describer) each(out *Descriptors, s *stream.Stream, limits []route.RateLimit, done, staged bool) {
	for i := range limits {
		l := &limits[i]
		if l.OnStreamDone != done || staged && l.Stage != d.Stage {
			continue
		}
		if l.DisableKey != "" && (d.Enabled == nil || !d.Enabled(l.DisableKey)) {
			continue
		}
		d.one(out, s, l)
	}
}

// one appends the descriptor of an entry, unless an action has nothing to say.
func (d *Describer) one(out *Descriptors, s *stream.Stream, l *route.RateLimit) {
	first := len(out.entries)
	for i := range l.Actions {
		a := &l.Actions[i]
		at := len(out.values)
		found, ok := d.act(out, s, a)
		if !ok {
			out.entries, out.values = out.entries[:first], out.values[:at]
			return
		}
		if found {
			out.entries = append(out.entries, Entry{a.Key, out.values[at:len(out.values):len(out.values)]})
		}
	}
	desc := Descriptor{Entries: out.entries[first:len(out.entries):len(out.entries)], Headers: l.XRateLimit}
	if l.Hits != nil && !hits(&desc, l.Hits, &s.Info) {
		out.entries = out.entries[:first]
		return
	}
	if l.Limit != nil {
		override(&desc, l.Limit, s.Info.Metadata)
	}
	out.List = append(out.List, desc)
}

// act appends an action's value. Found is false if the action leaves its entry out, ok
// if the descriptor is none.
func (d *Describer) act(out *Descriptors, s *stream.Stream, a *route.RateLimitAction) (found, ok bool) {
	switch a.Kind {
	case route.LimitSourceCluster:
		out.values = append(out.values, d.Cluster...)
	case route.LimitDestinationCluster:
		out.values = append(out.values, cluster(s)...)
	case route.LimitRequestHeaders:
		v := s.Request.Header.Get(a.Header)
		if v == nil {
			return false, a.SkipIfAbsent
		}
		out.values = append(out.values, v...)
	case route.LimitQueryParameters:
		v, ok := match.QueryValue(string(s.Request.Header.Get(header.Path)), a.Query)
		if !ok {
			return false, a.SkipIfAbsent
		}
		out.values = append(out.values, v...)
	case route.LimitRemoteAddress, route.LimitMaskedRemoteAddress, route.LimitRemoteAddressMatch:
		return address(out, s, a)
	case route.LimitGenericKey:
		return value(out, s, a)
	case route.LimitHeaderValueMatch:
		if a.Headers.Match(s.Request.Header) != a.Expect {
			return false, false
		}
		return value(out, s, a)
	case route.LimitQueryParameterValueMatch:
		if a.Queries.Match(s.Request.Header.Get(header.Path)) != a.Expect {
			return false, false
		}
		return value(out, s, a)
	default:
		return d.metadata(out, s, a)
	}
	return true, true
}

// cluster is where the request's route leads.
func cluster(s *stream.Stream) string {
	r := s.Route()
	if r == nil {
		return ""
	}
	return r.Cluster(&route.Request{Header: s.Request.Header, Info: &s.Info, Random: s.Random}).Name
}

// value appends an action's own value, or its default.
func value(out *Descriptors, s *stream.Stream, a *route.RateLimitAction) (found, ok bool) {
	at := len(out.values)
	if a.ValueFormat != nil {
		out.values = a.ValueFormat.AppendTo(out.values, &s.Info)
	} else {
		out.values = append(out.values, a.Value...)
	}
	if len(out.values) == at {
		out.values = append(out.values, a.Default...)
	}
	ok = len(out.values) > at
	return ok, ok
}

func address(out *Descriptors, s *stream.Stream, a *route.RateLimitAction) (found, ok bool) {
	ip := s.Info.Remote.Addr()
	if !ip.IsValid() {
		return false, false
	}
	switch a.Kind {
	case route.LimitRemoteAddressMatch:
		if a.Address == nil || a.Address.Match(ip) != a.Expect {
			return false, false
		}
		return value(out, s, a)
	case route.LimitMaskedRemoteAddress:
		bits := a.V6Bits
		if ip.Is4() {
			bits = a.V4Bits
		}
		out.values = netip.PrefixFrom(ip, bits).Masked().AppendTo(out.values)
	default:
		out.values = ip.AppendTo(out.values)
	}
	return true, true
}

func (d *Describer) metadata(out *Descriptors, s *stream.Stream, a *route.RateLimitAction) (found, ok bool) {
	m := s.Info.Metadata
	switch r := s.Route(); a.Kind {
	case route.LimitRouteMetadata:
		if m = nil; r != nil {
			m = r.Metadata
		}
	case route.LimitClusterMetadata:
		m = d.ClusterMetadata(cluster(s))
	}
	v, _ := m.Lookup(a.Namespace, a.Path...)
	text, _ := v.(string)
	if text == "" {
		text = a.Default
	}
	if text == "" {
		return false, a.SkipIfAbsent
	}
	out.values = append(out.values, text...)
	return true, true
}

// maxHits is the most that a request may count for.
const maxHits = 1_000_000_000

// hits sets what a request counts for, and reports whether that is a number.
func hits(desc *Descriptor, h *route.HitsAddend, info *streaminfo.Stream) bool {
	desc.Hits, desc.Counted, desc.Negative = h.Number, true, h.Negative
	if h.Format == nil {
		return true
	}
	var buf [24]byte
	n, err := strconv.ParseFloat(string(h.Format.AppendTo(buf[:0], info)), 64)
	if err != nil || !(n >= 0 && n <= maxHits) {
		return false
	}
	desc.Hits = uint64(n)
	return true
}

// override sets the limit that metadata or the configuration gives; metadata that has
// none leaves it as it is.
func override(desc *Descriptor, o *route.RateLimitOverride, m streaminfo.Metadata) {
	if o.Unit != "" {
		desc.RequestsPerUnit, desc.Unit = o.RequestsPerUnit, o.Unit
		return
	}
	v, _ := m.Lookup(o.Namespace, o.Path...)
	fields, _ := v.(map[string]any)
	n, isNumber := fields["requests_per_unit"].(float64)
	unit, _ := fields["unit"].(string)
	if isNumber && n >= 0 && n <= 1<<32-1 && units[unit] {
		desc.RequestsPerUnit, desc.Unit = uint32(n), unit
	}
}

// units are those of envoy.type.v3.RateLimitUnit.
var units = map[string]bool{"SECOND": true, "MINUTE": true, "HOUR": true, "DAY": true, "MONTH": true, "YEAR": true, "WEEK": true}
