// SPDX-License-Identifier: Apache-2.0

package schedule

import commonlbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"

// ParseSlowStart compiles the slow_start_config that several policies share.
func ParseSlowStart(s *commonlbv3.SlowStartConfig) SlowStart {
	if s == nil {
		return SlowStart{}
	}
	out := SlowStart{Window: s.GetSlowStartWindow().AsDuration(), Aggression: 1, MinFactor: 0.1}
	if a := s.GetAggression(); a != nil {
		out.Aggression = a.GetDefaultValue()
	}
	if v := s.GetMinWeightPercent(); v != nil {
		out.MinFactor = v.GetValue() / 100
	}
	return out
}
