// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	_ "embed"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Compile turns a cluster's outlier_detection into a Config, and tells what is wrong with
// it or has no effect. Paths are below the message. What the message's own rules refuse
// is for the caller to tell. The Config is nil if a problem is an error.
func Compile(m *clusterv3.OutlierDetection) (*Config, []xds.Problem) {
	problems := supported.Check(m, "")
	c := &Config{
		Interval:        duration(m.GetInterval(), 10*time.Second),
		BaseEjection:    duration(m.GetBaseEjectionTime(), 30*time.Second),
		Jitter:          duration(m.GetMaxEjectionTimeJitter(), 0),
		MaxPercent:      number(m.GetMaxEjectionPercent(), 10),
		AlwaysOne:       m.GetAlwaysEjectOneHost().GetValue(),
		Failures5xx:     number(m.GetConsecutive_5Xx(), 5),
		GatewayFailures: number(m.GetConsecutiveGatewayFailure(), 5),
		LocalFailures:   number(m.GetConsecutiveLocalOriginFailure(), 5),
		Split:           m.GetSplitExternalLocalOriginErrors(),
		Enforcing: [kinds]uint32{
			Consecutive5xx:                number(m.GetEnforcingConsecutive_5Xx(), 100),
			ConsecutiveGatewayFailure:     number(m.GetEnforcingConsecutiveGatewayFailure(), 0),
			SuccessRate:                   number(m.GetEnforcingSuccessRate(), 100),
			ConsecutiveLocalOriginFailure: number(m.GetEnforcingConsecutiveLocalOriginFailure(), 100),
			SuccessRateLocalOrigin:        number(m.GetEnforcingLocalOriginSuccessRate(), 100),
			FailurePercentage:             number(m.GetEnforcingFailurePercentage(), 0),
			FailurePercentageLocalOrigin:  number(m.GetEnforcingFailurePercentageLocalOrigin(), 0),
		},
		UnejectOnCheck: m.GetSuccessfulActiveHealthCheckUnejectHost() == nil || m.GetSuccessfulActiveHealthCheckUnejectHost().GetValue(),
		DetectDegraded: m.GetDetectDegradedHosts().GetValue(),
	}
	c.MaxEjection = duration(m.GetMaxEjectionTime(), max(300*time.Second, c.BaseEjection))
	c.SuccessRate.MinHosts = number(m.GetSuccessRateMinimumHosts(), 5)
	c.SuccessRate.Volume = number(m.GetSuccessRateRequestVolume(), 100)
	c.SuccessRate.StdevFactor = number(m.GetSuccessRateStdevFactor(), 1900)
	c.FailurePercentage.Threshold = number(m.GetFailurePercentageThreshold(), 85)
	c.FailurePercentage.MinHosts = number(m.GetFailurePercentageMinimumHosts(), 5)
	c.FailurePercentage.Volume = number(m.GetFailurePercentageRequestVolume(), 50)
	if c.MaxEjection < c.BaseEjection {
		problems = append(problems, xds.Problem{
			Severity: xds.Error, Path: "max_ejection_time", Reason: "is below base_ejection_time, " + c.BaseEjection.String(),
			Remedy: "give at least that, or leave it out",
		})
	}
	if xds.HasErrors(problems) {
		return nil, problems
	}
	return c, problems
}

func number(v *wrapperspb.UInt32Value, def uint32) uint32 {
	if v == nil {
		return def
	}
	return v.GetValue()
}

func duration(v *durationpb.Duration, def time.Duration) time.Duration {
	if v == nil {
		return def
	}
	return v.AsDuration()
}
