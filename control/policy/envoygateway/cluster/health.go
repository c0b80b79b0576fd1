// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/hex"
	"math"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
)

// The defaults of health checks, as the CRD has them.
const (
	checkTimeout   = time.Second
	checkInterval  = 3 * time.Second
	checkUnhealthy = 3
	checkHealthy   = 1

	passiveInterval = 3 * time.Second
	passiveFailures = 5
	passiveEjection = 30 * time.Second
	passivePercent  = 10
)

// health finds hosts that are not well.
func (x *settings) health() {
	h := x.from.HealthCheck
	if h == nil {
		return
	}
	if h.PanicThreshold != nil {
		x.to.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: float64(*h.PanicThreshold)}}
		if *h.PanicThreshold > 100 {
			x.Bad(x.at+"healthCheck.panicThreshold", "%d is not a percentage", *h.PanicThreshold)
		}
	}
	if h.Active != nil {
		x.active(x.at+"healthCheck.active", h.Active)
	}
	if h.Passive != nil {
		x.passive(x.at+"healthCheck.passive", h.Passive)
	}
}

func (x *settings) active(at string, a *api.ActiveHealthCheck) {
	out := &corev3.HealthCheck{
		Timeout: durationpb.New(checkTimeout), Interval: durationpb.New(checkInterval),
		UnhealthyThreshold: wrapperspb.UInt32(ptr.Deref(a.UnhealthyThreshold, checkUnhealthy)), HealthyThreshold: wrapperspb.UInt32(ptr.Deref(a.HealthyThreshold, checkHealthy)),
		InitialJitter: x.Duration(at+".initialJitter", a.InitialJitter),
	}
	if d := x.Duration(at+".timeout", a.Timeout); d != nil {
		out.Timeout = d
	}
	if d := x.Duration(at+".interval", a.Interval); d != nil {
		out.Interval = d
	}
	if o := a.Overrides; o != nil && (o.Port < 1 || o.Port > math.MaxUint16) {
		x.Bad(at+".overrides.port", "%d is no port", o.Port)
	} else if o != nil {
		out.AltPort = wrapperspb.UInt32(uint32(o.Port))
	}
	x.Unsupported(at+".healthCheckLog", a.HealthCheckLog, "what checks come to is in the statistics and in /clusters of the admin")
	switch {
	case a.Type == "HTTP" && a.HTTP != nil:
		out.HealthChecker = x.httpCheck(at+".http", a.HTTP)
	case a.Type == "TCP":
		tcp := &corev3.HealthCheck_TcpHealthCheck{}
		if a.TCP != nil {
			tcp.Send = x.payload(at+".tcp.send", a.TCP.Send)
			if r := x.payload(at+".tcp.receive", a.TCP.Receive); r != nil {
				tcp.Receive = []*corev3.HealthCheck_Payload{r}
			}
		}
		out.HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: tcp}
	case a.Type == "GRPC":
		grpc := &corev3.HealthCheck_GrpcHealthCheck{}
		if a.GRPC != nil {
			grpc.ServiceName = ptr.Deref(a.GRPC.Service, "")
		}
		out.HealthChecker = &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: grpc}
	case a.Type == "HTTP":
		x.Bad(at+".http", "is required for the type HTTP")
	default:
		x.Bad(at+".type", "is %q: there are HTTP, TCP and GRPC", a.Type)
	}
	x.to.HealthChecks = []*corev3.HealthCheck{out}
}

