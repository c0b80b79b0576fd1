// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
)

func TestPacked(t *testing.T) {
	a := &endpointv3.ClusterLoadAssignment{ClusterName: "shop", NamedEndpoints: map[string]*endpointv3.Endpoint{"a": {Hostname: "a"}, "b": {Hostname: "b"}, "c": {}}}
	other := &endpointv3.ClusterLoadAssignment{ClusterName: "other"}
	unsendable := &endpointv3.ClusterLoadAssignment{ClusterName: "\xff"}
	for _, tt := range []struct {
		name string
		p    Packed
		m    proto.Message
		same bool // the very message is returned
	}{
		{"packed", Pack(a), a, false},
		{"kept", Keep(a), a, true},
		{"cannot be sent", Pack(unsendable), unsendable, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.p.Message()
			if !proto.Equal(got, tt.m) || (got == tt.m) != tt.same {
				t.Errorf("%v, want %v", got, tt.m)
			}
			if tt.p.IsZero() || !tt.p.Equal(Keep(tt.m)) || !tt.p.Equal(Pack(tt.m)) || !tt.same && !tt.p.Equal(Pack(proto.Clone(tt.m))) {
				t.Error("it is not equal to its message")
			}
			if tt.p.Equal(Keep(other)) || tt.p.Equal(Pack(other)) || tt.p.Equal(Keep(&clusterv3.Cluster{Name: "shop"})) || tt.p.Equal(Pack(&clusterv3.Cluster{Name: "shop"})) {
				t.Error("it is equal to another message")
			}
		})
	}
	if zero := (Packed{}); !zero.IsZero() || zero.Message() != nil || zero.Equal(Keep(&clusterv3.Cluster{})) || zero.Equal(zero) {
		t.Error("the zero Packed has a message")
	}
	if empty := Pack(&clusterv3.Cluster{}); empty.IsZero() || empty.Message() == nil || !empty.Equal(Pack(&clusterv3.Cluster{})) {
		t.Error("an empty message is not none")
	}
}
