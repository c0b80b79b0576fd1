// SPDX-License-Identifier: Apache-2.0

package build

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	corev1 "k8s.io/api/core/v1"
)

// A Spread says which endpoints requests go to by where the proxy is and where they are, as Istio's
// localityLbSetting does and, with Home and Zones, Envoy Gateway's zoneAware. Places are written region/zone/subzone; what
// is left out at the end, or a *, is any.
type Spread struct {
	// Shares are of requests, by the place of the proxy: the first whose From is there
	// counts, and nothing else of the Spread then does. Endpoints that are in none of its places get
	// nothing.
	Shares []PlaceShares `json:",omitempty"`
	// Fail has requests stay near: in the same sub-zone, zone or region, as far as there are healthy
	// endpoints.
	Fail bool `json:",omitempty"`
	// Regions say which other region comes next.
	Regions []RegionFailover `json:",omitempty"`
	// Labels say what is near instead: endpoints come first that have the same values of them as the
	// proxy, or the value that follows a =, then those that differ in the last of them, and so on.
	Labels []string `json:",omitempty"`
	// Faint tells that hints of endpoints (Endpoint.ForZones, ForNodes) come first.
	Faint bool `json:",omitempty"`
	// Home has requests stay in the proxy's zone. Nothing else of the Spread then counts.
	Home *Home `json:",omitempty"`
	// Zones are the weights of zones, wherever the proxy is: one that is not among them weighs 1, and one of weight
	// 0 gets nothing. Nothing else of the Spread then counts.
	Zones map[string]uint32 `json:",omitempty"`
	// Address has requests go to a Service's own address, which spreads them as the cluster does; to
	// endpoints, if it has none. Nothing else of the Spread then counts.
	Address bool `json:",omitempty"`
}

// PlaceShares are shares of requests for places, in percent.
type PlaceShares struct {
	From string
	To   map[string]uint32
}

// A RegionFailover names the region that takes the requests of one that fails.
type RegionFailover struct{ From, To string }

// Text is the Spread in a form that can be compared; the empty Spread is "".
func (s *Spread) Text() string {
	data, err := json.Marshal(s)
	if err != nil {
		panic("BUG: a spread cannot be encoded: " + err.Error())
	}
	if string(data) == "{}" {
		return ""
	}
	return string(data)
}

// ParseSpread reads what Text wrote.
func ParseSpread(text string) *Spread {
	s := &Spread{}
	if text == "" {
		return s
	}
	if err := json.Unmarshal([]byte(text), s); err != nil {
		panic("BUG: a spread that was encoded here cannot be decoded: " + err.Error())
	}
	return s
}

// Weighs tells whether localities have to have weights: whoever has endpoints spread so also has their
// cluster go by them.
func (s *Spread) Weighs() bool {
	return len(s.Shares)+len(s.Regions)+len(s.Labels)+len(s.Zones) > 0 || s.Home != nil && s.Home.Percent < 100
}

// LabelNames are the labels of endpoints that count.
func (s *Spread) LabelNames() []string {
	var out []string
	for _, l := range s.Labels {
		name, _, _ := strings.Cut(l, "=")
		out = append(out, name)
	}
	return out
}

// The labels that tell where something is.
const (
	LabelRegion  = corev1.LabelTopologyRegion
	LabelZone    = corev1.LabelTopologyZone
	LabelSubZone = "topology.istio.io/subzone"
	LabelNode    = corev1.LabelHostname
)

// spreadKey is the metadata of localities that has their Spread, and that of endpoints which has their labels.
const (
	spreadKey  = "weir.dev/spread"
	spreadText = "spread"
)

// On notes in endpoints how requests are spread over them: Near does it. What is the same for all proxies it does itself.
func (s *Spread) On(m *endpointv3.ClusterLoadAssignment) {
	text := s.Text()
	if text == "" || s.Address || s.Faint && hasHints(m) {
		return
	}
	if s.Home != nil || len(s.Zones) > 0 {
		unhinted(m.GetEndpoints())
	}
	if len(s.Zones) > 0 {
		m.Endpoints = byZone(m.GetEndpoints(), s.Zones)
		return
	}
	for _, l := range m.GetEndpoints() {
		l.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			spreadKey: {Fields: map[string]*structpb.Value{spreadText: structpb.NewStringValue(text)}},
		}}
	}
}