func (x *settings) httpCheck(at string, h *api.HTTPHealthCheck) *corev3.HealthCheck_HttpHealthCheck_ {
	out := &corev3.HealthCheck_HttpHealthCheck{Path: h.Path, Host: ptr.Deref(h.Hostname, hostOf(x.base.GetName()))}
	if h.Path == "" || build.BadText(h.Path) != "" || strings.Contains(h.Path, "\t") {
		x.Bad(at+".path", "%q is not a path", h.Path)
	}
	if h.Method != nil {
		method, ok := corev3.RequestMethod_value[strings.ToUpper(*h.Method)]
		if !ok {
			x.Bad(at+".method", "is %q, which is no method that checks can have", *h.Method)
		}
		out.Method = corev3.RequestMethod(method)
	}
	codes := func(field string, list []int64) []*typev3.Int64Range {
		var ranges []*typev3.Int64Range
		for _, code := range list {
			if code < 100 || code > 599 {
				x.Bad(at+field, "%d is not a status from 100 to 599", code)
				continue
			}
			ranges = append(ranges, &typev3.Int64Range{Start: code, End: code + 1})
		}
		return ranges
	}
	out.ExpectedStatuses = codes(".expectedStatuses", h.ExpectedStatuses)
	out.RetriableStatuses = codes(".retriableStatuses", h.RetriableStatuses)
	if r := x.payload(at+".expectedResponse", h.ExpectedResponse); r != nil {
		out.Receive = []*corev3.HealthCheck_Payload{r}
	}
	out.Send = x.payload(at+".requestBody", h.RequestBody)
	return &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: out}
}

// hostOf is what a backend is called if nobody says: by the cluster's name, which is
// namespace/name/port, name.namespace.
func hostOf(cluster string) string {
	parts := strings.Split(cluster, "/")
	if len(parts) < 3 {
		return cluster
	}
	return parts[len(parts)-2] + "." + parts[len(parts)-3]
}

func (x *settings) payload(at string, p *api.Payload) *corev3.HealthCheck_Payload {
	if p == nil {
		return nil
	}
	switch {
	case p.Type == "Text" && p.Text != nil:
		return &corev3.HealthCheck_Payload{Payload: &corev3.HealthCheck_Payload_Text{Text: hex.EncodeToString([]byte(*p.Text))}}
	case p.Type == "Binary" && len(p.Binary) > 0:
		return &corev3.HealthCheck_Payload{Payload: &corev3.HealthCheck_Payload_Binary{Binary: p.Binary}}
	}
	x.Bad(at, "give the type Text with text, or Binary with binary")
	return nil
}

func (x *settings) passive(at string, p *api.PassiveHealthCheck) {
	out := &clusterv3.OutlierDetection{
		Interval: durationpb.New(passiveInterval), BaseEjectionTime: durationpb.New(passiveEjection),
		SplitExternalLocalOriginErrors: ptr.Deref(p.SplitExternalLocalOriginErrors, false),
		ConsecutiveLocalOriginFailure:  wrapperspb.UInt32(ptr.Deref(p.ConsecutiveLocalOriginFailures, passiveFailures)),
		Consecutive_5Xx:                wrapperspb.UInt32(ptr.Deref(p.Consecutive5xxErrors, passiveFailures)),
		MaxEjectionPercent:             wrapperspb.UInt32(uint32(min(100, max(0, ptr.Deref(p.MaxEjectionPercent, passivePercent))))),
	}
	if d := x.Duration(at+".interval", p.Interval); d != nil {
		out.Interval = d
	}
	if d := x.Duration(at+".baseEjectionTime", p.BaseEjectionTime); d != nil {
		out.BaseEjectionTime = d
	}
	if p.ConsecutiveGatewayErrors != nil {
		out.ConsecutiveGatewayFailure = wrapperspb.UInt32(*p.ConsecutiveGatewayErrors)
		// Envoy counts gateways' failures and ejects for them only if it is told to.
		if *p.ConsecutiveGatewayErrors > 0 {
			out.EnforcingConsecutiveGatewayFailure = wrapperspb.UInt32(100)
		}
	}
	if p.FailurePercentageThreshold != nil {
		out.FailurePercentageThreshold = wrapperspb.UInt32(*p.FailurePercentageThreshold)
		out.EnforcingFailurePercentage = wrapperspb.UInt32(100)
	}
	if ptr.Deref(p.AlwaysEjectOneEndpoint, false) {
		out.AlwaysEjectOneHost = wrapperspb.Bool(true)
	}
	x.to.OutlierDetection = out
}
