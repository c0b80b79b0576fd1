// SPDX-License-Identifier: Apache-2.0

package zipkin

import (
	"encoding/json"
	"testing"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/trace"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &tracev3.ZipkinConfig{}) }

const (
	wide   = "463ac35c9f6413ad48485a3953bb6124"
	narrow = "48485a3953bb6124"
	span   = "a2fb4a1d1a96d312"
	parent = "0020000000000001"
)

func head(pairs ...string) *header.Map {
	h := &header.Map{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(header.NewName(pairs[i]), pairs[i+1])
	}
	return h
}

func TestExtract(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		head                   *header.Map
		valid, decided, sample bool
		wide, parent           bool
	}{
		{name: "nothing", head: head()},
		{name: "several", head: head("x-b3-traceid", wide, "x-b3-spanid", span, "x-b3-parentspanid", parent, "x-b3-sampled", "1"), valid: true, decided: true, sample: true, wide: true, parent: true},
		{name: "narrow", head: head("x-b3-traceid", narrow, "x-b3-spanid", span, "x-b3-sampled", "0"), valid: true, decided: true},
		{name: "debug", head: head("x-b3-traceid", narrow, "x-b3-spanid", span, "x-b3-flags", "1"), valid: true, decided: true, sample: true},
		{name: "only sampled", head: head("x-b3-sampled", "1"), decided: true, sample: true},
		{name: "single", head: head("b3", wide+"-"+span+"-1-"+parent), valid: true, decided: true, sample: true, wide: true, parent: true},
		{name: "single, no parent", head: head("b3", narrow+"-"+span+"-d"), valid: true, decided: true, sample: true},
		{name: "single, undecided", head: head("b3", narrow+"-"+span), valid: true},
		{name: "single, only sampled", head: head("b3", "0"), decided: true},
		{name: "single goes first", head: head("b3", "0", "x-b3-sampled", "1"), decided: true},
		{name: "single, wrong", head: head("b3", "x-"+span, "x-b3-sampled", "1"), decided: true, sample: true},
		{name: "a trace alone", head: head("x-b3-traceid", narrow)},
		{name: "zero", head: head("x-b3-traceid", "0000000000000000", "x-b3-spanid", span)},
	} {
		in := extract(tt.head)
		if in.valid != tt.valid || in.decided != tt.decided || in.sampled != tt.sample || in.wide != tt.wide || (in.parent != trace.SpanID{}) != tt.parent {
			t.Errorf("%s: %+v", tt.name, in)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(wide+"-"+span+"-1-"+parent, narrow, span)
	f.Fuzz(func(t *testing.T, single, traceID, id string) {
		in := extract(head("b3", single, "x-b3-traceid", traceID, "x-b3-spanid", id))
		if in.valid && (in.trace == trace.TraceID{} || in.id == trace.SpanID{}) {
			t.Errorf("%q %q %q are taken", single, traceID, id)
		}
	})
}

// TestSharing: with a shared context the span is the client's; without, a child of it.
func TestSharing(t *testing.T) {
	h := head("x-b3-traceid", wide, "x-b3-spanid", span, "x-b3-parentspanid", parent, "x-b3-sampled", "1")
	for _, shared := range []bool{true, false} {
		s := trace.Span{Kind: trace.Server}
		(&Tracer{shared: shared}).Begin(&s, h, false)
		own, _ := parseSpan([]byte(span))
		up, _ := parseSpan([]byte(parent))
		if shared && (s.ID != own || s.Parent != up || !s.Shared) || !shared && (s.ID == own || s.Parent != own || s.Shared) || !s.Sampled {
			t.Errorf("shared %v: %+v", shared, s)
		}
	}
}

func TestInject(t *testing.T) {
	var s trace.Span
	tr := &Tracer{wide: true, w3c: true}
	tr.Begin(&s, head(":authority", "a"), true)
	h := head("b3", "0")
	tr.Inject(&s, h)
	id, own := s.IDs()
	if h.Has(header.B3) || string(h.Get(header.XB3TraceID)) != string(id) || string(h.Get(header.XB3SpanID)) != string(own) || string(h.Get(header.XB3Sampled)) != "1" ||
		h.Has(parentSpanID) || string(h.Get(header.Traceparent)) != "00-"+string(id)+"-"+string(own)+"-01" || len(id) != 32 {
		t.Errorf("%v", h)
	}
}

func some() *trace.Span {
	s := &trace.Span{Kind: trace.Client, Sampled: true, Start: 2_000_000, End: 5_000_000}
	s.NewTrace(false)
	s.NewID()
	s.Parent = s.ID
	s.SetName([]byte(`na"me`))
	s.TagText("http.url", "http://a/\x01\xff")
	s.TagText("b", "c")
	return s
}

func TestJSON(t *testing.T) {
	s := some()
	batch := appendJSON(appendJSON(nil, s, "svc"), s, "svc")
	var got []struct {
		TraceID, ID, ParentID, Kind, Name string
		Timestamp, Duration               int64
		LocalEndpoint                     struct{ ServiceName string }
		Tags                              map[string]string
	}
	if err := json.Unmarshal(listJSON(nil, batch), &got); err != nil {
		t.Fatalf("%v in %s", err, listJSON(nil, batch))
	}
	id, own := s.IDs()
	if g := got[1]; len(got) != 2 || g.TraceID != string(id) || g.ID != string(own) || g.ParentID != string(own) || g.Kind != "CLIENT" || g.Name != `na"me` ||
		g.Timestamp != 2000 || g.Duration != 3000 || g.LocalEndpoint.ServiceName != "svc" || g.Tags["b"] != "c" {
		t.Errorf("%+v", got)
	}
}

// TestProto: the fields of a span by their numbers in zipkin.proto.
func TestProto(t *testing.T) {
	list := listProto(nil, appendProto(appendProto(nil, some(), "svc"), some(), "svc"))
	spans := 0
	for len(list) > 0 {
		num, typ, n := protowire.ConsumeTag(list)
		if n < 0 || num != 1 || typ != protowire.BytesType {
			t.Fatalf("field %d", num)
		}
		list = list[n:]
		b, n := protowire.ConsumeBytes(list)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		list = list[n:]
		spans++
		seen := map[protowire.Number]int{}
		for len(b) > 0 {
			num, typ, n := protowire.ConsumeTag(b)
			size := 0
			if n >= 0 {
				size = protowire.ConsumeFieldValue(num, typ, b[n:])
			}
			if n < 0 || size < 0 {
				t.Fatalf("field %d cannot be read", num)
			}
			seen[num]++
			if num == fieldTrace && size != 9 || num == fieldName && string(b[n+1:n+size]) != `na"me` {
				t.Errorf("field %d is %x", num, b[n:n+size])
			}
			b = b[n+size:]
		}
		if seen[fieldTags] != 2 || seen[fieldTime] != 1 || seen[fieldLocal] != 1 || seen[fieldParent] != 1 {
			t.Errorf("fields %v", seen)
		}
	}
	if spans != 2 {
		t.Errorf("%d spans", spans)
	}
}
