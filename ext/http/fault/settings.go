// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"math"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

// Settings is a compiled HTTPFault.
type Settings struct {
	delay     *delay // nil: none
	abort     *abort
	rate      *rate
	cluster   string
	headers   match.Headers
	nodes     []string
	maxActive int64
	noStats   bool
	metadata  map[string]any
	keys      keys
}

// keys are the runtime keys.
type keys struct {
	delayPercent, delayDuration          string
	abortPercent, abortStatus, abortGRPC string
	maxActive, ratePercent               string
}

type delay struct {
	share  match.Fraction
	fixed  int64 // milliseconds
	header bool
}

type abortKind uint8

const (
	abortHTTP abortKind = iota
	abortGRPC
	abortHeader
)

type abort struct {
	share match.Fraction
	kind  abortKind
	code  int64
	body  string
}

type rate struct {
	share  match.Fraction
	kbps   uint64 // KiB a second
	header bool
}

// names are the headers by which a client asks for faults.
type names struct {
	delay, delayPercent            header.Name
	abort, abortGRPC, abortPercent header.Name
	throughput, throughputPercent  header.Name
}

var ask = names{
	delay:             header.NewName("x-envoy-fault-delay-request"),
	delayPercent:      header.NewName("x-envoy-fault-delay-request-percentage"),
	abort:             header.NewName("x-envoy-fault-abort-request"),
	abortGRPC:         header.NewName("x-envoy-fault-abort-grpc-request"),
	abortPercent:      header.NewName("x-envoy-fault-abort-request-percentage"),
	throughput:        header.NewName("x-envoy-fault-throughput-response"),
	throughputPercent: header.NewName("x-envoy-fault-throughput-response-percentage"),
}

// number reads the first value of a header as a decimal number.
func number(h *header.Map, n header.Name) (int64, bool) {
	b := h.Get(n)
	if len(b) == 0 {
		return 0, false
	}
	v := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' || v > (math.MaxInt64-9)/10 {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	return v, true
}

// lower is a share that a client may lower, by a header in the share's own
// parts.
func lower(f match.Fraction, h *header.Map, n header.Name) match.Fraction {
	if v, ok := number(h, n); ok && v < int64(f.N) {
		f.N = uint32(v)
	}
	return f
}

func (d *delay) portion(h *header.Map) match.Fraction {
	if !d.header {
		return d.share
	}
	return lower(d.share, h, ask.delayPercent)
}

// millis returns how long to delay, if at all.
func (d *delay) millis(h *header.Map) (int64, bool) {
	if !d.header {
		return d.fixed, true
	}
	return number(h, ask.delay)
}

func (a *abort) portion(h *header.Map) match.Fraction {
	if a.kind != abortHeader {
		return a.share
	}
	return lower(a.share, h, ask.abortPercent)
}

// status returns the HTTP status to abort with.
func (a *abort) status(h *header.Map) (int64, bool) {
	switch a.kind {
	case abortHTTP:
		return a.code, true
	case abortHeader:
		v, ok := number(h, ask.abort)
		return v, ok && v >= 200 && v < 600
	}
	return 0, false
}

// grpc returns the gRPC status to abort with.
func (a *abort) grpc(h *header.Map) (int64, bool) {
	switch a.kind {
	case abortGRPC:
		return a.code, true
	case abortHeader:
		v, ok := number(h, ask.abortGRPC)
		return v, ok && v <= math.MaxInt32
	}
	return 0, false
}

func (r *rate) portion(h *header.Map) match.Fraction {
	if !r.header {
		return r.share
	}
	return lower(r.share, h, ask.throughputPercent)
}

// limit returns the rate in KiB a second.
func (r *rate) limit(h *header.Map) (uint64, bool) {
	if !r.header {
		return r.kbps, true
	}
	v, ok := number(h, ask.throughput)
	return uint64(v), ok && v > 0
}
