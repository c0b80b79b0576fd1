// SPDX-License-Identifier: Apache-2.0

package fn_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/ext/http/fn"
	"weir.dev/weir/internal/fnserver"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/test/fntest"
)

func TestMain(m *testing.M) {
	fntest.Function(http.HandlerFunc(told))
	leak.Main(m)
}

// told is a function that answers with what it was told, and as it was asked to.
func told(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	for _, v := range r.Header["Fn-Http-H-Answer"] {
		name, value, _ := strings.Cut(v, "=")
		w.Header().Add(name, value)
	}
	if r.Header.Get("Fn-Http-H-Fail") != "" {
		w.WriteHeader(http.StatusBadGateway)
	}
	h := map[string]string{}
	for name := range r.Header {
		h[name] = strings.Join(r.Header[name], ",")
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"method": r.Method, "header": h, "body": string(body), "pid": os.Getpid()})
}

// answer is what told answers.
type answer struct {
	Header map[string]string
	Body   string
	PID    int
}

func read(t *testing.T, res *proxytest.Response) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal([]byte(res.Content), &a); err != nil {
		t.Fatalf("%v: %v", err, res)
	}
	return a
}

// options are a cluster's, with the filter.
func options(value string) string {
	return `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {}}
    http_filters:
    - {name: fn, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/` + fn.Type + `, value: ` + value + `}}
    - {name: codec, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}`
}

// start runs a proxy in front of a server.
func start(t *testing.T, value, addr string, e proxytest.Edge) *proxytest.Proxy {
	t.Helper()
	e.Cluster = options(value)
	e.AccessLog = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": addr}})
}

// serve is a server with functions: told as a process, by all APIs, and others.
func serve(t *testing.T) (*fnserver.Server, string) {
	t.Helper()
	s, addr := fntest.Serve(t)
	s.Add(fnserver.Function{App: "app", Path: "/told", ID: "TOLD", Run: fntest.Process(t)})
	s.Add(fnserver.Function{App: "app", Path: "/told/more", Run: fnserver.Text("more")})
	s.Add(fnserver.Function{App: "app", Path: "/slow", ID: "SLOW", Timeout: 20 * time.Millisecond, Run: fnserver.Here(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}))})
	s.Add(fnserver.Function{App: "app", Path: "/async", Async: true, Run: fnserver.Text("nobody sees it")})
	return s, addr
}

const post = "POST /a/b?c=d HTTP/1.1\r\nhost: fn.example.com:81\r\nx-a: 1\r\nx-a: 2\r\nFn-Invoke-Type: detached\r\nfn-http-h-x: y\r\nfn-intent: cloudevent\r\n" +
	"content-type: text/plain\r\ncontent-length: 5\r\nanswer: Fn-Http-Status=404\r\nanswer: Fn-Http-H-X-Own=1\r\nanswer: Fn-Http-H-Set-Cookie=a=b\r\nanswer: Fn-Http-H-Set-Cookie=c=d\r\n" +
	"answer: Fn-Http-H-Content-Length=1\r\nanswer: Fn-Http-H-Connection=close\r\nanswer: Fn-Http-H-Content-Type=text/x\r\nanswer: X-Lost=1\r\n\r\nhello"

// TestCall: by each API the function is told the same request, and says the response.
func TestCall(t *testing.T) {
	_, addr := serve(t)
	for value, url := range map[string]string{
		`{app: app, trigger: told}`: "http://fn.example.com:81/t/app/told?c=d",
		`{app: app, route: /told/}`: "http://fn.example.com:81/r/app/told?c=d",
		`{id: TOLD}`:                "http://fn.example.com:81/a/b?c=d",
		`{id: TOLD, app: "", route: "", client_address: true}`: "http://fn.example.com:81/a/b?c=d",
	} {
		p := start(t, value, addr, proxytest.Edge{Manager: "use_remote_address: true"})
		c := p.Dial()
		res := c.Do(post)
		if res.StatusCode != 404 || res.Header.Get("X-Own") != "1" || strings.Join(res.Header.Values("Set-Cookie"), "|") != "a=b|c=d" ||
			res.Header.Get("Content-Type") != "text/x" || !strings.HasPrefix(res.Header.Get("Fn-Call-Id"), "01FN") || res.Header.Get("X-Lost") != "" ||
			res.Header.Get("Fn_call_id") != "" || res.Header.Get("Fn-Http-Status") != "" {
			t.Errorf("%s: %v", value, res)
		}
		a := read(t, res)
		for name, want := range map[string]string{
			"Fn-Http-H-X-A": "1,2", "Fn-Http-Method": "POST", "Fn-Http-Request-Url": url, "Fn-Intent": "httprequest", "Content-Type": "text/plain",
			"Fn-Http-H-X": "", "Fn-Invoke-Type": "", "X-A": "", "Fn-Http-H-Content-Type": "", "Fn-Http-H-Content-Length": "5",
		} {
			if a.Header[name] != want {
				t.Errorf("%s: %s is %q, want %q", value, name, a.Header[name], want)
			}
		}
		if a.Body != "hello" || a.PID == os.Getpid() || a.Header["Fn-Deadline"] == "" {
			t.Errorf("%s: %+v", value, a)
		}
		if got := a.Header["Fn-Http-H-X-Forwarded-For"]; got != "127.0.0.1" {
			t.Errorf("%s: x-forwarded-for %q", value, got)
		}
		if got := a.Header["Fn-Http-H-X-Real-Ip"]; (got == "127.0.0.1") != strings.Contains(value, "client_address") {
			t.Errorf("%s: x-real-ip %q", value, got)
		}
		c.Send("HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n")
		if res := c.Response("HEAD"); res.StatusCode != 200 {
			t.Errorf("%s: HEAD: %v", value, res)
		}
		if res := c.Do("GET /x HTTP/1.1\r\nhost: a\r\n\r\n"); res.StatusCode != 200 || read(t, res).Header["Fn-Http-Method"] != "GET" {
			t.Errorf("%s: after HEAD: %v", value, res)
		}
		if res := c.Do("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"); read(t, res).Body != "hello" {
			t.Errorf("%s: chunks: %v", value, res)
		}
	}
}

