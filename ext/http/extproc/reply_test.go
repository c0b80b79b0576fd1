// SPDX-License-Identifier: Apache-2.0

package extproc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/reserve"
	"weir.dev/weir/proxy/proxytest"
)

func reply(code typev3.StatusCode, body string) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
		Status: &typev3.HttpStatus{Code: code}, Body: []byte(body), Details: "by the processor",
		Headers: set("x-why", "so", "content-type", "text/html", "content-length", "1", "bad", "ok"),
	}}}
}

// TestReplies: the processor answers in place of the upstream, whatever it was asked.
func TestReplies(t *testing.T) {
	isKind := map[string]func(*extprocv3.ProcessingRequest) bool{
		"request headers":  func(q *extprocv3.ProcessingRequest) bool { return q.GetRequestHeaders() != nil },
		"request body":     func(q *extprocv3.ProcessingRequest) bool { return q.GetRequestBody() != nil },
		"response headers": func(q *extprocv3.ProcessingRequest) bool { return q.GetResponseHeaders() != nil },
		"response body":    func(q *extprocv3.ProcessingRequest) bool { return q.GetResponseBody() != nil },
	}
	for what, is := range isKind {
		addr := (&processor{serve: each(func(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
			if is(q) {
				return reply(403, "no!")
			}
			return agree(q)
		})}).listen(t)
		for _, mode := range []string{"BUFFERED", "STREAMED"} {
			t.Run(what+" "+mode, func(t *testing.T) {
				everyway(t, func(t *testing.T, downH2, upH2 bool) {
					p, _ := start(t, config{fields: fmt.Sprintf("message_timeout: 5s, processing_mode: {request_body_mode: %s, response_body_mode: %s}", mode, mode), upstreamH2: upH2}, addr)
					res := do(t, client(t, downH2), request(t, p, "POST", "/", "hello"))
					if what == "response body" && mode == "STREAMED" && (res.err != nil || res.status == 200) {
						return // The response had begun: the client must not take it for whole.
					}
					if res.err != nil || res.status != 403 || res.body != "no!" || res.header.Get("x-why") != "so" || res.header.Get("content-type") != "text/html" {
						t.Errorf("%+v", res)
					}
				})
			})
		}
	}
}

func TestReplyToGRPC(t *testing.T) {
	addr := (&processor{serve: each(func(*extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		a := reply(200, "why not")
		a.GetImmediateResponse().GrpcStatus = &extprocv3.GrpcStatus{Status: 9}
		return a
	})}).listen(t)
	p, _ := start(t, config{fields: "message_timeout: 5s"}, addr)
	res := do(t, client(t, true), request(t, p, "POST", "/a.B/C", "x", "content-type", "application/grpc"))
	if res.header.Get("grpc-status") != "9" || res.header.Get("grpc-message") != "why not" {
		t.Errorf("%+v", res)
	}
}

