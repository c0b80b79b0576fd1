// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"time"

	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// Runtime is where filters look up runtime keys.
type Runtime interface {
	// Uint returns the number at a key, or fallback.
	Uint(key string, fallback uint64) uint64
	// Enabled reports whether random falls into the share at a key, or into
	// numerator/denominator if the key is not set.
	Enabled(key string, numerator, denominator uint32, random uint64) bool
}

// comparison is GE, EQ or LE against a value that runtime may override.
type comparison struct {
	op    byte // '>', '=', '<'; '!' for NE
	value uint64
	key   string // "" without a runtime key
	look  Runtime
}

func (c *comparison) holds(n uint64) bool {
	v := c.value
	if c.key != "" && c.look != nil {
		v = c.look.Uint(c.key, v)
	}
	switch c.op {
	case '>':
		return n >= v
	case '<':
		return n <= v
	case '!':
		return n != v
	}
	return n == v
}

func statusCode(c comparison) Filter {
	return func(s *streaminfo.Stream, _ Type) bool { return c.holds(uint64(max(s.Status, 0))) }
}

// duration compares milliseconds; a stream that has not ended counts until
// now.
func duration(c comparison, now func() time.Time) Filter {
	return func(s *streaminfo.Stream, _ Type) bool {
		d := s.Duration
		if d == 0 && !s.Start.IsZero() {
			d = now().Sub(s.Start)
		}
		return c.holds(uint64(max(d.Milliseconds(), 0)))
	}
}

func notHealthCheck(s *streaminfo.Stream, _ Type) bool { return !s.HealthCheck }

func traceable(s *streaminfo.Stream, _ Type) bool { return s.TraceForced }

// sampled is the runtime filter: a share of requests, the same ones in every
// proxy that sees the same x-request-id.
type sampled struct {
	key         string
	numerator   uint32
	denominator uint32
	independent bool
	look        Runtime
	random      func() uint64
}

func (f *sampled) log(s *streaminfo.Stream, _ Type) bool {
	n, ok := uint64(0), false
	if !f.independent {
		n, ok = requestNumber(s.Request)
	}
	if !ok {
		n = f.random()
	}
	if f.look != nil {
		return f.look.Enabled(f.key, f.numerator, f.denominator, n)
	}
	return n%uint64(f.denominator) < uint64(f.numerator)
}

// requestNumber reads a number from x-request-id as Envoy's UUID extension
// does: its first eight hexadecimal digits.
func requestNumber(m *header.Map) (uint64, bool) {
	if m == nil {
		return 0, false
	}
	id := m.Get(header.XRequestID)
	if len(id) < 8 {
		return 0, false
	}
	n := uint64(0)
	for _, c := range id[:8] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		n = n<<4 | uint64(c)
	}
	return n, true
}

func all(filters []Filter) Filter {
	return func(s *streaminfo.Stream, t Type) bool {
		for _, f := range filters {
			if !f(s, t) {
				return false
			}
		}
		return true
	}
}

func some(filters []Filter) Filter {
	return func(s *streaminfo.Stream, t Type) bool {
		for _, f := range filters {
			if f(s, t) {
				return true
			}
		}
		return false
	}
}

// noHeaders stands for the request of a stream that has none, so that a
// matcher for an absent header still matches.
var noHeaders = &header.Map{}

func headers(match func(*header.Map) bool) Filter {
	return func(s *streaminfo.Stream, _ Type) bool {
		if s.Request == nil {
			return match(noHeaders)
		}
		return match(s.Request)
	}
}

func responseFlags(flags streaminfo.Flags) Filter {
	return func(s *streaminfo.Stream, _ Type) bool {
		if flags == 0 {
			return s.Flags != 0
		}
		return s.Flags&flags != 0
	}
}

// grpcStatus matches a set of codes, one bit each. A stream without any status
// counts as Unknown.
func grpcStatus(codes uint32, exclude bool) Filter {
	return func(s *streaminfo.Stream, _ Type) bool {
		code, ok := format.GRPCStatus(s)
		if !ok {
			code = 2
		}
		found := code >= 0 && code < 32 && codes&(1<<code) != 0
		return found != exclude
	}
}

// dynamicMetadata matches a value of the stream's metadata; absent is the
// answer if there is none. A path without a step names no value.
func dynamicMetadata(namespace string, path []string, match func(any, bool) bool, absent bool) Filter {
	return func(s *streaminfo.Stream, _ Type) bool {
		if len(path) == 0 {
			return absent
		}
		v, ok := s.Metadata.Lookup(namespace, path...)
		if !ok {
			return absent
		}
		return match != nil && match(v, true)
	}
}

func logTypes(types uint32, exclude bool) Filter {
	return func(_ *streaminfo.Stream, t Type) bool {
		return (types&(1<<t) != 0) != exclude
	}
}
