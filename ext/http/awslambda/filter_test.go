// SPDX-License-Identifier: Apache-2.0

package awslambda_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	awslambdav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_lambda/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy"
	"weir.dev/weir/proxy/aws/awstest"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
	"weir.dev/weir/xds/load"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &awslambdav3.Config{}, &awslambdav3.PerRouteConfig{})
}

const keys = "credentials: {access_key_id: " + awstest.AccessKeyID + ", secret_access_key: " + awstest.SecretAccessKey + "}"

// config is a configuration of the filter, on one line.
func config(function, more string) string {
	return `{"@type": type.googleapis.com/envoy.extensions.filters.http.aws_lambda.v3.Config, arn: "` + awstest.ARN(function) + `", ` + more + `}`
}

// perRoute is what a route has for the filter.
func perRoute(function, more string) string {
	return `typed_per_filter_config: {lambda: {"@type": type.googleapis.com/envoy.extensions.filters.http.aws_lambda.v3.PerRouteConfig, invoke_config: {arn: "` + awstest.ARN(function) + `", ` + more + `}}}`
}

const marked = `metadata: {filter_metadata: {com.amazonaws.lambda: {egress_gateway: true}}}`

// echo is a function that returns its event.
func echo(status string) awstest.Function {
	return func(_ context.Context, event []byte) ([]byte, string) {
		text, err := json.Marshal(string(event))
		if err != nil {
			return nil, "Unhandled"
		}
		return fmt.Appendf(nil, `{"statusCode":%s,"headers":{"content-type":"text/plain","x-from":"function"},"body":%s}`, status, text), ""
	}
}

// rig is a proxy in front of Lambda's API.
type rig struct {
	*proxytest.Proxy
	lambda *awstest.Lambda
}

func start(t *testing.T, e proxytest.Edge, more map[string]string) *rig {
	t.Helper()
	l := awstest.NewLambda(t, awstest.NewAccount(), false)
	l.Add("echo", echo("200"))
	l.Add("teapot:1", echo("418"))
	backends := map[string]string{"up": l.Addr}
	for k, v := range more {
		backends[k] = v
	}
	if e.Cluster == "" {
		e.Cluster = marked
	}
	if e.AccessLog == "" {
		e.AccessLog = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"
	}
	return &rig{proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: backends}), l}
}

func filter(c string) string { return "- {name: lambda, typed_config: " + c + "}" }

func (r *rig) last(t *testing.T) awstest.Call {
	t.Helper()
	calls := r.lambda.Calls()
	if len(calls) == 0 {
		t.Fatal("nothing was invoked")
	}
	return calls[len(calls)-1]
}

func TestInvoke(t *testing.T) {
	r := start(t, proxytest.Edge{Filters: filter(config("echo", keys))}, nil)
	res := r.Do("GET /a%20b?c=d HTTP/1.1\r\nhost: lambda\r\nx-a: 1\r\nuser-agent: test\r\nx-a: 2\r\n\r\n")
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/plain" || res.Header.Get("X-From") != "function" || res.Header.Get("X-Amz-Executed-Version") != "$LATEST" {
		t.Fatalf("%v", res)
	}
	for _, want := range []string{`{"raw_path":"/a%20b?c=d","method":"GET","headers":{`, `"x-a":"1,2"`, `"user-agent":"test"`, `"query_string_parameters":{"c":"d"},"body":"","is_base64_encoded":false}`} {
		if !strings.Contains(res.Content, want) {
			t.Errorf("the event lacks %s: %s", want, res.Content)
		}
	}
	call := r.last(t)
	if call.Type != "RequestResponse" || call.Host != "lambda" || call.Function != "echo" || call.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%+v", call)
	}
	res = r.Do("POST / HTTP/1.1\r\nhost: lambda\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{\"a\":1}")
	if !strings.Contains(res.Content, `"body":"{\"a\":1}","is_base64_encoded":false`) {
		t.Errorf("%v", res)
	}
	res = r.Do("POST / HTTP/1.1\r\nhost: lambda\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n")
	if !strings.Contains(res.Content, `"body":"eyJhIjoxfQ==","is_base64_encoded":true`) {
		t.Errorf("chunked: %v", res)
	}
	c := r.Dial()
	c.Send("HEAD / HTTP/1.1\r\nhost: lambda\r\n\r\n")
	if res := c.Response("HEAD"); res.StatusCode != 200 || res.Content != "" || res.Header.Get("Content-Length") == "0" {
		t.Errorf("HEAD: %v", res)
	}
	if res := c.Do("GET /again HTTP/1.1\r\nhost: lambda\r\n\r\n"); !strings.Contains(res.Content, "/again") {
		t.Errorf("after HEAD: %v", res)
	}
}

