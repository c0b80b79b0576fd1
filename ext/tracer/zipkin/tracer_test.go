// SPDX-License-Identifier: Apache-2.0

package zipkin_test

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// The client's trace and span; numbers of the fields of zipkin.proto3.
const (
	wide = "463ac35c9f6413ad48485a3953bb6124"
	span = "a2fb4a1d1a96d312"

	fieldTrace, fieldID, fieldName, fieldLocal, fieldTags, fieldShared = 1, 3, 5, 8, 11, 13
	endpointService                                                    = 1
	mapKey, mapValue                                                   = 1, 2
)

// report is what a collector was sent.
type report struct {
	contentType, host, path string
	body                    []byte
}

// traced sends one request with B3's headers through a proxy that traces, and returns what
// the collector and the backend learned.
func traced(t *testing.T, fields string) (report, http.Header) {
	t.Helper()
	got, seen := make(chan report, 10), make(chan http.Header, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read spans: %v", err)
		}
		got <- report{r.Header.Get("content-type"), r.Host, r.URL.Path, b}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(collector.Close)
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	t.Cleanup(up.Close)
	e := proxytest.Edge{
		Bootstrap: "node: {id: edge-1, cluster: edge}",
		Manager:   `tracing: {custom_tags: [{tag: word, request_header: {name: x-word}}], provider: {name: zipkin, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: zipkin, collector_endpoint: /api/v2/spans, ` + fields + `}}}`,
		Clusters:  `- {name: zipkin, type: STATIC, connect_timeout: 5s, load_assignment: {cluster_name: zipkin, endpoints: [{lb_endpoints: [{endpoint: {address: {{zipkin}}}}]}]}}`,
	}
	p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{
		"up": strings.TrimPrefix(up.URL, "http://"), "zipkin": strings.TrimPrefix(collector.URL, "http://"),
	}})
	if r := p.Do("GET /a HTTP/1.1\r\nHost: shop\r\nx-word: please\r\nx-b3-traceid: " + wide + "\r\nx-b3-spanid: " + span + "\r\nx-b3-sampled: 1\r\n\r\n"); r.StatusCode != 200 {
		t.Fatal(r)
	}
	select {
	case r := <-got:
		p.WaitCounter("tracing.zipkin.spans_sent", 1)
		p.WaitCounter("tracing.zipkin.reports_sent", 1)
		return r, <-seen
	case <-time.After(proxytest.Patience):
		t.Fatal("the collector was sent nothing")
		return report{}, nil
	}
}

// TestProxyJSON: the span of a request is sent as JSON of version 2; the backend gets the
// client's trace and the span of the proxy.
func TestProxyJSON(t *testing.T) {
	r, head := traced(t, "collector_endpoint_version: HTTP_JSON, collector_hostname: zipkin.example, shared_span_context: false")
	var got []struct {
		TraceID, ID, ParentID, Kind, Name string
		Timestamp, Duration               int64
		Shared                            bool
		LocalEndpoint                     struct{ ServiceName string }
		Tags                              map[string]string
	}
	if err := json.Unmarshal(r.body, &got); err != nil || len(got) != 1 {
		t.Fatalf("%v in %s", err, r.body)
	}
	if r.contentType != "application/json" || r.host != "zipkin.example" || r.path != "/api/v2/spans" {
		t.Errorf("%+v", r)
	}
	s := got[0]
	if s.TraceID != wide || s.ParentID != span || s.ID == span || s.Kind != "SERVER" || s.Shared || s.Name != "shop" || s.LocalEndpoint.ServiceName != "edge" || s.Duration < 1 ||
		s.Tags["word"] != "please" || s.Tags["http.url"] != "http://shop/a" || s.Tags["http.status_code"] != "200" {
		t.Errorf("%+v", s)
	}
	if head.Get("x-b3-traceid") != wide || head.Get("x-b3-spanid") != s.ID || head.Get("x-b3-parentspanid") != span || head.Get("x-b3-sampled") != "1" {
		t.Errorf("the backend learned %v", head)
	}
}

// TestProxyProto: the same as a ListOfSpans of zipkin.proto3, which shares the client's span.
func TestProxyProto(t *testing.T) {
	r, head := traced(t, "collector_endpoint_version: HTTP_PROTO")
	if r.contentType != "application/x-protobuf" || r.host != "zipkin" {
		t.Errorf("%+v", r)
	}
	list := fieldsOf(t, r.body)[1]
	if len(list) != 1 {
		t.Fatalf("%d spans", len(list))
	}
	s := fieldsOf(t, list[0])
	tags := map[string]string{}
	for _, b := range s[fieldTags] {
		pair := fieldsOf(t, b)
		tags[string(pair[mapKey][0])] = string(pair[mapValue][0])
	}
	if hex.EncodeToString(s[fieldTrace][0]) != wide || hex.EncodeToString(s[fieldID][0]) != span || string(s[fieldName][0]) != "shop" || len(s[fieldShared]) != 1 ||
		string(fieldsOf(t, s[fieldLocal][0])[endpointService][0]) != "edge" || tags["word"] != "please" || tags["http.url"] != "http://shop/a" {
		t.Errorf("%q, tags %v", s, tags)
	}
	if head.Get("x-b3-spanid") != span {
		t.Errorf("the backend learned %v", head)
	}
}

// fieldsOf are the fields of a message by their numbers: of those that have a length their
// bytes, of others nothing.
func fieldsOf(t *testing.T, b []byte) map[protowire.Number][][]byte {
	t.Helper()
	out := map[protowire.Number][][]byte{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		size := 0
		if n >= 0 {
			size = protowire.ConsumeFieldValue(num, typ, b[n:])
		}
		if n < 0 || size < 0 {
			t.Fatalf("field %d cannot be read", num)
		}
		var value []byte
		if typ == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(b[n:])
		}
		out[num] = append(out[num], value)
		b = b[n+size:]
	}
	return out
}