// labelled adds labels to an endpoint's metadata, which may be nil.
func labelled(m *corev3.Metadata, labels map[string]string) *corev3.Metadata {
	if len(labels) == 0 {
		return m
	}
	if m == nil {
		m = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
	}
	fields := map[string]*structpb.Value{}
	for k, v := range labels {
		fields[k] = structpb.NewStringValue(v)
	}
	m.FilterMetadata[spreadKey] = &structpb.Struct{Fields: fields}
	return m
}

// spreadOf returns how endpoints are to be spread; nil if nothing says so.
func spreadOf(m *endpointv3.ClusterLoadAssignment) *Spread {
	for _, l := range m.GetEndpoints() {
		if text := l.GetMetadata().GetFilterMetadata()[spreadKey].GetFields()[spreadText].GetStringValue(); text != "" {
			return ParseSpread(text)
		}
	}
	return nil
}

// of returns endpoints as a proxy in a place is to have them.
func (s *Spread) of(m *endpointv3.ClusterLoadAssignment, p Place) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: m.GetClusterName(), NamedEndpoints: m.GetNamedEndpoints(), Policy: m.GetPolicy()}
	for _, l := range m.GetEndpoints() {
		out.Endpoints = append(out.Endpoints, &endpointv3.LocalityLbEndpoints{Locality: l.GetLocality(), LbEndpoints: l.GetLbEndpoints()})
	}
	if s.Home != nil {
		s.Home.on(out, p)
		return out
	}
	switch share := slices.IndexFunc(s.Shares, func(x PlaceShares) bool { return within(p.locality(), x.From) }); {
	case share >= 0:
		out.Endpoints = shared(out.Endpoints, s.Shares[share].To)
		return out
	case len(s.Shares) > 0 || p == (Place{}) && len(s.Labels) == 0:
	case len(s.Labels) > 0:
		out.Endpoints = s.byLabels(out.Endpoints, p)
		if len(s.Regions) > 0 {
			s.byDistance(out.Endpoints, p)
		}
	case s.Fail:
		s.byDistance(out.Endpoints, p)
	}
	if s.Weighs() {
		for _, l := range out.Endpoints {
			l.LoadBalancingWeight = wrapperspb.UInt32(uint32(weightOf(l)))
		}
	}
	return out
}

// weightOf is the sum of the weights of a locality's endpoints.
func weightOf(l *endpointv3.LocalityLbEndpoints) uint64 {
	n := uint64(0)
	for _, e := range l.GetLbEndpoints() {
		n += uint64(max(1, e.GetLoadBalancingWeight().GetValue()))
	}
	return min(n, 1<<31)
}

// finer parts a percent, so that localities which share one come near to what they should have.
const finer = 1000

// shared returns those of localities that have a share, with their weights. Several in one place have its share by
// their own weights.
func shared(all []*endpointv3.LocalityLbEndpoints, to map[string]uint32) []*endpointv3.LocalityLbEndpoints {
	var out []*endpointv3.LocalityLbEndpoints
	for _, place := range slices.Sorted(maps.Keys(to)) {
		percent, sum := to[place], uint64(0)
		var here []*endpointv3.LocalityLbEndpoints
		for _, l := range all {
			if within(l.GetLocality(), place) && !slices.Contains(out, l) {
				here = append(here, l)
				sum += weightOf(l)
			}
		}
		for _, l := range here {
			l.LoadBalancingWeight = wrapperspb.UInt32(uint32(max(1, weightOf(l)*uint64(percent)*finer/sum)))
		}
		out = append(out, here...)
	}
	slices.SortFunc(out, func(a, b *endpointv3.LocalityLbEndpoints) int {
		return cmp.Compare(slices.Index(all, a), slices.Index(all, b))
	})
	return out
}

