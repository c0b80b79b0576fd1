// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bandwidthlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_limit/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
)

// bandwidthStats begins the names of the statistics of bandwidth limits.
const bandwidthStats = "http_bandwidth_limiter"

// maxBandwidth bounds a limit, in KiB a second: 8 PiB.
const maxBandwidth = 8 << 40

// bandwidth limits how fast bodies pass. Requests and responses have a filter each, as
// each has a limit of its own.
func (x *compiledTraffic) bandwidth(r *routev3.Route) {
	b := x.spec.BandwidthLimit
	if b == nil {
		return
	}
	limit := func(way string, mode bandwidthlimitv3.BandwidthLimit_EnableMode, l api.Bandwidth) *bandwidthlimitv3.BandwidthLimit {
		return &bandwidthlimitv3.BandwidthLimit{StatPrefix: bandwidthStats, EnableMode: mode, LimitKbps: x.kibibytes("bandwidthLimit."+way+".limit", l)}
	}
	add := func(way string, m *bandwidthlimitv3.BandwidthLimit) {
		name := build.Instance(build.BandwidthLimit, way)
		x.filters[name] = &bandwidthlimitv3.BandwidthLimit{StatPrefix: bandwidthStats}
		perFilter(r, name, build.Any(m))
	}
	if q := b.Request; q != nil {
		add("request", limit("request", bandwidthlimitv3.BandwidthLimit_REQUEST, q.Limit))
	}
	if q := b.Response; q != nil {
		m := limit("response", bandwidthlimitv3.BandwidthLimit_RESPONSE, q.Limit)
		if t := q.ResponseTrailers; t != nil {
			m.EnableResponseTrailers, m.ResponseTrailerPrefix = true, ptr.Deref(t.Prefix, "")
			if p := m.ResponseTrailerPrefix; p != "" && (!build.FieldName(p) || strings.HasPrefix(p, ":")) {
				x.Bad("bandwidthLimit.response.responseTrailers.prefix", "%q cannot begin the name of a trailer", p)
			}
		}
		add("response", m)
	}
	if b.Request == nil && b.Response == nil {
		x.Bad("bandwidthLimit", "gives neither request nor response")
	}
}

// kibibytes reads a limit in KiB a second, of which there is at least one.
func (x *compiledTraffic) kibibytes(at string, b api.Bandwidth) *wrapperspb.UInt64Value {
	seconds, ok := map[string]int64{"Second": 1, "Minute": 60, "Hour": 3600}[b.Unit]
	if !ok {
		x.Bad(at+".unit", "is %q: there are Second, Minute and Hour", b.Unit)
		return nil
	}
	n, ok := b.Value.AsInt64()
	if !ok || n < 0 {
		x.Bad(at+".value", "%s is not a number of bytes, such as 10Mi", b.Value.String())
		return nil
	}
	kbps := n / (seconds << 10)
	if kbps < 1 || kbps > maxBandwidth {
		x.Bad(at+".value", "%s bytes in a %s are not from 1 KiB to 8 PiB a second", b.Value.String(), strings.ToLower(b.Unit))
		return nil
	}
	return wrapperspb.UInt64(uint64(kbps))
}
