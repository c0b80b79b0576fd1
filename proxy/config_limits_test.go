// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/xds"
)

// TestLimitsOfControlPlane: the cluster that stands for the limiter is what the limiter is told, and no cluster.
func TestLimitsOfControlPlane(t *testing.T) {
	packed := func(m proto.Message) *anypb.Any {
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	told := func(by *Proxy, m *clusterv3.Cluster) (reason string) {
		c := &xds.Change{Kind: xds.KindCluster, Name: xds.LimiterCluster}
		if m != nil {
			c.Message = m
		}
		other := &xds.Change{Kind: xds.KindCluster, Name: "other"}
		rest := by.changeLimits([]*xds.Change{c, other}, m == nil)
		if len(rest) != 1 || rest[0] != other {
			t.Errorf("the rest is %v", rest)
		}
		for _, p := range by.refused[refusal{xds.KindCluster, xds.LimiterCluster}] {
			reason = p.Reason
		}
		return reason
	}
	limits := &clusterv3.Cluster{Metadata: &corev3.Metadata{TypedFilterMetadata: map[string]*anypb.Any{
		"b": packed(&rlsconfv3.RateLimitConfig{Domain: "b"}), "a": packed(&rlsconfv3.RateLimitConfig{Domain: "a"}),
	}}}
	var got []string
	p := &Proxy{refused: map[refusal][]xds.Problem{}}
	p.opts.Limits = func(list []*rlsconfv3.RateLimitConfig) error {
		got = nil
		for _, l := range list {
			got = append(got, l.GetDomain())
		}
		if len(got) == 1 {
			return errors.New("no")
		}
		return nil
	}
	if reason := told(p, limits); strings.Join(got, " ") != "a b" || reason != "" {
		t.Errorf("told of %q: %s", got, reason)
	}
	delete(limits.Metadata.TypedFilterMetadata, "a")
	if reason := told(p, limits); reason != "rate limits: no" {
		t.Errorf("the limiter refuses, and the proxy says %q", reason)
	}
	limits.Metadata.TypedFilterMetadata["b"] = packed(&clusterv3.Cluster{})
	if reason := told(p, limits); !strings.Contains(reason, "domain b: ") {
		t.Errorf("of a message of another kind: %q", reason)
	}
	if reason := told(p, nil); len(got) != 0 || reason != "" {
		t.Errorf("at the end: %q %s", got, reason)
	}
	none := &Proxy{refused: map[refusal][]xds.Problem{}}
	if reason := told(none, limits); !strings.Contains(reason, "domain b: ") {
		t.Errorf("%q", reason)
	}
	limits.Metadata = nil
	if reason := told(none, limits); !strings.Contains(reason, "there is no limiter in this process") {
		t.Errorf("without a limiter: %q", reason)
	}
}
