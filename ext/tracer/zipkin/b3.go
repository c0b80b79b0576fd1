// SPDX-License-Identifier: Apache-2.0

package zipkin

import (
	"bytes"
	"encoding/hex"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/trace"
)

// Headers of B3 that have no constant.
var (
	parentSpanID = header.NewName("x-b3-parentspanid")
	debugFlags   = header.NewName("x-b3-flags")
)

// incoming is what a head tells of the trace.
type incoming struct {
	trace      trace.TraceID
	wide       bool
	id, parent trace.SpanID
	valid      bool // there are a trace and a span
	sampled    bool
	decided    bool // sampled was told
}

// extract reads the headers of B3: the single one goes first.
func extract(h *header.Map) incoming {
	if v := h.Get(header.B3); len(v) > 0 {
		if in, ok := single(v); ok {
			return in
		}
	}
	var in incoming
	switch string(h.Get(header.XB3Sampled)) {
	case "1", "true":
		in.sampled, in.decided = true, true
	case "0", "false":
		in.decided = true
	}
	if string(h.Get(debugFlags)) == "1" {
		in.sampled, in.decided = true, true
	}
	var ok bool
	if in.trace, in.wide, ok = parseTrace(h.Get(header.XB3TraceID)); !ok {
		return in
	}
	if in.id, ok = parseSpan(h.Get(header.XB3SpanID)); !ok {
		return in
	}
	if p := h.Get(parentSpanID); p != nil {
		in.parent, _ = parseSpan(p)
	}
	in.valid = true
	return in
}

// single reads "TRACE-SPAN", "TRACE-SPAN-SAMPLED", "TRACE-SPAN-SAMPLED-PARENT", or SAMPLED
// alone; it reports false for anything else.
func single(v []byte) (in incoming, ok bool) {
	if len(v) == 1 {
		return in, in.decision(v)
	}
	traceID, rest, ok := bytes.Cut(v, []byte("-"))
	if !ok {
		return in, false
	}
	if in.trace, in.wide, ok = parseTrace(traceID); !ok {
		return in, false
	}
	id, rest, more := bytes.Cut(rest, []byte("-"))
	if in.id, ok = parseSpan(id); !ok {
		return in, false
	}
	in.valid = true
	if !more {
		return in, true
	}
	d, parent, more := bytes.Cut(rest, []byte("-"))
	if !in.decision(d) {
		return incoming{}, false
	}
	if more {
		if in.parent, ok = parseSpan(parent); !ok {
			return incoming{}, false
		}
	}
	return in, true
}

// decision reads "1", "0" or, for debugging, "d".
func (in *incoming) decision(v []byte) bool {
	switch string(v) {
	case "1", "d":
		in.sampled = true
	case "0":
	default:
		return false
	}
	in.decided = true
	return true
}

func parseTrace(v []byte) (id trace.TraceID, wide, ok bool) {
	switch len(v) {
	case 16:
		_, err := hex.Decode(id[8:], v)
		return id, false, err == nil && id != (trace.TraceID{})
	case 32:
		_, err := hex.Decode(id[:], v)
		return id, true, err == nil && id != (trace.TraceID{})
	}
	return id, false, false
}

func parseSpan(v []byte) (id trace.SpanID, ok bool) {
	if len(v) != 16 {
		return id, false
	}
	_, err := hex.Decode(id[:], v)
	return id, err == nil && id != (trace.SpanID{})
}

// inject writes the headers of B3. The single one, if the client sent it, would
// contradict them.
func inject(s *trace.Span, h *header.Map) {
	h.Del(header.B3)
	h.Del(debugFlags)
	var room [32]byte
	from := 8
	if s.Wide {
		from = 0
	}
	h.SetBytes(header.XB3TraceID, hex.AppendEncode(room[:0], s.Trace[from:]))
	h.SetBytes(header.XB3SpanID, hex.AppendEncode(room[:0], s.ID[:]))
	if s.Parent != (trace.SpanID{}) {
		h.SetBytes(parentSpanID, hex.AppendEncode(room[:0], s.Parent[:]))
	} else {
		h.Del(parentSpanID)
	}
	if s.Sampled {
		h.Set(header.XB3Sampled, "1")
	} else {
		h.Set(header.XB3Sampled, "0")
	}
}
