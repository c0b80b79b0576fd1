// SPDX-License-Identifier: Apache-2.0

// Package trace begins and ends spans: of requests, of each attempt to reach a host, and of
// calls that filters make. It decides which requests are traced, and knows the tags that a
// span has as Envoy names them. What a trace looks like to others, in headers and to
// collectors, is the matter of a [Tracer], which plugs in.
//
// A request that is not sampled has a span, too, for its context is passed on, so that
// nobody behind samples what was not sampled here. That costs no allocation and no tags.
package trace

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"time"

	"weir.dev/weir/proxy/header"
)

// A Tracer knows how spans are told to others. Its methods may be called on any loop; they
// do not wait, and keep nothing of a span or head.
type Tracer interface {
	// Begin settles the identity of the span of a request, by its head: that of the trace
	// which it belongs to, or a new one. traced is what was decided here; where the head
	// tells another decision the tracer may take that.
	Begin(s *Span, h *header.Map, traced bool)
	// Inject writes the context of a span into the head of a request that is sent on.
	Inject(s *Span, h *header.Map)
	// Report takes a sampled span that has ended.
	Report(s *Span)
}

// A Kind is on which side of a request a span is, with the numbers of OTLP's SpanKind.
type Kind uint8

// Kinds of spans.
const (
	Server Kind = 2
	Client Kind = 3
)

// TraceID and SpanID identify a trace and a span; all zero is none. An identity of a trace
// that has 64 bits is the second half of a TraceID.
type (
	TraceID [16]byte
	SpanID  [8]byte
)

// A Span is one. The zero Span is ready for Begin. Its memory may be used again.
type Span struct {
	Kind    Kind
	Trace   TraceID
	Wide    bool // the trace's identity has 128 bits
	ID      SpanID
	Parent  SpanID
	Sampled bool
	// Shared tells that the span has the ID of the one at the client.
	Shared bool
	// Local tells that it was decided here whether the span is sampled.
	Local bool
	// State is what the trace has told others of itself (tracestate), a view of the head.
	State []byte
	// Start and End are nanoseconds since 1970.
	Start, End int64
	// Status is that of the response, or 0.
	Status int
	// Failed tells that the span has the tag error.
	Failed bool

	config *Config
	name   []byte
	tags   []tag
	events []event
	text   []byte // values of tags
	ids    [48]byte

	egress    bool   // it is of a listener whose traffic goes out
	operation string // of the decorator, to be told in the response
}

type tag struct {
	key      string
	from, to int // of text
}

type event struct {
	name string
	at   int64
}

// most bounds the memory that a span keeps for the next, in bytes.
const most = 16 << 10

// Reset forgets a span; memory is kept.
func (s *Span) Reset() {
	name, tags, events, text := s.name[:0], s.tags[:0], s.events[:0], s.text[:0]
	if cap(text) > most {
		text = nil
	}
	*s = Span{name: name, tags: tags, events: events, text: text}
}

// Name returns the name of the operation.
func (s *Span) Name() []byte { return s.name }

// SetName names the operation. Nothing is kept of name.
func (s *Span) SetName(name []byte) { s.name = append(s.name[:0], name...) }

// Tag sets a tag, in the place of one that has the key. Nothing is kept of value.
func (s *Span) Tag(key string, value []byte) {
	from := len(s.text)
	s.text = append(s.text, value...)
	s.put(key, from)
}

// TagText is Tag for text.
func (s *Span) TagText(key, value string) {
	from := len(s.text)
	s.text = append(s.text, value...)
	s.put(key, from)
}

// TagInt is Tag for a number.
func (s *Span) TagInt(key string, value int64) {
	from := len(s.text)
	s.text = strconv.AppendInt(s.text, value, 10)
	s.put(key, from)
}

// TagFunc is Tag for what f appends; nothing is no tag.
func (s *Span) TagFunc(key string, f func(dst []byte) []byte) {
	from := len(s.text)
	if s.text = f(s.text); len(s.text) > from {
		s.put(key, from)
	}
}

func (s *Span) put(key string, from int) {
	for i := range s.tags {
		if s.tags[i].key == key {
			s.tags[i].from, s.tags[i].to = from, len(s.text)
			return
		}
	}
	s.tags = append(s.tags, tag{key, from, len(s.text)})
}

// Tags calls f with each tag, in the order in which they were set first.
func (s *Span) Tags(f func(key string, value []byte)) {
	for _, t := range s.tags {
		f(t.key, s.text[t.from:t.to])
	}
}

// Events calls f with each event and its time in nanoseconds since 1970.
func (s *Span) Events(f func(name string, at int64)) {
	for _, e := range s.events {
		f(e.name, e.at)
	}
}

// NewID gives the span a random ID.
func (s *Span) NewID() { s.ID = random() }

// NewTrace gives it a random one of a trace, of 128 bits or of 64.
func (s *Span) NewTrace(wide bool) {
	s.Trace, s.Wide = TraceID{}, wide
	if low := random(); true {
		copy(s.Trace[8:], low[:])
	}
	if high := random(); wide {
		copy(s.Trace[:8], high[:])
	}
}

func random() (id SpanID) {
	for id == (SpanID{}) {
		binary.BigEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

// IDs returns the IDs of the trace and of the span in hexadecimal. They are valid until the
// span is reset.
func (s *Span) IDs() (trace, span []byte) {
	from := 8
	if s.Wide {
		from = 0
	}
	n := hex.Encode(s.ids[:], s.Trace[from:])
	m := hex.Encode(s.ids[n:], s.ID[:])
	return s.ids[:n], s.ids[n : n+m]
}

// Inject writes the span's context into the head of a request.
func (s *Span) Inject(h *header.Map) {
	if s.config != nil && !s.config.NoPropagation {
		s.config.Tracer.Inject(s, h)
	}
}

// Child begins, in the memory of a span that was reset, one of a request that is sent on
// for s. The name is that of the operation.
func (s *Span) Child(of *Span, name string) {
	s.config, s.Kind = of.config, Client
	s.Trace, s.Wide, s.Parent, s.State = of.Trace, of.Wide, of.ID, of.State
	s.Sampled, s.Local = of.Sampled, of.Local
	s.NewID()
	if s.Sampled {
		s.Start = time.Now().UnixNano()
		s.name = append(s.name[:0], name...)
	}
}

// Finish ends the span. Nothing is told of one that is not sampled.
func (s *Span) Finish() {
	if c := s.config; c != nil && s.Sampled && s.End == 0 {
		s.End = max(time.Now().UnixNano(), s.Start)
		c.Tracer.Report(s)
	}
}
