// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"time"

	"weir.dev/weir/proxy/match"
)

// Config is a compiled OutlierDetection.
type Config struct {
	// Interval between two judgements, 10 s by default.
	Interval time.Duration
	// BaseEjection (30 s) times the number of ejections, but at most MaxEjection (300 s),
	// is how long a host is out; up to Jitter (0) is added.
	BaseEjection, MaxEjection, Jitter time.Duration
	// MaxPercent (10) of the hosts may be ejected at a time; with AlwaysOne, one may
	// in any case.
	MaxPercent uint32
	AlwaysOne  bool
	// Failures5xx, GatewayFailures and LocalFailures (5 each) are the lengths of runs of
	// failures that make a host an outlier; 0 is never. LocalFailures counts with Split only.
	Failures5xx, GatewayFailures, LocalFailures uint32
	// Split tells errors of connections, which then count apart, from those of responses.
	Split bool
	// SuccessRate compares the hosts with each other.
	SuccessRate struct {
		// MinHosts (5) with at least Volume (100) requests must be there.
		MinHosts, Volume uint32
		// StdevFactor (1900) thousandths of the standard deviation below the mean is
		// where outliers begin.
		StdevFactor uint32
	}
	// FailurePercentage compares each host with a fixed Threshold (85).
	FailurePercentage struct{ Threshold, MinHosts, Volume uint32 }
	// Enforcing is the chance in percent that an outlier of a kind is ejected.
	Enforcing [kinds]uint32
	// UnejectOnCheck takes an ejected host back when an active health check succeeds;
	// true by default.
	UnejectOnCheck bool
	// DetectDegraded believes x-envoy-degraded in responses.
	DetectDegraded bool
}

// A Kind is the reason for which a host is an outlier.
type Kind uint8

// Kinds, as Envoy's OutlierEjectionType numbers them.
const (
	Consecutive5xx Kind = iota
	ConsecutiveGatewayFailure
	SuccessRate
	ConsecutiveLocalOriginFailure
	SuccessRateLocalOrigin
	FailurePercentage
	FailurePercentageLocalOrigin
	Degraded
	kinds
)

// A key is a runtime key below "outlier_detection.".
type key string

const (
	key5xx                 key = "outlier_detection.consecutive_5xx"
	keyGatewayFailure      key = "outlier_detection.consecutive_gateway_failure"
	keyLocalFailure        key = "outlier_detection.consecutive_local_origin_failure"
	keyInterval            key = "outlier_detection.interval_ms"
	keyBaseEjection        key = "outlier_detection.base_ejection_time_ms"
	keyMaxEjection         key = "outlier_detection.max_ejection_time_ms"
	keyJitter              key = "outlier_detection.max_ejection_time_jitter_ms"
	keyMaxPercent          key = "outlier_detection.max_ejection_percent"
	keyRateHosts           key = "outlier_detection.success_rate_minimum_hosts"
	keyRateVolume          key = "outlier_detection.success_rate_request_volume"
	keyRateStdev           key = "outlier_detection.success_rate_stdev_factor"
	keyPercentageHosts     key = "outlier_detection.failure_percentage_minimum_hosts"
	keyPercentageVolume    key = "outlier_detection.failure_percentage_request_volume"
	keyPercentageThreshold key = "outlier_detection.failure_percentage_threshold"
)

// enforcing are the runtime keys of Config.Enforcing.
var enforcing = [kinds]key{
	Consecutive5xx:                "outlier_detection.enforcing_consecutive_5xx",
	ConsecutiveGatewayFailure:     "outlier_detection.enforcing_consecutive_gateway_failure",
	SuccessRate:                   "outlier_detection.enforcing_success_rate",
	ConsecutiveLocalOriginFailure: "outlier_detection.enforcing_consecutive_local_origin_failure",
	SuccessRateLocalOrigin:        "outlier_detection.enforcing_local_origin_success_rate",
	FailurePercentage:             "outlier_detection.enforcing_failure_percentage",
	FailurePercentageLocalOrigin:  "outlier_detection.enforcing_failure_percentage_local_origin",
}

// number is what the runtime has at a key, or what the configuration says.
func (d *Detector) number(k key, configured uint32) uint32 {
	if n, ok := d.o.Runtime.Int(string(k)); ok {
		return uint32(min(n, 1<<32-1))
	}
	return configured
}

// duration is number for milliseconds.
func (d *Detector) duration(k key, configured time.Duration) time.Duration {
	if n, ok := d.o.Runtime.Int(string(k)); ok {
		return time.Duration(min(n, 1<<40)) * time.Millisecond
	}
	return configured
}

// enforce draws whether an outlier is ejected.
func (d *Detector) enforce(k Kind) bool {
	f := match.RuntimeFraction{Key: string(enforcing[k]), Default: match.Fraction{N: d.o.Config.Enforcing[k]}}
	return f.Enabled(d.o.Runtime, d.o.Rand())
}
