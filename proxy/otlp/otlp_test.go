// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"strings"
	"testing"

	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	otlpv1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/internal/wire"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/trace"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestRecord(t *testing.T) {
	r := Record{
		Time: 1, Observed: 2, Body: &Value{Of: []byte("raw")}, TraceID: []byte("0af7651916cd43dd8448eb211c80319c"), SpanID: []byte("b7ad6b7169203331"),
		Attributes: []Pair{{"long", Value{Of: strings.Repeat("x", 1<<20)}}, {"none", Value{}}}, Extra: []Pair{{"more", Value{Of: true}}},
	}
	batch := r.Append(nil, nil)
	batch = r.Append(batch, nil)
	m := &logsv1.LogsData{}
	if err := proto.Unmarshal(Export(nil, "", Resource([]Pair{{"a", Value{Of: "b"}}}), "weir", "1").Request(nil, batch), m); err != nil {
		t.Fatal(err)
	}
	logs := m.GetResourceLogs()[0]
	if got := logs.GetResource().GetAttributes()[0]; got.GetKey() != "a" || got.GetValue().GetStringValue() != "b" {
		t.Errorf("resource %v", got)
	}
	if s := logs.GetScopeLogs()[0].GetScope(); s.GetName() != "weir" || s.GetVersion() != "1" {
		t.Errorf("scope %v", s)
	}
	if n := len(logs.GetScopeLogs()[0].GetLogRecords()); n != 2 {
		t.Fatalf("%d records", n)
	}
	got := logs.GetScopeLogs()[0].GetLogRecords()[1]
	if got.GetTimeUnixNano() != 1 || got.GetObservedTimeUnixNano() != 2 || string(got.GetBody().GetBytesValue()) != "raw" || len(got.GetTraceId()) != 16 || len(got.GetSpanId()) != 8 ||
		len(got.GetAttributes()) != 3 || len(got.GetAttributes()[0].GetValue().GetStringValue()) != 1<<20 || !got.GetAttributes()[2].GetValue().GetBoolValue() {
		t.Errorf("%.200v", got)
	}
}

// TestForeignText: what a client sent makes no message that a reader refuses.
func TestForeignText(t *testing.T) {
	f, err := format.Compile("%REQ(x-raw)%", format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := &header.Map{}
	h.Add(header.NewName("x-raw"), "caf\xe9")
	body := Value{Format: f}
	r := Record{Body: &body, Extra: []Pair{{"state", Value{Of: "\xff\xfe"}}}}
	logs := &logsv1.LogsData{}
	if err := proto.Unmarshal(Export(nil, "", nil, "", "").Request(nil, r.Append(nil, &format.Context{Stream: &streaminfo.Stream{Request: h}})), logs); err != nil {
		t.Fatal(err)
	}
	got := logs.GetResourceLogs()[0].GetScopeLogs()[0].GetLogRecords()[0]
	if got.GetBody().GetStringValue() != "caf!" || got.GetAttributes()[0].GetValue().GetStringValue() != "!" {
		t.Error(got)
	}
	s := &trace.Span{Sampled: true, State: []byte("a=\xff")}
	s.SetName([]byte("na\xff"))
	s.TagText("raw", "\xffé")
	spans := &otlpv1.TracesData{}
	if err := proto.Unmarshal(Export(nil, "", nil, "", "").Request(nil, AppendSpan(nil, s)), spans); err != nil {
		t.Fatal(err)
	}
	x := spans.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()[0]
	if x.GetName() != "na!" || x.GetTraceState() != "a=!" || x.GetAttributes()[0].GetValue().GetStringValue() != "!é" {
		t.Error(x)
	}
}

func TestWrongIDs(t *testing.T) {
	for _, id := range []string{"x", strings.Repeat("a", 34), "abc"} {
		if b := appendHex(nil, 9, []byte(id)); len(b) != 0 {
			t.Errorf("%q is an ID: %x", id, b)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	f, err := format.Compile("%PROTOCOL% %RESPONSE_CODE%", format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	body := Value{Format: f}
	r := Record{Body: &body, Attributes: []Pair{{"a", Value{Format: f}}}}
	c := format.Context{Stream: &streaminfo.Stream{Protocol: streaminfo.HTTP11, Status: 200}}
	buf := make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() { buf = r.Append(buf[:0], &c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRejected(f *testing.F) {
	f.Add([]byte{1<<3 | wire.Length, 2, 1 << 3, 5})
	f.Fuzz(func(_ *testing.T, b []byte) { rejected(b) })
}
