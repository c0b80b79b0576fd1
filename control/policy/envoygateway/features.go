// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"math"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/policy/envoygateway/envoyproxy"
	"weir.dev/weir/internal/memo"
)

// features are what filters do for routes, and what routes tell.
func (x *compiledTraffic) features(c *memo.Ctx, namespace string, r *routev3.Route) {
	spec := x.spec
	if f := x.fault(); f != nil {
		perFilter(r, build.Fault, build.Any(f))
		x.filters[build.Fault] = &faultv3.HTTPFault{}
	}
	x.buffer(r)
	if t := spec.Telemetry; t != nil {
		if m := t.Metrics; m != nil && m.RouteStatName != nil {
			x.statName(r, *m.RouteStatName)
		}
		if t.Tracing != nil {
			r.Tracing = envoyproxy.RouteTracing(&x.Sheet, "telemetry.tracing", t.Tracing)
		}
	}
	x.bandwidth(r)
	x.compressors(r)
	x.admission(r)
	x.overrides(c, namespace, r)
	if l := spec.LoadBalancer; l != nil && l.Type == "BackendUtilization" && (l.BackendUtilization == nil || !ptr.Deref(l.BackendUtilization.KeepResponseHeaders, false)) {
		r.ResponseHeadersToRemove = []string{"endpoint-load-metrics", "endpoint-load-metrics-bin"} // Reports of load are for the proxy.
	}
}

func (x *compiledTraffic) fault() *faultv3.HTTPFault {
	f := x.spec.FaultInjection
	if f == nil {
		return nil
	}
	out := &faultv3.HTTPFault{}
	if d := f.Delay; d != nil {
		out.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: x.Duration("faultInjection.delay.fixedDelay", d.FixedDelay)},
			Percentage:         x.percentage("faultInjection.delay.percentage", d.Percentage),
		}
		if d.FixedDelay == nil {
			x.Bad("faultInjection.delay.fixedDelay", "is required")
		}
	}
	if a := f.Abort; a != nil {
		out.Abort = &faultv3.FaultAbort{Percentage: x.percentage("faultInjection.abort.percentage", a.Percentage)}
		switch {
		case (a.HTTPStatus == nil) == (a.GRPCStatus == nil):
			x.Bad("faultInjection.abort", "give one of httpStatus and grpcStatus")
		case a.HTTPStatus != nil && (*a.HTTPStatus < 200 || *a.HTTPStatus > 599):
			x.Bad("faultInjection.abort.httpStatus", "%d is not a status from 200 to 599", *a.HTTPStatus)
		case a.HTTPStatus != nil:
			out.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(*a.HTTPStatus)}
		default:
			out.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: uint32(max(0, *a.GRPCStatus))}
		}
	}
	if f.Delay == nil && f.Abort == nil {
		x.Bad("faultInjection", "gives neither delay nor abort")
	}
	return out
}

// percentage is a part of all requests, and all if it is not given.
func (x *compiledTraffic) percentage(path string, p *float32) *typev3.FractionalPercent {
	const perPercent = 10_000
	v := ptr.Deref(p, 100)
	if v < 0 || v > 100 || v != v {
		x.Bad(path, "%v is not a percentage from 0 to 100", v)
		return nil
	}
	return &typev3.FractionalPercent{Numerator: uint32(math.Round(float64(v) * perPercent)), Denominator: typev3.FractionalPercent_MILLION}
}

func (x *compiledTraffic) buffer(r *routev3.Route) {
	b := x.spec.RequestBuffer
	if b == nil {
		return
	}
	limit := b.Limit.Value()
	if limit <= 0 || limit > math.MaxUint32 {
		x.Bad("requestBuffer.limit", "%s is not a size from 1 to 4Gi", b.Limit.String())
		return
	}
	if len(x.spec.HTTPUpgrade) > 0 {
		x.Bad("requestBuffer", "cannot be used together with httpUpgrade: what is upgraded has no end to wait for")
		return
	}
	m := &bufferv3.Buffer{MaxRequestBytes: wrapperspb.UInt32(uint32(limit))}
	perFilter(r, build.Buffer, build.Any(&bufferv3.BufferPerRoute{Override: &bufferv3.BufferPerRoute_Buffer{Buffer: m}}))
	x.filters[build.Buffer] = m
}

// statName names the route in statistics. Its placeholders are of the route, which a
// policy may have many of.
func (x *compiledTraffic) statName(r *routev3.Route, name string) {
	if strings.Contains(name, "%") {
		x.Note("telemetry.metrics.routeStatName", "placeholders are not supported: give a name as it is")
		return
	}
	r.StatPrefix = name
}

// upgrades are those that routes let pass: of WebSocket, unless others are named. A route
// that lets CONNECT pass takes nothing else.
func (x *compiledTraffic) upgrades(a *routev3.RouteAction) {
	list := x.spec.HTTPUpgrade
	if len(list) == 0 {
		return
	}
	known := false
	seen := map[string]bool{}
	for i, u := range list {
		path, kind := fmt.Sprintf("httpUpgrade[%d]", i), strings.ToLower(u.Type)
		if kind == "" {
			x.Bad(path+".type", "is required")
			continue
		}
		if seen[kind] {
			x.Note(path, "has no effect: %s is named before", u.Type)
			continue
		}
		seen[kind] = true
		if kind == "connect" {
			x.connect = &routev3.RouteAction_UpgradeConfig{UpgradeType: "CONNECT"}
			if u.Connect != nil && ptr.Deref(u.Connect.Terminate, false) {
				x.connect.ConnectConfig = &routev3.RouteAction_UpgradeConfig_ConnectConfig{}
			}
			continue
		}
		x.Unsupported(path+".connect", u.Connect, "it is for the type CONNECT")
		known = known || kind == "websocket"
		a.UpgradeConfigs = append(a.UpgradeConfigs, &routev3.RouteAction_UpgradeConfig{UpgradeType: u.Type})
	}
	if x.connect != nil && len(seen) > 1 {
		x.Note("httpUpgrade", "has CONNECT, which rules of HTTPRoutes take alone: there the other types have no effect")
	}
	if !known {
		a.UpgradeConfigs = append(a.UpgradeConfigs, &routev3.RouteAction_UpgradeConfig{UpgradeType: "websocket", Enabled: wrapperspb.Bool(false)})
	}
}
