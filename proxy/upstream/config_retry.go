// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"

	omitcanaryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_canary_hosts/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// A HostPredicate tells whether a retry should go to another host than h, given those
// that earlier tries went to.
type HostPredicate func(h *Host, attempted []*Host) bool

// CompileRetryHostPredicate compiles a retry_host_predicate: previous_hosts, which
// refuses hosts that were tried before, or omit_canary_hosts, which refuses canaries.
// The value is a [HostPredicate]. It is found by the type of its configuration, or by
// its name if it has none.
func CompileRetryHostPredicate(name string, cfg *anypb.Any) (any, error) {
	known := []struct {
		name string
		msg  proto.Message
		p    HostPredicate
	}{
		{"envoy.retry_host_predicates.previous_hosts", &previoushostsv3.PreviousHostsPredicate{}, wasAttempted},
		{"envoy.retry_host_predicates.omit_canary_hosts", &omitcanaryv3.OmitCanaryHostsPredicate{}, isCanary},
	}
	for _, k := range known {
		if cfg == nil && name == k.name {
			return k.p, nil
		}
		if cfg != nil && cfg.MessageName() == k.msg.ProtoReflect().Descriptor().FullName() {
			if err := cfg.UnmarshalTo(k.msg); err != nil {
				return nil, err
			}
			return k.p, nil
		}
	}
	return nil, fmt.Errorf("host predicate %q is not known: use %s or %s", name, known[0].name, known[1].name)
}

func wasAttempted(h *Host, attempted []*Host) bool {
	for _, a := range attempted {
		if a.Same(h) {
			return true
		}
	}
	return false
}

func isCanary(h *Host, _ []*Host) bool { return h.Canary }