// TestFailures: what a processor must not do ends the request, or the processing.
func TestFailures(t *testing.T) {
	cases := []struct {
		name, fields string
		serve        func(talk) error
		status       int  // of a request that is not let through
		open         bool // it is let through in any case
		counter      string
	}{
		{"says nothing", "message_timeout: 0.05s", func(s talk) error { <-s.Context().Done(); return nil }, 504, false, "message_timeouts"},
		{"fails", "", func(talk) error { return status.Error(codes.PermissionDenied, "no") }, 500, false, "streams_failed"},
		{"fails with a status", "status_on_error: {code: 503}", func(talk) error { return status.Error(codes.Internal, "no") }, 503, false, "streams_failed"},
		{"ends", "", func(talk) error { return nil }, 200, true, "streams_closed"},
		{"answers a body first", "", each(func(*extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
			return onRequestBody(&extprocv3.CommonResponse{})
		}), 500, false, "spurious_msgs_received"},
		{"answers the response first", "", each(func(*extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
			return onResponse(&extprocv3.CommonResponse{})
		}), 500, false, "spurious_msgs_received"},
		{"answers nothing in particular", "", each(func(*extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
			return &extprocv3.ProcessingResponse{}
		}), 500, false, "spurious_msgs_received"},
		{"replies though it must not", "disable_immediate_response: true", each(func(*extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
			return reply(403, "no")
		}), 200, true, "spurious_msgs_received"},
	}
	for _, c := range cases {
		addr := (&processor{serve: c.serve}).listen(t)
		t.Run(c.name, func(t *testing.T) {
			for _, open := range []bool{false, true} {
				fields := fmt.Sprintf("failure_mode_allow: %v, %s", open, c.fields)
				if !strings.Contains(fields, "message_timeout") {
					fields += ", message_timeout: 10s"
				}
				p, up := start(t, config{fields: strings.ReplaceAll(fields, ", ,", ",")}, addr)
				res := do(t, client(t, true), request(t, p, "POST", "/", "hello"))
				want := c.status
				if open {
					want = 200
				}
				if res.err != nil || res.status != want || (want == 200) != (up.count() == 1) || want == 200 && res.body != "hello" {
					t.Errorf("open %v: %+v, want %d; %d requests", open, res, want, up.count())
				}
				if n := p.Counter("http.test.ext_proc." + c.counter); n == 0 {
					t.Errorf("%s is not counted", c.counter)
				}
				if n := p.Counter("http.test.ext_proc.failure_mode_allowed"); (n > 0) != (open && !c.open) {
					t.Errorf("open %v: failure_mode_allowed %d", open, n)
				}
			}
		})
	}
}

// TestGone: there is no processor at all.
func TestGone(t *testing.T) {
	for _, open := range []bool{false, true} {
		p, _ := start(t, config{fields: fmt.Sprintf("message_timeout: 10s, failure_mode_allow: %v, processing_mode: {request_body_mode: STREAMED}", open)}, reserve.TCP(t))
		res := do(t, client(t, false), request(t, p, "POST", "/", "hello"))
		if open && (res.status != 200 || res.body != "hello") || !open && res.status != 500 {
			t.Errorf("open %v: %+v", open, res)
		}
	}
}

// TestBrokenMidway: a processor that is gone within a body costs it nothing, if it may be
// done without, and no body is cut short in silence.
func TestBrokenMidway(t *testing.T) {
	for _, mode := range []string{"STREAMED", "FULL_DUPLEX_STREAMED"} {
		addr := (&processor{serve: func(s talk) error {
			n := 0
			for {
				q, err := s.Recv()
				if err != nil {
					return nil
				}
				if q.GetRequestBody() != nil {
					if n++; n > 2 {
						return status.Error(codes.Unavailable, "going")
					}
				}
				a := agree(q)
				if mode != "STREAMED" && q.GetRequestBody() != nil {
					a = onRequestBody(&extprocv3.CommonResponse{BodyMutation: piece(string(q.GetRequestBody().GetBody()), false)})
				}
				if err := s.Send(a); err != nil {
					return err
				}
			}
		}}).listen(t)
		for _, open := range []bool{false, true} {
			t.Run(fmt.Sprint(mode, open), func(t *testing.T) {
				p, up := start(t, config{fields: fmt.Sprintf("message_timeout: 10s, failure_mode_allow: %v, processing_mode: {response_header_mode: SKIP, request_trailer_mode: SEND, request_body_mode: %s}", open, mode)}, addr)
				large := strings.Repeat("x", 1<<20)
				res := do(t, client(t, true), request(t, p, "POST", "/", large))
				if mode == "STREAMED" && open {
					if res.err != nil || res.status != 200 || res.body != large {
						t.Errorf("%d with %d bytes, %v", res.status, len(res.body), res.err)
					}
					return
				}
				if res.err == nil && res.status != 500 {
					t.Errorf("%d with %d bytes, %v", res.status, len(res.body), res.err)
				}
				if up.count() > 0 && up.last(t).err == nil {
					t.Errorf("the upstream took %d bytes for all", len(up.last(t).body))
				}
			})
		}
	}
}

