// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strconv"
	"unsafe"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
)

// ClusterRef is the cluster a request is sent to.
type ClusterRef struct {
	// Name is the cluster's name. If FromHeader it is a view of the header's
	// value, valid until the message ends: use strings.Clone to keep it. It is
	// "" if the header is missing, which is a cluster that does not exist.
	Name       string
	FromHeader bool
	// MetadataMatch is what the endpoint's metadata must hold: the fields of
	// "envoy.lb", the route's and the weighted cluster's merged. Nil if none.
	MetadataMatch map[string]any
	// NotFoundStatus answers if there is no such cluster.
	NotFoundStatus int
}

// Cluster returns where the request goes. It is the zero ClusterRef unless the
// route forwards. A weighted cluster was chosen when the route was matched, so
// it stays the same for the request's life.
func (r *Route) Cluster(req *Request) ClusterRef {
	f := r.Forward
	if f == nil {
		return ClusterRef{}
	}
	ref := ClusterRef{Name: f.cluster, MetadataMatch: f.metadataMatch["envoy.lb"], NotFoundStatus: f.ClusterNotFoundStatus}
	from := f.clusterHeader
	if c := r.cluster; c != nil {
		ref.Name, from = c.Name, c.clusterHeader
		if c.metadataMatch != nil {
			ref.MetadataMatch = c.metadataMatch
		}
	}
	if !from.IsZero() {
		ref.Name, ref.FromHeader = view(req.Header.Get(from)), true
	}
	return ref
}

// WeightedCluster is one cluster of a route to weighted clusters.
type WeightedCluster struct {
	Name   string // "" if a header names it
	Weight uint32

	clusterHeader header.Name
	metadataMatch map[string]any
	hostRewrite   string
	runtimeKey    string
}

// Weighted returns the chosen cluster of a route to weighted clusters, or nil.
func (r *Route) Weighted() *WeightedCluster { return r.cluster }

// Variants returns the routes that a route to weighted clusters may become,
// one per cluster, or nil.
func (r *Route) Variants() []*Route {
	if r.weighted == nil {
		return nil
	}
	return r.weighted.routes
}

// ClusterNames appends the names of all clusters that the route names itself,
// mirrors included: what must exist before the route can be used.
func (r *Route) ClusterNames(dst []string) []string {
	if r.Forward == nil {
		return dst
	}
	add := func(name string) {
		if name != "" {
			dst = append(dst, name)
		}
	}
	add(r.Forward.cluster)
	for _, v := range r.Variants() {
		add(v.cluster.Name)
	}
	for i := range r.Forward.Mirrors {
		add(r.Forward.Mirrors[i].Cluster)
	}
	return dst
}

type weightedClusters struct {
	routes       []*Route
	total        uint64
	randomHeader header.Name
	useHash      bool
	runtime      match.Runtime // nil unless runtime_key_prefix is set
}

// pick returns the variant for a request: the cluster in whose interval the
// selecting number falls, modulo the sum of weights.
func (w *weightedClusters) pick(base *Route, req *Request) *Route {
	sel := w.selector(base, req)
	total := w.total
	if w.runtime != nil {
		total = 0
		for _, r := range w.routes {
			total += w.weight(r.cluster)
		}
		if total == 0 {
			return nil
		}
	}
	sel %= total
	for _, r := range w.routes {
		n := w.weight(r.cluster)
		if sel < n {
			return r
		}
		sel -= n
	}
	return nil
}

func (w *weightedClusters) weight(c *WeightedCluster) uint64 {
	if w.runtime != nil {
		if v, ok := w.runtime.Int(c.runtimeKey); ok && v >= 0 && v < 1<<32 {
			return uint64(v)
		}
	}
	return uint64(c.Weight)
}

// selector returns the number that chooses: the header's, if there is exactly
// one and it is a number; else the hash of the route's hash policies, if asked
// for; else the stream's random number.
func (w *weightedClusters) selector(base *Route, req *Request) uint64 {
	if !w.randomHeader.IsZero() && req.Header.Count(w.randomHeader) == 1 {
		if n, err := strconv.ParseUint(view(req.Header.Get(w.randomHeader)), 10, 64); err == nil {
			return n
		}
	}
	if w.useHash {
		if h, ok := base.Forward.HashPolicy.Hash(req.Header, req.Info, nil); ok {
			return h
		}
	}
	return req.Random
}

// Mirror is a request mirror policy: a share of requests is sent to a second
// cluster too, whose responses are dropped.
type Mirror struct {
	// Cluster is the cluster's name, or ClusterHeader names the header that
	// has it.
	Cluster       string
	ClusterHeader header.Name
	Fraction      match.RuntimeFraction
	// KeepHost leaves out the suffix "-shadow" of the host.
	KeepHost bool
	// HostRewrite, if set, is the host.
	HostRewrite string
	// Untraced tells that the mirrored request is not sampled (trace_sampled: false).
	Untraced bool

	mutations mutationList
}

// ClusterName returns the cluster of the mirrored request, "" if its header is
// missing. See [ClusterRef.Name] for how long it is valid.
func (m *Mirror) ClusterName(h *header.Map) string {
	if m.ClusterHeader.IsZero() {
		return m.Cluster
	}
	return view(h.Get(m.ClusterHeader))
}

// FinalizeRequest changes the head of the mirrored request, a copy of the
// request's after the route's own changes: host and configured mutations.
func (m *Mirror) FinalizeRequest(h *header.Map, info *streaminfo.Stream) {
	m.mutations.apply(h, info)
	if m.HostRewrite != "" {
		h.Set(header.Authority, m.HostRewrite)
		return
	}
	host := h.Get(header.Authority)
	if m.KeepHost || len(host) == 0 {
		return
	}
	var buf [264]byte
	h.SetBytes(header.Authority, appendShadow(buf[:0], host))
}

// appendShadow puts "-shadow" behind the host, before its port.
func appendShadow(dst, host []byte) []byte {
	at := len(host)
	if p := portStart(host); p >= 0 {
		at = p
	}
	dst = append(dst, host[:at]...)
	dst = append(dst, "-shadow"...)
	return append(dst, host[at:]...)
}

// portStart returns where ":port" begins in a host, or -1. A v6 address has
// its brackets (RFC 3986 §3.2.2).
func portStart(host []byte) int {
	for i := len(host) - 1; i >= 0; i-- {
		switch host[i] {
		case ':':
			return i
		case ']':
			return -1
		}
	}
	return -1
}

// view returns b as a string without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