func TestPassthrough(t *testing.T) {
	r := start(t, proxytest.Edge{Filters: filter(config("echo", "payload_passthrough: true, host_rewrite: lambda.us-east-1.amazonaws.com, "+keys))}, nil)
	r.lambda.Add("echo", awstest.Function(func(_ context.Context, event []byte) ([]byte, string) { return append([]byte("got "), event...), "" }))
	res := r.Do("POST /x HTTP/1.1\r\nhost: a\r\ncontent-type: application/cbor\r\ncontent-length: 5\r\n\r\nhello")
	if res.StatusCode != 200 || res.Content != "got hello" || res.Header.Get("X-Amz-Executed-Version") != "$LATEST" {
		t.Errorf("%v", res)
	}
	if call := r.last(t); call.Host != "lambda.us-east-1.amazonaws.com" || call.Header.Get("Content-Type") != "application/cbor" {
		t.Errorf("%+v", call)
	}
	if res := r.Do("GET /x HTTP/1.1\r\nhost: a\r\n\r\n"); res.Content != "got " {
		t.Errorf("without a body: %v", res)
	}
}

func TestAsynchronous(t *testing.T) {
	got := make(chan string, 1)
	r := start(t, proxytest.Edge{Filters: filter(config("event:2", "invocation_mode: ASYNCHRONOUS, "+keys))}, nil)
	r.lambda.Add("event:2", func(_ context.Context, event []byte) ([]byte, string) { got <- string(event); return nil, "" })
	res := r.Do("POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi")
	if res.StatusCode != 202 || res.Content != "" {
		t.Errorf("%v", res)
	}
	if event := <-got; !strings.Contains(event, `"body":"hi"`) || r.last(t).Type != "Event" {
		t.Errorf("%s, %+v", event, r.last(t))
	}
}

