// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bytes"
	"encoding/json"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	eventv3 "github.com/envoyproxy/go-control-plane/envoy/data/core/v3"
	sinkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/health_check/event_sinks/file/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds"
)

// sinks compiles who is told of events.
func (k *compiler) sinks(path string, m *corev3.HealthCheck) []func(*Event) {
	var out []func(*Event)
	add := func(path, file string) {
		w, err := k.Files.Writer(file)
		if err != nil {
			k.fail(path, err.Error(), "")
			return
		}
		out = append(out, func(e *Event) { w.Event(e.Append(nil)) })
	}
	if p := m.GetEventLogPath(); p != "" { //nolint:staticcheck // deprecated, still read
		add(path+".event_log_path", p)
	}
	for i, x := range m.GetEventLogger() {
		at := fmt.Sprintf("%s.event_logger[%d].typed_config", path, i)
		s := &sinkv3.HealthCheckEventFileSink{}
		if !x.GetTypedConfig().MessageIs(s) {
			k.fail(at, fmt.Sprintf("%q is not supported", x.GetTypedConfig().GetTypeUrl()), "use envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink")
			continue
		}
		if err := x.GetTypedConfig().UnmarshalTo(s); err != nil {
			k.fail(at, err.Error(), "")
			continue
		}
		if s.GetEventLogPath() == "" {
			k.fail(at+".event_log_path", "is missing", "give the path of the log")
			continue
		}
		add(at+".event_log_path", s.GetEventLogPath())
	}
	return out
}

// failures are Envoy's words for verdicts.
var failures = [...]eventv3.HealthCheckFailureType{
	Failed: eventv3.HealthCheckFailureType_ACTIVE, FailedRetriable: eventv3.HealthCheckFailureType_ACTIVE,
	Unreachable: eventv3.HealthCheckFailureType_NETWORK, TimedOut: eventv3.HealthCheckFailureType_NETWORK_TIMEOUT,
	Passive: eventv3.HealthCheckFailureType_PASSIVE,
}

var kindNames = [...]eventv3.HealthCheckerType{
	HTTP: eventv3.HealthCheckerType_HTTP, TCP: eventv3.HealthCheckerType_TCP, GRPC: eventv3.HealthCheckerType_GRPC,
}

// Append appends the event as Envoy's JSON of a HealthCheckEvent, on a line.
func (e *Event) Append(b []byte) []byte {
	h := e.Host
	m := &eventv3.HealthCheckEvent{
		HealthCheckerType: kindNames[e.Kind], Host: AddressOf(h.Address), ClusterName: h.Cluster.Name,
		Timestamp: timestamppb.New(e.Time), Metadata: metadataOf(h.Metadata),
		Locality: &corev3.Locality{Region: h.Locality.Region, Zone: h.Locality.Zone, SubZone: h.Locality.SubZone},
	}
	switch e.Type {
	case EjectUnhealthy:
		m.Event = &eventv3.HealthCheckEvent_EjectUnhealthyEvent{EjectUnhealthyEvent: &eventv3.HealthCheckEjectUnhealthy{
			FailureType: failures[e.Failure], HttpStatusCode: uint32(e.Status),
		}}
	case AddHealthy:
		m.Event = &eventv3.HealthCheckEvent_AddHealthyEvent{AddHealthyEvent: &eventv3.HealthCheckAddHealthy{FirstCheck: e.First}}
	case Success:
		m.Event = &eventv3.HealthCheckEvent_SuccessfulHealthCheckEvent{SuccessfulHealthCheckEvent: &eventv3.HealthCheckSuccessful{}}
	case Failure:
		m.Event = &eventv3.HealthCheckEvent_HealthCheckFailureEvent{HealthCheckFailureEvent: &eventv3.HealthCheckFailure{
			FailureType: failures[e.Failure], FirstCheck: e.First, HttpStatusCode: uint32(e.Status),
		}}
	case Degraded:
		m.Event = &eventv3.HealthCheckEvent_DegradedHealthyHost{DegradedHealthyHost: &eventv3.DegradedHealthyHost{}}
	case NoLongerDegraded:
		m.Event = &eventv3.HealthCheckEvent_NoLongerDegradedHost{NoLongerDegradedHost: &eventv3.NoLongerDegradedHost{}}
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return b // Of a name that is not UTF-8 nothing can be told.
	}
	out := bytes.NewBuffer(b)
	if json.Compact(out, text) != nil {
		return b
	}
	return append(out.Bytes(), '\n')
}

// AddressOf is an address as messages have it.
func AddressOf(a address.Addr) *corev3.Address {
	if a.IsUnix() {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: a.Path()}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

func metadataOf(m streaminfo.Metadata) *corev3.Metadata {
	if len(m) == 0 {
		return nil
	}
	out := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
	for name, fields := range m {
		if s, err := structpb.NewStruct(fields); err == nil { // It was one once.
			out.FilterMetadata[name] = s
		}
	}
	return out
}

func (k *compiler) fail(path, reason, remedy string) {
	k.problems = append(k.problems, xds.Problem{Severity: xds.Error, Path: path, Reason: reason, Remedy: remedy})
}