// TestAnswers: what the function and the server say about the response.
func TestAnswers(t *testing.T) {
	s, addr := serve(t)
	for _, tt := range []struct {
		name, value, request, want string
		status                     int
	}{
		{"no content", `{id: TOLD}`, "answer: Fn-Http-Status=204", "", 204},
		{"not modified", `{id: TOLD}`, "answer: Fn-Http-Status=304\r\nanswer: Fn-Http-H-Etag=x", "", 304},
		{"a status that is none", `{id: TOLD}`, "answer: Fn-Http-Status=abc", "the function's response cannot be read", 502},
		{"an interim status", `{id: TOLD}`, "answer: Fn-Http-Status=103", "the function's response cannot be read", 502},
		{"the function fails", `{id: TOLD}`, "fail: 1\r\nanswer: Fn-Http-Status=200", `{"body"`, 502},
		{"the trigger's function fails", `{app: app, trigger: told}`, "fail: 1\r\nanswer: Fn-Http-Status=200", `{"body"`, 502},
		{"as it is", `{id: TOLD, passthrough: true}`, "answer: Fn-Http-Status=404", `{"body":"","header":{"Answer"`, 200},
		{"no such function", `{id: NONE}`, "x: y", `{"message":"Fn not found"}`, 404},
		{"no such trigger", `{app: app, trigger: none}`, "x: y", `{"message":"Trigger not found"}`, 404},
		{"no such route", `{app: app, route: none}`, "x: y", `{"error":{"message":"Route not found"}}`, 404},
		{"too slow", `{id: SLOW}`, "x: y", `{"message":"Timed out"}`, 504},
		{"too slow, a route", `{app: app, route: slow}`, "x: y", `{"error":{"message":"Timed out"}}`, 504},
		{"detached", `{id: SLOW, detached: true}`, "x: y", "", 202},
		{"detached, a trigger", `{app: app, trigger: told, detached: true}`, "x: y", "", 202},
		{"asynchronous", `{app: app, route: async}`, "x: y", `{"call_id":"01FN`, 202},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, tt.value, addr, proxytest.Edge{})
			c := p.Dial()
			res := c.Do("GET / HTTP/1.1\r\nhost: a\r\n" + tt.request + "\r\n\r\n")
			if res.StatusCode != tt.status || !strings.HasPrefix(res.Content, tt.want) || tt.want == "" && res.Content != "" {
				t.Errorf("%v", res)
			}
			if (tt.status == 502 && strings.HasPrefix(tt.want, "the")) != (p.Counter("cluster.up.fn.invalid") == 1) {
				t.Errorf("%v: %d invalid", res, p.Counter("cluster.up.fn.invalid"))
			}
			if res := c.Do("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); res.StatusCode < 200 {
				t.Errorf("again: %v", res)
			}
		})
	}
	if s.Calls() == 0 {
		t.Error("nothing was called")
	}
}

// TestPaths: the rest of the path follows if it is asked for, and leads nowhere else.
func TestPaths(t *testing.T) {
	_, addr := serve(t)
	p := start(t, `{app: app, trigger: told, append_path: true}`, addr, proxytest.Edge{})
	for path, want := range map[string]int{
		"/more": 200, "/more?x=y": 200, "/": 200, "/?x=..": 200, "/other": 404, "/%2e%2e/slow": 400, "/.%2E/slow": 400, "/./more": 400, "/..": 400, "/...": 404,
	} {
		res := p.Do("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n")
		if res.StatusCode != want || want == 200 && strings.HasPrefix(path, "/more") != (res.Content == "more") {
			t.Errorf("%s: %v", path, res)
		}
	}
}