// TestErrors: what Lambda refuses and how functions fail is the client's to see.
func TestErrors(t *testing.T) {
	r := start(t, proxytest.Edge{
		Filters: filter(config("echo", keys)),
		Routes: "- {match: {path: /none}, route: {cluster: up}, " + perRoute("none", keys) + "}\n" +
			"- {match: {path: /wrong}, route: {cluster: up}, " + perRoute("echo", "credentials: {access_key_id: "+awstest.AccessKeyID+", secret_access_key: x}") + "}\n" +
			"- {match: {prefix: /}, route: {cluster: up}}",
	}, nil)
	tests := []struct {
		name, path string
		f          awstest.Function
		status     int
		content    string
		errors     uint64 // counted so far
	}{
		{"no such function", "/none", nil, 404, `{"Type":"User","message":"Function not found: ` + awstest.ARN("none") + `"}`, 0},
		{"wrong key", "/wrong", nil, 403, `{"Type":"User","message":"the signature does not match`, 0},
		{"the function fails", "/", func(context.Context, []byte) ([]byte, string) { return []byte(`{"errorMessage":"boom"}`), "Unhandled" }, 200, `{"errorMessage":"boom"}`, 0},
		{"not JSON", "/", awstest.Result("hello"), 500, "", 1},
		{"of another type", "/", awstest.Result(`{"statusCode":200,"body":{"a":1}}`), 500, "", 2},
		{"too long", "/", awstest.Result(`{"body":"` + strings.Repeat("x", 1<<20) + `"}`), 500, "", 2},
		{"empty", "/", awstest.Result(``), 200, "", 2},
		{"a status of its own", "/", awstest.Result(`{"status_code":503,"body":"busy"}`), 503, "busy", 2},
		{"no body", "/", awstest.Result(`{"statusCode":204}`), 204, "", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.f != nil {
				r.lambda.Add("echo", tt.f)
			}
			res := r.Do("GET " + tt.path + " HTTP/1.1\r\nhost: a\r\n\r\n")
			if res.StatusCode != tt.status || !strings.HasPrefix(res.Content, tt.content) || tt.content == "" && res.Content != "" && tt.name != "too long" {
				t.Errorf("%v", res)
			}
			r.WaitCounter("http.test.aws_lambda.server_error", tt.errors)
			if tt.f != nil && tt.name == "the function fails" && res.Header.Get("X-Amz-Function-Error") != "Unhandled" {
				t.Errorf("%v", res)
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	r := start(t, proxytest.Edge{
		Filters: filter(config("echo", keys)),
		Routes:  "- {match: {path: /small}, route: {cluster: up}, request_body_buffer_limit: 10}\n- {match: {prefix: /}, route: {cluster: up}}",
	}, nil)
	for _, q := range []string{
		"POST /small HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n12345678901",
		"POST /small HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1048577\r\n\r\n",
	} {
		if res := r.Do(q); res.StatusCode != 413 {
			t.Errorf("%.30q: %v", q, res)
		}
	}
	if res := r.Do("POST /small HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n1234567890"); res.StatusCode != 200 {
		t.Errorf("%v", res)
	}
	if n := len(r.lambda.Calls()); n != 1 {
		t.Errorf("%d invocations", n)
	}
}

// TestOthersPass: a cluster that is not marked is left alone.
func TestOthersPass(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("plain")))
	r := start(t, proxytest.Edge{
		Filters:  filter(config("echo", keys)),
		Routes:   "- {match: {prefix: /f}, route: {cluster: up}}\n- {match: {prefix: /off}, route: {cluster: off}}\n- {match: {prefix: /}, route: {cluster: plain}}",
		Clusters: backend("plain", "") + backend("off", "metadata: {filter_metadata: {com.amazonaws.lambda: {egress_gateway: \"true\"}}}"),
	}, map[string]string{"plain": up.Addr(), "off": up.Addr()})
	for path, want := range map[string]string{"/f": `"raw_path":"/f"`, "/x": "plain", "/off": "plain"} {
		if res := r.Do("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n"); !strings.Contains(res.Content, want) {
			t.Errorf("%s: %v", path, res)
		}
	}
	for _, q := range up.Received() {
		if strings.Contains(strings.ToLower(q), "authorization") || !strings.HasPrefix(q, "GET /") {
			t.Errorf("%q", q)
		}
	}
}

// backend is a further cluster of one host.
func backend(name, more string) string {
	return "- name: " + name + "\n  connect_timeout: 1s\n  type: STATIC\n  load_assignment: {cluster_name: " + name + ", endpoints: [{lb_endpoints: [{endpoint: {address: {{" + name + "}}}}]}]}\n  " + more + "\n"
}

// TestLevels: the most specific configuration names the function: a virtual host's, a
// route's, a weighted cluster's.
func TestLevels(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("service")))
	r := start(t, proxytest.Edge{
		Filters: filter(config("echo", keys)),
		Host:    perRoute("host", keys),
		Routes: "- {match: {path: /route}, route: {cluster: up}, " + perRoute("route:prod", keys) + "}\n" +
			"- match: {path: /split}\n  route:\n    weighted_clusters:\n      clusters:\n" +
			"      - {name: up, weight: 1, " + perRoute("split:1", keys) + "}\n      - {name: up, weight: 1, " + perRoute("split:2", keys) + "}\n      - {name: service, weight: 1}\n" +
			"- {match: {prefix: /}, route: {cluster: up}}",
		Clusters: backend("service", ""),
	}, map[string]string{"service": up.Addr()})
	for _, name := range []string{"host", "route:prod", "split:1", "split:2"} {
		r.lambda.Add(name, awstest.Result(`{"body":"`+name+`"}`))
	}
	for path, want := range map[string]string{"/": "host", "/route": "route:prod"} {
		if res := r.Do("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n"); res.Content != want {
			t.Errorf("%s: %v", path, res)
		}
	}
	seen := map[string]int{}
	c := r.Dial()
	for range 300 {
		seen[c.Do("GET /split HTTP/1.1\r\nhost: a\r\n\r\n").Content]++
	}
	for _, want := range []string{"split:1", "split:2", "service"} {
		if n := seen[want]; n < 50 || n > 150 {
			t.Errorf("%v", seen)
		}
	}
}