// TestOverrides: the processor says what else it wants to see, if it may.
func TestOverrides(t *testing.T) {
	proc := func() *processor {
		return &processor{serve: each(func(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
			a := shout(q)
			if q.GetRequestHeaders() != nil {
				a.ModeOverride = &extprocfilterv3.ProcessingMode{RequestBodyMode: extprocfilterv3.ProcessingMode_BUFFERED, ResponseHeaderMode: extprocfilterv3.ProcessingMode_SKIP}
			}
			return a
		})}
	}
	for _, fields := range []string{
		"",
		"allow_mode_override: true",
		"allow_mode_override: true, allowed_override_modes: [{response_body_mode: STREAMED}]",
		"allow_mode_override: true, allowed_override_modes: [{request_body_mode: BUFFERED, response_header_mode: SKIP}]",
	} {
		pr := proc()
		p, up := start(t, config{fields: strings.TrimSuffix("message_timeout: 10s, "+fields, ", ")}, pr.listen(t))
		res := do(t, client(t, true), request(t, p, "POST", "/", "hello"))
		if res.err != nil || res.status != 200 {
			t.Fatalf("%s: %+v", fields, res)
		}
		overridden := fields == "allow_mode_override: true" || strings.Contains(fields, "BUFFERED")
		if got := up.last(t).body; (got == "HELLO.") != overridden {
			t.Errorf("%s: the upstream got %q", fields, got)
		}
		var replies int
		for _, q := range pr.requests() {
			if q.GetResponseHeaders() != nil {
				replies++
			}
		}
		if (replies == 0) != overridden {
			t.Errorf("%s: the processor saw %d responses", fields, replies)
		}
	}
}

// TestMoreTime: a processor may ask for more time, once, and within limits.
func TestMoreTime(t *testing.T) {
	asks := func(d time.Duration) func(talk) error {
		return func(s talk) error {
			if _, err := s.Recv(); err != nil {
				return err
			}
			if err := s.Send(&extprocv3.ProcessingResponse{OverrideMessageTimeout: durationpb.New(d)}); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(s.Context(), 400*time.Millisecond)
			defer cancel()
			<-ctx.Done()
			if err := s.Send(onRequest(&extprocv3.CommonResponse{})); err != nil {
				return err
			}
			return each(agree)(s)
		}
	}
	for d, want := range map[time.Duration]int{20 * time.Second: 200, time.Hour: 504, 0: 504} {
		p, _ := start(t, config{fields: "message_timeout: 0.2s, max_message_timeout: 30s, processing_mode: {response_header_mode: SKIP}"}, (&processor{serve: asks(d)}).listen(t))
		if res := do(t, client(t, false), request(t, p, "GET", "/", "")); res.status != want {
			t.Errorf("%v: %+v, want %d", d, res, want)
		}
	}
}

// TestReplaceAll: the processor makes another request of one, and another response.
func TestReplaceAll(t *testing.T) {
	addr := (&processor{serve: each(func(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		c := &extprocv3.CommonResponse{Status: extprocv3.CommonResponse_CONTINUE_AND_REPLACE, HeaderMutation: set(":method", "PUT", "x-new", "1"), BodyMutation: replace("all new")}
		if q.GetRequestHeaders() != nil {
			return onRequest(c)
		}
		c.BodyMutation = replace("and new")
		return onResponse(c)
	})}).listen(t)
	everyway(t, func(t *testing.T, downH2, upH2 bool) {
		p, up := start(t, config{fields: "message_timeout: 10s, processing_mode: {request_body_mode: STREAMED, response_body_mode: BUFFERED}", upstreamH2: upH2}, addr)
		for _, body := range []string{"", "old"} {
			res := do(t, client(t, downH2), request(t, p, "POST", "/", body))
			if got := up.last(t); got.method != "PUT" || got.body != "all new" || got.length != 7 {
				t.Errorf("%+v", got)
			}
			if res.err != nil || res.body != "and new" || res.header.Get("x-new") != "1" {
				t.Errorf("%+v", res)
			}
		}
	})
}

