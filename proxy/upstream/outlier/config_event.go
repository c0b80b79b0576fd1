// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"bytes"
	"encoding/json"
	"time"

	eventv3 "github.com/envoyproxy/go-control-plane/envoy/data/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Append appends the event as Envoy's JSON of an OutlierDetectionEvent, on a line.
func (e *Event) Append(b []byte) []byte {
	m := &eventv3.OutlierDetectionEvent{
		Type: eventv3.OutlierEjectionType(e.Kind), Timestamp: timestamppb.New(e.Time),
		ClusterName: e.Cluster, UpstreamUrl: e.URL, NumEjections: e.Ejections, Enforced: e.Enforced,
		Action: eventv3.Action_UNEJECT,
	}
	if e.SinceLast >= 0 {
		m.SecsSinceLastAction = wrapperspb.UInt64(uint64(e.SinceLast / time.Second))
	}
	if e.Eject {
		m.Action = eventv3.Action_EJECT
		e.setReason(m)
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

// setReason tells the figures of an ejection.
func (e *Event) setReason(m *eventv3.OutlierDetectionEvent) {
	percent := func(f float64) uint32 { return uint32(max(f, 0)) }
	switch e.Kind {
	case SuccessRate, SuccessRateLocalOrigin:
		m.Event = &eventv3.OutlierDetectionEvent_EjectSuccessRateEvent{EjectSuccessRateEvent: &eventv3.OutlierEjectSuccessRate{
			HostSuccessRate: percent(e.Rate), ClusterAverageSuccessRate: percent(e.Average),
			ClusterSuccessRateEjectionThreshold: percent(e.Threshold),
		}}
	case FailurePercentage, FailurePercentageLocalOrigin:
		m.Event = &eventv3.OutlierDetectionEvent_EjectFailurePercentageEvent{
			EjectFailurePercentageEvent: &eventv3.OutlierEjectFailurePercentage{HostSuccessRate: percent(e.Rate)},
		}
	default:
		m.Event = &eventv3.OutlierDetectionEvent_EjectConsecutiveEvent{EjectConsecutiveEvent: &eventv3.OutlierEjectConsecutive{}}
	}
}
