// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strings"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

// RetryOn is the set of conditions under which a request is tried again.
type RetryOn uint32

// Conditions, under the names of x-envoy-retry-on and x-envoy-retry-grpc-on.
const (
	Retry5xx                RetryOn = 1 << iota // 5xx
	RetryGatewayError                           // gateway-error
	RetryConnectFailure                         // connect-failure
	RetryEnvoyRatelimited                       // envoy-ratelimited
	RetryRetriable4xx                           // retriable-4xx
	RetryRefusedStream                          // refused-stream
	RetryStatusCodes                            // retriable-status-codes
	RetryHeaders                                // retriable-headers
	RetryReset                                  // reset
	RetryResetBeforeRequest                     // reset-before-request
	RetryHTTP3PostConnect                       // http3-post-connect-failure
	RetryGRPCCancelled                          // cancelled
	RetryGRPCDeadline                           // deadline-exceeded
	RetryGRPCInternal                           // internal
	RetryGRPCExhausted                          // resource-exhausted
	RetryGRPCUnavailable                        // unavailable
	RetryAnyGRPC            = RetryGRPCCancelled | RetryGRPCDeadline | RetryGRPCInternal | RetryGRPCExhausted | RetryGRPCUnavailable
)

// retryNames are the conditions' names in bit order.
var retryNames = [...]string{
	"5xx", "gateway-error", "connect-failure", "envoy-ratelimited",
	"retriable-4xx", "refused-stream", "retriable-status-codes",
	"retriable-headers", "reset", "reset-before-request",
	"http3-post-connect-failure", "cancelled", "deadline-exceeded",
	"internal", "resource-exhausted", "unavailable",
}

// ParseRetryOn reads a list of conditions joined by commas, of HTTP and gRPC
// alike. Unknown names are left out; unknown is the first of them, or "".
func ParseRetryOn(list string) (on RetryOn, unknown string) {
	for list != "" {
		var name string
		name, list, _ = strings.Cut(list, ",")
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		bit := RetryOn(0)
		for i, n := range retryNames {
			if n == name {
				bit = 1 << i
			}
		}
		if bit == 0 && unknown == "" {
			unknown = name
		}
		on |= bit
	}
	return on, unknown
}

// Response reports whether a response is one to try again after, by its status and its
// head alone: a gRPC status counts if it is there (Trailers-Only).
func (on RetryOn) Response(status int, h *header.Map) bool {
	if h.Has(header.XEnvoyRatelimited) {
		return on&RetryEnvoyRatelimited != 0
	}
	return on&Retry5xx != 0 && status >= 500 ||
		on&RetryGatewayError != 0 && status >= 502 && status <= 504 ||
		on&RetryRetriable4xx != 0 && status == 409 ||
		on&RetryAnyGRPC != 0 && on.grpc(h.Get(header.GRPCStatus))
}

func (on RetryOn) grpc(status []byte) bool {
	switch string(status) {
	case "1":
		return on&RetryGRPCCancelled != 0
	case "4":
		return on&RetryGRPCDeadline != 0
	case "8":
		return on&RetryGRPCExhausted != 0
	case "13":
		return on&RetryGRPCInternal != 0
	case "14":
		return on&RetryGRPCUnavailable != 0
	}
	return false
}

// Connect reports whether a try is made again whose connection could not be made.
func (on RetryOn) Connect() bool {
	return on&(RetryConnectFailure|Retry5xx|RetryGatewayError|RetryReset|RetryResetBeforeRequest) != 0
}

// Reset reports whether a try is made again that was broken off: refused tells that the
// host said it has not looked at the request, begun that it may have seen part of it.
func (on RetryOn) Reset(refused, begun bool) bool {
	return on&(Retry5xx|RetryGatewayError|RetryReset) != 0 ||
		refused && on&RetryRefusedStream != 0 ||
		!begun && on&RetryResetBeforeRequest != 0
}

// RetryInterval is the time of which the pause before a retry, counted from 1, is a
// random part: base, twice base, and so on up to most.
func RetryInterval(base, most time.Duration, retry int) time.Duration {
	d := base
	for range min(retry-1, 64) {
		if d >= most/2 {
			return most
		}
		d *= 2
	}
	return max(min(d, most), 1)
}

// RetryPolicy is RouteAction.retry_policy, or else the virtual host's.
type RetryPolicy struct {
	On         RetryOn
	NumRetries uint32 // 1 by default
	// PerTryTimeout bounds each try, PerTryIdleTimeout its silence; 0 is none.
	PerTryTimeout, PerTryIdleTimeout time.Duration
	// Priority and HostPredicates are what [Context.RetryPriority] and
	// [Context.RetryHostPredicate] compiled.
	Priority       any
	HostPredicates []any
	// HostAttempts is how often a host is chosen anew if a predicate refuses
	// it: 1 by default.
	HostAttempts int64
	StatusCodes  []int
	// BackOff is 25 ms to 250 ms by default, Max ten times Base if only Base is
	// configured. BackOffSet tells that it is configured.
	BackOffBase, BackOffMax time.Duration
	BackOffSet              bool
	// RateLimited is nil if not configured.
	RateLimited *RateLimitedBackOff
	// Headers are response headers of which any match makes the response
	// retriable. RequestHeaders, if any, are those of which one must match for
	// a request to be retried at all.
	Headers, RequestHeaders match.Headers
}

// RetriableStatus reports whether a status is in StatusCodes.
func (p *RetryPolicy) RetriableStatus(status int) bool {
	for _, s := range p.StatusCodes {
		if s == status {
			return true
		}
	}
	return false
}

// RateLimitedBackOff waits as long as a response's header asks.
type RateLimitedBackOff struct {
	Headers     []ResetHeader
	MaxInterval time.Duration // 300 s by default
}

// ResetHeader is a header that tells when to try again.
type ResetHeader struct {
	Name header.Name
	// Unix tells that the value is a moment in seconds since 1970, not a
	// number of seconds to wait.
	Unix bool
}

// Interval returns how long the first of the headers in h that has a valid value, of
// MaxInterval at most, asks to wait, and false if there is none.
func (b *RateLimitedBackOff) Interval(h *header.Map, now time.Time) (time.Duration, bool) {
	for _, r := range b.Headers {
		v := h.Get(r.Name)
		if v == nil {
			continue
		}
		n, ok := parseSeconds(v)
		if !ok {
			continue
		}
		if r.Unix {
			n -= now.Unix()
			if n <= 0 {
				continue
			}
		}
		if n > int64(b.MaxInterval/time.Second) {
			continue // As in Envoy: too long to wait for, and so no reason to wait at all.
		}
		return time.Duration(n) * time.Second, true
	}
	return 0, false
}

// parseSeconds reads a decimal number; one too long for an int64 is no number.
func parseSeconds(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