// TestRetries: what Lambda throttles, and what a function answers with 5xx where the
// filter stands in front of the host, is tried again.
func TestRetries(t *testing.T) {
	r := start(t, proxytest.Edge{
		Filters: filter(config("echo", keys)),
		Routes:  "- {match: {prefix: /}, route: {cluster: up, retry_policy: {retry_on: retriable-status-codes, retriable_status_codes: [429], num_retries: 3}}}",
	}, nil)
	r.lambda.Throttle(2)
	if res := r.Do("POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi"); res.StatusCode != 200 || !strings.Contains(res.Content, `"body":"hi"`) {
		t.Errorf("%v", res)
	}
	calls := r.lambda.Calls()
	if len(calls) != 3 || calls[0].Event != calls[2].Event {
		t.Errorf("%d calls: %+v", len(calls), calls)
	}
	r.lambda.Throttle(10)
	if res := r.Do("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); res.StatusCode != 429 || !strings.Contains(res.Content, "Rate Exceeded") || res.Header.Get("X-Amzn-Errortype") != "TooManyRequestsException" {
		t.Errorf("%v", res)
	}
}

func TestTimeout(t *testing.T) {
	r := start(t, proxytest.Edge{
		Filters: filter(config("slow", keys)),
		Routes:  "- {match: {prefix: /}, route: {cluster: up, timeout: 0.05s}}",
	}, nil)
	r.lambda.Add("slow", func(ctx context.Context, _ []byte) ([]byte, string) {
		<-ctx.Done()
		return nil, ""
	})
	if res := r.Do("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); res.StatusCode != 504 || r.LogLines(1)[0] != "504 UT response_timeout" {
		t.Errorf("%v, %s", res, r.LogLines(1)[0])
	}
}

// TestMirror: a copy of an invocation goes to another account's function as it is.
func TestMirror(t *testing.T) {
	other := awstest.NewLambda(t, awstest.NewAccount(), false)
	other.Add("echo", echo("200"))
	r := start(t, proxytest.Edge{
		Filters:  filter(config("echo", keys)),
		Routes:   "- {match: {prefix: /}, route: {cluster: up, request_mirror_policies: [{cluster: shadow, disable_shadow_host_suffix_append: true}]}}",
		Clusters: backend("shadow", marked),
	}, map[string]string{"shadow": other.Addr})
	if res := r.Do("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); res.StatusCode != 200 {
		t.Errorf("%v", res)
	}
	r.WaitCounter("cluster.shadow.upstream_rq_200", 1)
	if calls := other.Calls(); len(calls) != 1 || calls[0].Event != r.last(t).Event {
		t.Errorf("%+v", calls)
	}
}

// TestInFrontOfHosts: as a filter of a cluster it engages always, signs each attempt,
// and retries see what the function answered.
func TestInFrontOfHosts(t *testing.T) {
	r := start(t, proxytest.Edge{
		Routes: "- {match: {prefix: /}, route: {cluster: up, retry_policy: {retry_on: 5xx, num_retries: 2}}}",
		Cluster: `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {}}
    http_filters:
    - {name: lambda, typed_config: ` + config("flaky", keys) + `}
    - {name: codec, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}`,
	}, nil)
	n := 0
	r.lambda.Add("flaky", func(ctx context.Context, event []byte) ([]byte, string) {
		if n++; n < 3 {
			return []byte(`{"statusCode":503}`), ""
		}
		return echo("201")(ctx, event)
	})
	res := r.Do("POST /p HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi")
	if res.StatusCode != 201 || !strings.Contains(res.Content, `{"raw_path":"/p","method":"POST"`) || !strings.Contains(res.Content, `"body":"hi"`) {
		t.Errorf("%v", res)
	}
	calls := r.lambda.Calls()
	if len(calls) != 3 {
		t.Errorf("%d calls", len(calls))
	}
	r.WaitCounter("cluster.up.aws_lambda.server_error", 0)
}

