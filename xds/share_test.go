// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestShare(t *testing.T) {
	cluster := func(name string, limit uint32) *clusterv3.Cluster {
		return &clusterv3.Cluster{
			Name: name, ConnectTimeout: durationpb.New(time.Second), PerConnectionBufferLimitBytes: wrapperspb.UInt32(limit),
			EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{ServiceName: "all"},
			LbConfig:         &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{}},
		}
	}
	a, b := cluster("a", 1), cluster("b", 2)
	b.CommonHttpProtocolOptions = nil
	want := proto.CloneOf(b)
	Share(b, a)
	if !proto.Equal(b, want) {
		t.Errorf("what is said has changed to %v", b)
	}
	if b.ConnectTimeout != a.ConnectTimeout || b.EdsClusterConfig != a.EdsClusterConfig {
		t.Error("parts that are alike are not shared")
	}
	if b.GetMaglevLbConfig() != a.GetMaglevLbConfig() {
		t.Error("a choice that is alike is not shared")
	}
	if b.PerConnectionBufferLimitBytes == a.PerConnectionBufferLimitBytes {
		t.Error("parts that differ are shared")
	}
}