// TestLimits: bodies are bounded, of a known length and of none.
func TestLimits(t *testing.T) {
	_, addr := serve(t)
	p := start(t, `{id: TOLD, max_request_bytes: 5}`, addr, proxytest.Edge{})
	for request, want := range map[string]int{
		"content-length: 6\r\n\r\nhello!":                                    413,
		"transfer-encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\n\r\n":         413,
		"content-length: 5\r\n\r\nhello":                                     200,
		"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n": 200,
	} {
		if res := p.Do("POST / HTTP/1.1\r\nhost: a\r\n" + request); res.StatusCode != want {
			t.Errorf("%q: %v", request, res)
		}
	}
	p.WaitCounter("cluster.up.fn.too_large", 2)
}

// TestBusy: a server without room is asked once, and then another one.
func TestBusy(t *testing.T) {
	one, addr := serve(t)
	other, another := serve(t)
	retry := proxytest.Edge{Routes: "- {match: {prefix: /}, route: {cluster: up, retry_policy: {retry_on: envoy-ratelimited, num_retries: 1, host_selection_retry_max_attempts: 5, " +
		`retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]}}}`}
	p := start(t, `{app: app, trigger: told}`, addr, retry)
	one.Busy(1)
	if res := p.Do("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); res.StatusCode != 200 {
		t.Errorf("it has room again: %v", res)
	}
	one.Busy(2)
	if res := p.Do("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); res.StatusCode != 503 || res.Header.Get("Retry-After") != "15" || !strings.Contains(res.Content, "server too busy") {
		t.Errorf("it has not: %v", res)
	}
	p.WaitCounter("cluster.up.fn.busy", 3)
	retry.Cluster = options(`{id: TOLD}`)
	two := strings.Replace(retry.YAML(), "[{endpoint: {address: {{up}}}}]", "[{endpoint: {address: {{up}}}}, {endpoint: {address: {{other}}}}]", 1)
	q := proxytest.Start(t, two, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": addr, "other": another}})
	before := other.Calls()
	for range 4 {
		one.Busy(1)
		if res := q.Do("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); res.StatusCode != 200 {
			t.Errorf("%v", res)
		}
	}
	if other.Calls() == before {
		t.Error("the other was never asked")
	}
}

func TestUpgrade(t *testing.T) {
	_, addr := serve(t)
	p := start(t, `{id: TOLD}`, addr, proxytest.Edge{Manager: "upgrade_configs: [{upgrade_type: websocket}]"})
	if res := p.Do("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"); res.StatusCode != 501 {
		t.Errorf("%v", res)
	}
}

func TestRefused(t *testing.T) {
	for value, want := range map[string]string{
		`{}`:                                           "which function? Set exactly one of route, trigger and id",
		`{"app":"a"}`:                                  "which function?",
		`{"id":"a","trigger":"b"}`:                     "which function?",
		`{"trigger":"b"}`:                              `value["app"]: missing`,
		`{"route":"b","app":"a b"}`:                    `value["app"]: "a b" has a character at byte 1`,
		`{"route":"b?","app":"a"}`:                     `value["route"]: "b?" has a character at byte 1`,
		`{"trigger":"a/../b","app":"a"}`:               `value["trigger"]: "a/../b" has a segment`,
		`{"trigger":"a//b","app":"a"}`:                 `value["trigger"]: "a//b" has a segment`,
		`{"id":".."}`:                                  `value["id"]: ".." has a segment`,
		`{"id":"a/b"}`:                                 `value["id"]: "a/b" has a character`,
		`{"id":"a","app":"b"}`:                         `value["app"]: an id is of one function`,
		`{"id":"a","append_path":true}`:                `value["append_path"]`,
		`{"app":"a","trigger":"b","passthrough":true}`: `value["passthrough"]`,
		`{"app":"a","route":"b","detached":true}`:      `value["detached"]`,
		`{"ap":"a"}`:                                   `value["ap"]: unknown field (did you mean "app"?)`,
	} {
		if _, err := streamtest.New(t).Compile(fn.Extension(), `{"value":`+value+`}`); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", value, err, want)
		}
	}
}

// TestNoAllocation: a call is made, and its answer read, without allocation.
func TestNoAllocation(t *testing.T) {
	for _, value := range []string{`{"id":"A","client_address":true}`, `{"app":"a","trigger":"b","append_path":true}`} {
		rig := streamtest.New(t)
		rig.Add(fn.Extension(), `{"value":`+value+`}`)
		if n := rig.Allocs(streamtest.Request{Path: "/a?b=c", Header: []string{"x-a: 1", "accept: */*", "user-agent: test"}}); n != 0 {
			t.Errorf("%s: %v allocations", value, n)
		}
	}
}
