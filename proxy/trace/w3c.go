// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"encoding/hex"

	"weir.dev/weir/proxy/header"
)

// lenTraceparent is the length of a traceparent of version 00:
// 00-<trace, 32>-<span, 16>-<flags, 2>.
const lenTraceparent = 2 + 1 + 32 + 1 + 16 + 1 + 2

// ExtractW3C reads the context of a span from a head (W3C Trace Context): the trace, and the
// span at the client as the parent. It reports false, and changes nothing, if there is
// none that is valid.
func (s *Span) ExtractW3C(h *header.Map) bool {
	p := h.Get(header.Traceparent)
	if len(p) < lenTraceparent || p[2] != '-' || p[35] != '-' || p[52] != '-' {
		return false
	}
	// A later version may add more, after another hyphen.
	if len(p) > lenTraceparent && (string(p[:2]) == "00" || p[lenTraceparent] != '-') {
		return false
	}
	var b [1 + 16 + 8 + 1]byte
	for _, part := range [...]struct{ from, to, at int }{{0, 2, 0}, {3, 35, 1}, {36, 52, 17}, {53, 55, 25}} {
		if !LowerHex(p[part.from:part.to]) {
			return false
		}
		if _, err := hex.Decode(b[part.at:], p[part.from:part.to]); err != nil {
			return false
		}
	}
	trace, parent := TraceID(b[1:17]), SpanID(b[17:25])
	if b[0] == 0xff || trace == (TraceID{}) || parent == (SpanID{}) {
		return false
	}
	s.Trace, s.Parent, s.Wide, s.Sampled = trace, parent, true, b[25]&1 != 0
	s.State = bytes.TrimSpace(h.Get(header.Tracestate))
	return true
}

// LowerHex reports whether b is hexadecimal in lower case.
func LowerHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// InjectW3C writes the context of a span into a head.
func (s *Span) InjectW3C(h *header.Map) {
	var room [lenTraceparent]byte
	b := append(room[:0], "00-"...)
	b = hex.AppendEncode(b, s.Trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, s.ID[:])
	if s.Sampled {
		b = append(b, "-01"...)
	} else {
		b = append(b, "-00"...)
	}
	h.SetBytes(header.Traceparent, b)
	if len(s.State) > 0 {
		h.SetBytes(header.Tracestate, s.State)
	} else {
		h.Del(header.Tracestate) // It may be that of a trace that was not valid.
	}
}
