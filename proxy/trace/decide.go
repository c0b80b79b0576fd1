// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
)

// Reason is why a request is traced, or why not.
type Reason uint8

// Reasons.
const (
	NotTraceable Reason = iota
	HealthCheck
	Sampling
	ServiceForced
	ClientForced
)

// Traced reports whether it is one to trace a request for.
func (r Reason) Traced() bool { return r >= Sampling }

// Keys of the runtime that override the fractions of the configuration.
const (
	KeyClient  = "tracing.client_enabled"
	KeyRandom  = "tracing.random_sampling"
	KeyOverall = "tracing.global_enabled"
)

// Config is how the requests of a connection manager are traced.
type Config struct {
	Tracer  Tracer
	Runtime match.Runtime
	// Client is the fraction of requests with x-client-trace-id that are traced, Random that
	// of all others, and Overall an upper bound.
	Client, Random, Overall match.Fraction
	// Pack notes the reason in the request's ID, at its 15th place; Unsampled tells that the
	// ID says nothing of sampling: all requests are traced, up to the tracer.
	Pack, Unsampled bool
	// Verbose adds events to spans.
	Verbose bool
	// MaxPath bounds the path within the tag http.url, in bytes.
	MaxPath int
	Custom  []route.Tag
	// Operation and UpstreamOperation name spans; nil is none.
	Operation, UpstreamOperation route.Formatter
	// Spawns asks for a span of its own for each attempt to reach a host.
	Spawns bool
	// NoPropagation keeps the context of spans from what is sent on.
	NoPropagation bool
	// Node and Zone are the proxy's.
	Node, Zone string
}

// Within an ID, as a UUID of version 4 is written, this place tells why it is traced.
const (
	lenID     = 36
	reasonAt  = 14
	notTraced = '4'
	sampled   = '9'
	forced    = 'a'
	byClient  = 'b'
)

func reasonOf(id []byte) Reason {
	if len(id) != lenID {
		return NotTraceable
	}
	switch id[reasonAt] {
	case sampled:
		return Sampling
	case forced:
		return ServiceForced
	case byClient:
		return ClientForced
	}
	return NotTraceable
}

// number is what the first eight digits of an ID say.
func number(id []byte) (uint64, bool) {
	if len(id) < 8 {
		return 0, false
	}
	var n uint64
	for _, c := range id[:8] {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | uint64(c-'A'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

// Decide decides whether a request is traced, by its x-request-id and what it asks for,
// and notes the reason in that ID. The route's fractions, if it has any, replace the
// configuration's. drawn is a random number.
func (c *Config) Decide(h *header.Map, r *route.Route, drawn uint64) Reason {
	if c.Unsampled {
		return Sampling
	}
	id := h.Get(header.XRequestID)
	n, ok := number(id)
	if !ok {
		return NotTraceable
	}
	client, rand, overall := c.Client, c.Random, c.Overall
	if r != nil && r.Tracing != nil {
		client, rand, overall = r.Tracing.ClientSampling, r.Tracing.RandomSampling, r.Tracing.OverallSampling
	}
	before := reasonOf(id)
	reason := before
	if reason == NotTraceable {
		switch {
		case h.Has(header.XClientTraceID) && c.enabled(KeyClient, client, drawn):
			reason = ClientForced
		case h.Has(header.XEnvoyForceTrace):
			reason = ServiceForced
		case c.enabled(KeyRandom, rand, n):
			reason = Sampling
		}
	}
	if reason != NotTraceable && !c.enabled(KeyOverall, overall, n) {
		reason = NotTraceable
	}
	if reason != before && c.Pack && len(id) == lenID {
		var own [lenID]byte
		copy(own[:], id)
		own[reasonAt] = [...]byte{NotTraceable: notTraced, HealthCheck: notTraced, Sampling: sampled, ServiceForced: forced, ClientForced: byClient}[reason]
		h.SetBytes(header.XRequestID, own[:])
	}
	return reason
}

func (c *Config) enabled(key string, by match.Fraction, n uint64) bool {
	f := match.RuntimeFraction{Default: by, Key: key}
	return f.Enabled(c.Runtime, n)
}