// TestUnsigned: without credentials the invocation is sent as it is, and refused.
func TestUnsigned(t *testing.T) {
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
	r := start(t, proxytest.Edge{Filters: filter(config("echo", "credentials_profile: nobody"))}, nil)
	res := r.Do("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	if res.StatusCode != 403 || !strings.Contains(res.Content, "Missing Authentication Token") {
		t.Errorf("%v", res)
	}
}

// podIdentity makes an issuer the one place where the environment has credentials.
func podIdentity(t *testing.T, iss *awstest.Issuer) {
	t.Helper()
	for k, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": iss.URL + "/agent", "AWS_CONTAINER_AUTHORIZATION_TOKEN": awstest.AgentToken, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "",
	} {
		t.Setenv(k, v)
	}
}

// TestCheck: to check a configuration nobody is asked for credentials.
func TestCheck(t *testing.T) {
	iss := awstest.NewIssuer(t, awstest.NewAccount())
	podIdentity(t, iss)
	e := proxytest.Edge{Filters: filter(config("echo", ""))}
	text := strings.NewReplacer("{{up}}", "{socket_address: {address: 127.0.0.1, port_value: 1}}",
		"{{router}}", `{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}`).Replace(e.YAML())
	b, _, problems := load.Bootstrap("test.yaml", []byte(text), load.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if err := proxy.Check(proxy.Options{Bootstrap: b, Extensions: all.Extensions()}); err != nil {
		t.Fatal(err)
	}
	if asked := iss.Asked(); len(asked) > 0 {
		t.Errorf("asked: %q", asked)
	}
}

// TestCredentials: those of the environment's services are had, and shared by all.
func TestCredentials(t *testing.T) {
	account := awstest.NewAccount()
	iss := awstest.NewIssuer(t, account)
	podIdentity(t, iss)
	l := awstest.NewLambda(t, account, false)
	l.Add("echo", echo("200"))
	l.Add("other", echo("200"))
	e := proxytest.Edge{
		Cluster: marked, Filters: filter(config("echo", "")),
		Routes: "- {match: {path: /other}, route: {cluster: up}, " + perRoute("other", "") + "}\n- {match: {prefix: /}, route: {cluster: up}}",
	}
	p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": l.Addr}, Log: slog.New(slog.DiscardHandler), Concurrency: 2})
	for _, path := range []string{"/", "/other", "/"} {
		if res := p.Do("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n"); res.StatusCode != 200 {
			t.Errorf("%s: %v", path, res)
		}
	}
	if asked := iss.Asked(); len(asked) != 1 {
		t.Errorf("asked: %q", asked)
	}
	for _, c := range l.Calls() {
		if c.Key != "AGENT1" {
			t.Errorf("%+v", c)
		}
	}
}

func TestRefused(t *testing.T) {
	for c, want := range map[string]string{
		`{"@type": type.googleapis.com/envoy.extensions.filters.http.aws_lambda.v3.Config}`:                                         "arn",
		`{"@type": type.googleapis.com/envoy.extensions.filters.http.aws_lambda.v3.Config, arn: "hello"}`:                           `arn: "hello" does not name a function: write it as arn:aws:lambda:`,
		`{"@type": type.googleapis.com/envoy.extensions.filters.http.aws_lambda.v3.Config, arn: "arn:aws:lambda:r:1:function:a b"}`: "has a character at byte",
		config("x", "credentials: {access_key_id: a}"):                                                                              "secret_access_key",
		config("x", "match_excluded_headers: [{}]"):                                                                                 "match_excluded_headers[0]",
		config("x", "match_included_headers: [{safe_regex: {regex: \"(\"}}]"):                                                       "match_included_headers[0]",
	} {
		_, err := proxytest.TryStart(t, proxytest.Edge{Filters: filter(c)}.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n%v", c, err)
		}
	}
}