// TestLengths: no message is sent whose head tells another length than its body has.
func TestLengths(t *testing.T) {
	for name, c := range map[string]struct {
		fields, length, body string
		status               int
	}{
		"wrong":    {"processing_mode: {request_body_mode: BUFFERED}", "", "longer than it was", 500},
		"right":    {"processing_mode: {request_body_mode: BUFFERED}", "3", "new", 200},
		"a lie":    {"processing_mode: {request_body_mode: BUFFERED}", "77", "", 200},
		"streamed": {"processing_mode: {request_body_mode: STREAMED}", "77", "new", 200},
		"kept":     {"allow_content_length_header: true, processing_mode: {request_body_mode: STREAMED}", "3", "new", 200},
		"none":     {"", "77", "", 200},
	} {
		t.Run(name, func(t *testing.T) {
			addr := (&processor{serve: each(func(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
				a := agree(q)
				if h := a.GetRequestHeaders(); h != nil && c.length != "" {
					h.Response.HeaderMutation = set("content-length", c.length)
				}
				if b := a.GetRequestBody(); b != nil && c.body != "" && len(q.GetRequestBody().GetBody()) > 0 {
					b.Response.BodyMutation = replace(c.body)
				}
				return a
			})}).listen(t)
			everyway(t, func(t *testing.T, downH2, upH2 bool) {
				p, up := start(t, config{fields: strings.TrimSuffix("message_timeout: 10s, "+c.fields, ", "), upstreamH2: upH2}, addr)
				res := do(t, client(t, downH2), request(t, p, "POST", "/", "hello"))
				if res.err != nil || res.status != c.status {
					t.Fatalf("%+v", res)
				}
				if c.status != 200 {
					return
				}
				want := c.body
				if want == "" {
					want = "hello"
				}
				if got := up.last(t); got.body != want || got.length >= 0 && got.length != int64(len(want)) || name == "kept" && got.length != 3 {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// TestTold: what the processor is told, and what it tells.
func TestTold(t *testing.T) {
	proc := &processor{serve: each(func(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		a := agree(q)
		if q.GetRequestHeaders() != nil {
			a.DynamicMetadata, _ = structpb.NewStruct(map[string]any{"mine": map[string]any{"user": "ann"}, "theirs": map[string]any{"user": "eve"}})
		}
		return a
	})}
	p, _ := start(t, config{
		fields: `message_timeout: 10s, stat_prefix: own, request_attributes: [request.path, "request.size", "source.port > 0", xds.none],
		response_attributes: [response.code], forward_rules: {disallowed_headers: {patterns: [{exact: x-secret}]}},
		metadata_options: {forwarding_namespaces: {untyped: [mine]}, receiving_namespaces: {untyped: [mine]}}, filter_metadata: {who: me}`,
		edge: proxytest.Edge{AccessLog: "%DYNAMIC_METADATA(mine:user)% %DYNAMIC_METADATA(theirs:user)% %FILTER_STATE(proc:FIELD:who)%"},
	}, proc.listen(t))
	if res := do(t, client(t, false), request(t, p, "GET", "/a?b", "", "x-secret", "1")); res.status != 200 {
		t.Fatalf("%+v", res)
	}
	if got := p.LogLines(1)[0]; got != "ann - me" {
		t.Errorf("logged: %s", got)
	}
	qs := proc.requests()
	if len(qs) != 2 {
		t.Fatalf("%d messages", len(qs))
	}
	a := qs[0].GetAttributes()["envoy.filters.http.ext_proc"].AsMap()
	if a["request.path"] != "/a?b" || a["request.size"] != "0" || a["source.port > 0"] != true || len(a) != 3 {
		t.Errorf("attributes: %v", a)
	}
	if a := qs[1].GetAttributes()["envoy.filters.http.ext_proc"].AsMap(); a["response.code"] != "200" {
		t.Errorf("attributes of the response: %v", a)
	}
	if qs[0].GetProtocolConfig() == nil || qs[1].GetProtocolConfig() != nil {
		t.Error("the configuration is told other than once")
	}
	for _, h := range qs[0].GetRequestHeaders().GetHeaders().GetHeaders() {
		if h.GetKey() == "x-secret" {
			t.Error("a secret field was told")
		}
	}
	if m := qs[1].GetMetadataContext().GetFilterMetadata()["mine"].AsMap(); m["user"] != "ann" {
		t.Errorf("metadata: %v", qs[1].GetMetadataContext())
	}
	if p.Counter("http.test.ext_proc.own.stream_msgs_sent") != 2 {
		t.Error("stat_prefix has no effect")
	}
	// A processor that was told of the end ends in peace.
	proxytest.Eventually(t, "the processor's stream ends", func() (bool, bool) {
		e := proc.ends()
		return len(e) == 1 && e[0] == nil, len(e) == 1
	})
}

func TestObserves(t *testing.T) {
	proc := &processor{serve: func(s talk) error {
		for {
			if _, err := s.Recv(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}}
	p, _ := start(t, config{fields: "observability_mode: true, deferred_close_timeout: 10s, processing_mode: {request_body_mode: STREAMED, response_body_mode: STREAMED, response_trailer_mode: SEND}", upstreamH2: true}, proc.listen(t))
	large := strings.Repeat("x", 1<<20)
	if res := do(t, client(t, true), request(t, p, "POST", "/", large, "x-trailers", "1")); res.err != nil || res.body != large {
		t.Fatalf("%d bytes, %v", len(res.body), res.err)
	}
	proxytest.Eventually(t, "all is seen", func() (string, bool) {
		in, out, tail, heads := 0, 0, 0, 0
		for _, q := range proc.requests() {
			if !q.GetObservabilityMode() {
				return "a message that asks for an answer", false
			}
			in += len(q.GetRequestBody().GetBody())
			out += len(q.GetResponseBody().GetBody())
			if q.GetResponseTrailers() != nil {
				tail++
			}
			if q.GetRequestHeaders() != nil || q.GetResponseHeaders() != nil {
				heads++
			}
		}
		return fmt.Sprint(in, out, tail, heads), in == len(large) && out == len(large) && tail == 1 && heads == 2
	})
}

// TestPerRoute: routes override the filter.
func TestPerRoute(t *testing.T) {
	proc := &processor{serve: each(shout)}
	perRoute := func(fields string) string {
		return `typed_per_filter_config: {proc: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute, ` + fields + `}}`
	}
	p, up := start(t, config{
		fields: "message_timeout: 10s, processing_mode: {request_header_mode: SKIP, response_header_mode: SKIP}",
		edge: proxytest.Edge{Routes: `- {match: {prefix: /off}, route: {cluster: up}, ` + perRoute("disabled: true") + `}
- {match: {prefix: /body}, route: {cluster: up}, ` + perRoute("overrides: {processing_mode: {request_body_mode: BUFFERED}, grpc_initial_metadata: [{key: x-who, value: me}], failure_mode_allow: true}") + `}
- {match: {prefix: /}, route: {cluster: up}}`},
	}, proc.listen(t))
	for path, want := range map[string]string{"/off": "hello", "/body": "HELLO.", "/": "hello"} {
		if res := do(t, client(t, false), request(t, p, "POST", path, "hello")); res.status != 200 || up.last(t).body != want {
			t.Errorf("%s: %d, the upstream got %q", path, res.status, up.last(t).body)
		}
	}
}

// TestReroutes: the route is matched anew where that is asked for and may be.
func TestReroutes(t *testing.T) {
	addr := (&processor{serve: each(func(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		if q.GetRequestHeaders() == nil {
			return agree(q)
		}
		return onRequest(&extprocv3.CommonResponse{ClearRouteCache: true, HeaderMutation: set("x-to", "direct")})
	})}).listen(t)
	for fields, want := range map[string]int{"": 418, "route_cache_action: RETAIN": 200, "disable_clear_route_cache: true": 200, "route_cache_action: CLEAR": 418} {
		p, _ := start(t, config{
			fields: strings.TrimSuffix("message_timeout: 10s, "+fields, ", "),
			edge: proxytest.Edge{Routes: `- {match: {prefix: /, headers: [{name: x-to, string_match: {exact: direct}}]}, direct_response: {status: 418}}
- {match: {prefix: /}, route: {cluster: up}}`},
		}, addr)
		if res := do(t, client(t, false), request(t, p, "GET", "/", "")); res.status != want {
			t.Errorf("%q: %d, want %d", fields, res.status, want)
		}
	}
}

// TestEager: the body goes to the processor before it has answered the head.
func TestEager(t *testing.T) {
	addr := (&processor{serve: func(s talk) error {
		var all string
		var pieces int
		for {
			q, err := s.Recv()
			if err != nil {
				return err
			}
			all += string(q.GetRequestBody().GetBody())
			if q.GetRequestBody() != nil {
				pieces++
			}
			if q.GetRequestBody().GetEndOfStream() {
				break
			}
		}
		if err := s.Send(onRequest(&extprocv3.CommonResponse{HeaderMutation: set("x-all", all)})); err != nil {
			return err
		}
		for range pieces {
			if err := s.Send(onRequestBody(&extprocv3.CommonResponse{})); err != nil {
				return err
			}
		}
		return each(agree)(s)
	}}).listen(t)
	everyway(t, func(t *testing.T, downH2, upH2 bool) {
		p, up := start(t, config{fields: "message_timeout: 10s, send_body_without_waiting_for_header_response: true, processing_mode: {request_body_mode: STREAMED}", upstreamH2: upH2}, addr)
		res := do(t, client(t, downH2), request(t, p, "POST", "/", "hello"))
		if got := up.last(t); res.status != 200 || got.body != "hello" || got.header.Get("x-all") != "hello" {
			t.Errorf("%+v, the upstream got %+v", res, got)
		}
	})
}

// TestRetries: a request is tried again with the body that the processor made.
func TestRetries(t *testing.T) {
	addr := (&processor{serve: each(shout)}).listen(t)
	for _, mode := range []string{"BUFFERED", "STREAMED", "BUFFERED_PARTIAL"} {
		p, up := start(t, config{
			fields: "message_timeout: 10s, processing_mode: {request_body_mode: " + mode + "}",
			edge:   proxytest.Edge{Routes: `- {match: {prefix: /}, route: {cluster: up, retry_policy: {retry_on: 5xx, num_retries: 2}}}`},
		}, addr)
		res := do(t, client(t, true), request(t, p, "POST", "/", "hello", "x-fail-once", "1"))
		if got := up.last(t); res.status != 200 || up.count() != 2 || !strings.HasPrefix(got.body, "HELLO.") {
			t.Errorf("%s: %+v after %d, the upstream got %q", mode, res, up.count(), got.body)
		}
	}
}

// TestAppends: each way of setting a field.
func TestAppends(t *testing.T) {
	addr := (&processor{serve: each(func(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		if q.GetRequestHeaders() == nil {
			return agree(q)
		}
		m := &extprocv3.HeaderMutation{}
		for name, action := range map[string]corev3.HeaderValueOption_HeaderAppendAction{
			"x-1": corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD, "x-2": corev3.HeaderValueOption_ADD_IF_ABSENT,
			"x-3": corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, "x-4": corev3.HeaderValueOption_OVERWRITE_IF_EXISTS, "x-5": corev3.HeaderValueOption_OVERWRITE_IF_EXISTS,
		} {
			o := &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, RawValue: []byte("new")}, AppendAction: action}
			m.SetHeaders = append(m.SetHeaders, o)
		}
		return onRequest(&extprocv3.CommonResponse{HeaderMutation: m})
	})}).listen(t)
	p, up := start(t, config{fields: "message_timeout: 10s"}, addr)
	if res := do(t, client(t, true), request(t, p, "GET", "/", "", "x-1", "old", "x-2", "old", "x-3", "old", "x-4", "old")); res.status != 200 {
		t.Fatalf("%+v", res)
	}
	h := up.last(t).header
	if got := fmt.Sprint(h["X-1"], h["X-2"], h["X-3"], h["X-4"], h["X-5"]); got != "[new] [old] [new] [new] []" {
		t.Error(got)
	}
}

func TestHTTPService(t *testing.T) {
	var answer string
	up := newUpstream(t)
	proc := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		for {
			q, err := s.Request()
			if err != nil {
				return
			}
			a := answer
			if strings.Contains(q, `"responseHeaders"`) {
				a = `{"responseHeaders":{"response":{"headerMutation":{"setHeaders":[{"header":{"key":"x-back","value":"1"}}]}}}}`
			}
			if s.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", len(a), a)) != nil {
				return
			}
		}
	})
	yaml := proxytest.Edge{
		Filters:  `- {name: proc, typed_config: {"@type": ` + kind + `, message_timeout: 10s, http_service: {http_service: {http_uri: {uri: "http://proc.example/process", cluster: proc, timeout: 1s}}}}}`,
		Clusters: "- {name: proc, connect_timeout: 1s, load_assignment: {cluster_name: proc, endpoints: [{lb_endpoints: [{endpoint: {address: {{proc}}}}]}]}}",
	}.YAML()
	for a, want := range map[string]int{
		`{"requestHeaders":{"response":{"headerMutation":{"setHeaders":[{"header":{"key":"x-new","rawValue":"YQ=="}}]}}}}`: 200,
		`{"immediateResponse":{"status":{"code":"Forbidden"},"body":"bm8="}}`:                                              403,
		`{"responseHeaders":{}}`: 500,
		`garbage`:                500,
	} {
		answer = a
		p := proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.addr, "proc": proc.Addr()}})
		res := do(t, client(t, false), request(t, p, http.MethodPost, "/", "hello"))
		if res.status != want {
			t.Errorf("%s: %+v, want %d", a, res, want)
		}
		if want == 200 && (res.header.Get("x-back") != "1" || up.last(t).header.Get("x-new") != "a" || up.last(t).body != "hello") {
			t.Errorf("%+v %+v", res, up.last(t))
		}
	}
}

func TestConfig(t *testing.T) {
	for fields, want := range map[string]string{
		"processing_mode: {request_body_mode: GRPC}":                                              "request_body_mode",
		"processing_mode: {request_body_mode: FULL_DUPLEX_STREAMED}":                              "request_trailer_mode",
		"mutation_rules: {allow_expression: {regex: '('}}":                                        "allow_expression",
		"request_attributes: ['request.']":                                                        "request_attributes[0]",
		"disable_clear_route_cache: true, route_cache_action: CLEAR":                              "disable_clear_route_cache",
		"http_service: {http_service: {http_uri: {uri: 'http://a', cluster: proc, timeout: 1s}}}": "http_service",
		"on_processing_response: {name: a}":                                                       "on_processing_response",
	} {
		_, err := proxytest.TryStart(t, config{fields: fields}.yaml(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1", "proc": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", fields, err, want)
		}
	}
}
