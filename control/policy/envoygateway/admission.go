// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	admissioncontrolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
)

// How long may be looked back.
const (
	minWindow = time.Second
	maxWindow = time.Hour
)

// admission refuses requests while too many before them have failed. Each configuration
// has a filter of its own, which judges by the requests of all its routes.
func (x *compiledTraffic) admission(r *routev3.Route) {
	a := x.spec.AdmissionControl
	if a == nil {
		return
	}
	const at = "admissionControl"
	percent := func(field string, v *uint32) *corev3.RuntimePercent {
		if v == nil {
			return nil
		}
		if *v > 100 {
			x.Bad(at+"."+field, "%d is more than 100 percent", *v)
		}
		return &corev3.RuntimePercent{DefaultValue: &typev3.Percent{Value: float64(*v)}, RuntimeKey: "admission_control." + field}
	}
	out := &admissioncontrolv3.AdmissionControl{
		SamplingWindow: x.Duration(at+".samplingWindow", a.SamplingWindow), SrThreshold: percent("minSuccessRate", a.MinSuccessRate),
		MaxRejectionProbability: percent("maxRejectionPercent", a.MaxRejectionPercent),
	}
	if d := out.SamplingWindow; d != nil && (d.AsDuration() < minWindow || d.AsDuration() > maxWindow) {
		x.Bad(at+".samplingWindow", "%s is not a time from %s to %s", *a.SamplingWindow, minWindow, maxWindow)
	}
	if v := a.RejectionAggression; v != nil {
		out.Aggression = &corev3.RuntimeDouble{DefaultValue: float64(*v), RuntimeKey: "admission_control.rejectionAggression"}
	}
	if v := a.MinRequestRate; v != nil {
		out.RpsThreshold = &corev3.RuntimeUInt32{DefaultValue: *v, RuntimeKey: "admission_control.minRequestRate"}
	}
	criteria := &admissioncontrolv3.AdmissionControl_SuccessCriteria{}
	if s := a.SuccessCriteria; s != nil && s.HTTP != nil && len(s.HTTP.StatusCodes) > 0 {
		h := &admissioncontrolv3.AdmissionControl_SuccessCriteria_HttpCriteria{}
		for i, code := range s.HTTP.StatusCodes {
			if code < 100 || code > 599 {
				x.Bad(fmt.Sprintf("%s.successCriteria.http.statusCodes[%d]", at, i), "%d is not a status from 100 to 599", code)
			}
			h.HttpSuccessStatus = append(h.HttpSuccessStatus, &typev3.Int32Range{Start: code, End: code + 1})
		}
		criteria.HttpCriteria = h
	}
	if s := a.SuccessCriteria; s != nil && s.GRPC != nil && len(s.GRPC.StatusCodes) > 0 {
		g := &admissioncontrolv3.AdmissionControl_SuccessCriteria_GrpcCriteria{}
		for i, name := range s.GRPC.StatusCodes {
			code, ok := grpcCode(name)
			if !ok {
				x.Bad(fmt.Sprintf("%s.successCriteria.grpc.statusCodes[%d]", at, i), "%q is not a status of gRPC, such as Ok or NotFound", name)
			}
			g.GrpcSuccessStatus = append(g.GrpcSuccessStatus, code)
		}
		criteria.GrpcCriteria = g
	}
	out.EvaluationCriteria = &admissioncontrolv3.AdmissionControl_SuccessCriteria_{SuccessCriteria: criteria}
	name := build.Instance(build.AdmissionControl, graph.Digest(6, build.Any(out).GetValue()))
	x.filters[name] = out
	perFilter(r, name, build.Any(&routev3.FilterConfig{Config: &anypb.Any{}}))
}

// grpcCode reads the name of a status: in one word, in whatever case.
func grpcCode(name string) (uint32, bool) {
	for i, n := range []string{
		"ok", "cancelled", "unknown", "invalidargument", "deadlineexceeded", "notfound", "alreadyexists", "permissiondenied", "resourceexhausted",
		"failedprecondition", "aborted", "outofrange", "unimplemented", "internal", "unavailable", "dataloss", "unauthenticated",
	} {
		if strings.ReplaceAll(strings.ToLower(name), "_", "") == n {
			return uint32(i), true
		}
	}
	return 0, false
}
