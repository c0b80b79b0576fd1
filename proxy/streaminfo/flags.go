// SPDX-License-Identifier: Apache-2.0

package streaminfo

// Flags are Envoy's response flags (%RESPONSE_FLAGS%): what went wrong, in a
// set of short codes.
type Flags uint32

// Response flags, in the order in which Envoy prints them.
const (
	FailedLocalHealthCheck Flags = 1 << iota
	NoHealthyUpstream
	UpstreamRequestTimeout
	LocalReset
	UpstreamRemoteReset
	UpstreamConnectionFailure
	UpstreamConnectionTermination
	UpstreamOverflow
	NoRouteFound
	DelayInjected
	FaultInjected
	RateLimited
	UnauthorizedExternalService
	RateLimitServiceError
	DownstreamConnectionTermination
	UpstreamRetryLimitExceeded
	StreamIdleTimeout
	InvalidEnvoyRequestHeaders
	DownstreamProtocolError
	UpstreamMaxStreamDurationReached
	ResponseFromCacheFilter
	NoFilterConfigFound
	DurationTimeout
	UpstreamProtocolError
	NoClusterFound
	OverloadManager
	DNSResolutionFailed
	DropOverload
	DownstreamRemoteReset
	UnconditionalDropOverload
	numFlags = iota
)

// flagNames has the short and the long name of each flag, in bit order.
var flagNames = [numFlags]struct{ short, long string }{
	{"LH", "FailedLocalHealthCheck"},
	{"UH", "NoHealthyUpstream"},
	{"UT", "UpstreamRequestTimeout"},
	{"LR", "LocalReset"},
	{"UR", "UpstreamRemoteReset"},
	{"UF", "UpstreamConnectionFailure"},
	{"UC", "UpstreamConnectionTermination"},
	{"UO", "UpstreamOverflow"},
	{"NR", "NoRouteFound"},
	{"DI", "DelayInjected"},
	{"FI", "FaultInjected"},
	{"RL", "RateLimited"},
	{"UAEX", "UnauthorizedExternalService"},
	{"RLSE", "RateLimitServiceError"},
	{"DC", "DownstreamConnectionTermination"},
	{"URX", "UpstreamRetryLimitExceeded"},
	{"SI", "StreamIdleTimeout"},
	{"IH", "InvalidEnvoyRequestHeaders"},
	{"DPE", "DownstreamProtocolError"},
	{"UMSDR", "UpstreamMaxStreamDurationReached"},
	{"RFCF", "ResponseFromCacheFilter"},
	{"NFCF", "NoFilterConfigFound"},
	{"DT", "DurationTimeout"},
	{"UPE", "UpstreamProtocolError"},
	{"NC", "NoClusterFound"},
	{"OM", "OverloadManagerTerminated"},
	{"DF", "DnsResolutionFailed"},
	{"DO", "DropOverload"},
	{"DR", "DownstreamRemoteReset"},
	{"UDO", "UnconditionalDropOverload"},
}

// Append appends the flags' short names joined by commas, or "-" if there is
// none.
func (f Flags) Append(dst []byte) []byte { return f.join(dst, false) }

// AppendLong appends the flags' long names.
func (f Flags) AppendLong(dst []byte) []byte { return f.join(dst, true) }

func (f Flags) join(dst []byte, long bool) []byte {
	if f == 0 {
		return append(dst, '-')
	}
	sep := false
	for i := range flagNames {
		if f&(1<<i) == 0 {
			continue
		}
		if sep {
			dst = append(dst, ',')
		}
		sep = true
		if long {
			dst = append(dst, flagNames[i].long...)
		} else {
			dst = append(dst, flagNames[i].short...)
		}
	}
	return dst
}

// ParseFlag returns the flag of a short name such as "UF".
func ParseFlag(short string) (Flags, bool) {
	for i := range flagNames {
		if flagNames[i].short == short {
			return 1 << i, true
		}
	}
	return 0, false
}