// The distances of places, and how many there are.
const (
	sameSubZone = iota
	sameZone
	sameRegion
	nextRegion
	elsewhere
	distances
)

// byDistance gives localities further priorities within those that they have, by how far away they are.
func (s *Spread) byDistance(all []*endpointv3.LocalityLbEndpoints, p Place) {
	for _, l := range all {
		d := distance(p.locality(), l.GetLocality())
		for _, f := range s.Regions {
			if d == nextRegion && f.From == p.Region {
				if l.GetLocality().GetRegion() != f.To {
					d = elsewhere
				}
				break
			}
		}
		l.Priority = l.Priority*distances + uint32(d)
	}
	closeGaps(all)
}

func distance(a, b *corev3.Locality) int {
	switch {
	case !alikeRegion(a, b):
		return nextRegion
	case a.GetZone() != b.GetZone():
		return sameRegion
	case a.GetSubZone() != b.GetSubZone():
		return sameZone
	}
	return sameSubZone
}

// alikeRegion tells whether two places are in one region: EndpointSlices know zones only, and a zone is in one
// region.
func alikeRegion(a, b *corev3.Locality) bool {
	if a.GetRegion() == "" || b.GetRegion() == "" {
		return a.GetRegion() == b.GetRegion() || a.GetZone() != "" && a.GetZone() == b.GetZone()
	}
	return a.GetRegion() == b.GetRegion()
}

// within tells whether a place is in one that may leave something open.
func within(l *corev3.Locality, place string) bool {
	parts := append(strings.SplitN(place, "/", 3), "", "")
	any := func(i int) bool { return parts[i] == "*" || i > 0 && parts[i] == "" }
	if !any(2) && l.GetSubZone() != parts[2] || !any(1) && l.GetZone() != parts[1] {
		return false
	}
	return any(0) || l.GetRegion() == parts[0] || l.GetRegion() == "" && !any(1)
}

// byLabels parts localities by how many of the labels their endpoints have as the proxy does, one after
// the other.
func (s *Spread) byLabels(all []*endpointv3.LocalityLbEndpoints, p Place) []*endpointv3.LocalityLbEndpoints {
	var out []*endpointv3.LocalityLbEndpoints
	for _, l := range all {
		by := map[uint32]*endpointv3.LocalityLbEndpoints{}
		for _, e := range l.GetLbEndpoints() {
			missed := uint32(len(s.Labels) - s.alike(l.GetLocality(), e, p))
			if by[missed] == nil {
				by[missed] = &endpointv3.LocalityLbEndpoints{Locality: l.GetLocality(), Priority: missed}
				out = append(out, by[missed])
			}
			by[missed].LbEndpoints = append(by[missed].LbEndpoints, e)
		}
	}
	closeGaps(out)
	return out
}

// alike counts the labels, from the first on, that an endpoint has as it should.
func (s *Spread) alike(l *corev3.Locality, e *endpointv3.LbEndpoint, p Place) int {
	own := e.GetMetadata().GetFilterMetadata()[spreadKey].GetFields()
	for i, label := range s.Labels {
		name, want, fixed := strings.Cut(label, "=")
		has := own[name].GetStringValue()
		here := ""
		switch name {
		case LabelRegion:
			has, here = l.GetRegion(), p.Region
			if alikeRegion(l, p.locality()) {
				here = has
			}
		case LabelZone:
			has, here = l.GetZone(), p.Zone
		case LabelSubZone:
			has, here = l.GetSubZone(), p.SubZone
		case LabelNode:
			here = p.Node
		}
		if !fixed {
			want = here
		}
		if has != want {
			return i
		}
	}
	return len(s.Labels)
}

// closeGaps has priorities begin at 0 and leave none out, as Envoy asks.
func closeGaps(all []*endpointv3.LocalityLbEndpoints) {
	var used []uint32
	for _, l := range all {
		used = append(used, l.Priority)
	}
	slices.Sort(used)
	used = slices.Compact(used)
	for _, l := range all {
		l.Priority = uint32(slices.Index(used, l.Priority))
	}
}
