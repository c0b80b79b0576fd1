// SPDX-License-Identifier: Apache-2.0

package extauthz_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/internal/reserve"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &extauthzv3.ExtAuthz{}, &extauthzv3.ExtAuthzPerRoute{})
}

// authority is a real service of Envoy's protocol. Its answer is JSON.
type authority struct {
	authv3.UnimplementedAuthorizationServer
	answer string
	hang   bool
	fail   codes.Code

	mu  sync.Mutex
	got []*authv3.AttributeContext
}

func (a *authority) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	a.mu.Lock()
	a.got = append(a.got, r.GetAttributes())
	a.mu.Unlock()
	if a.hang {
		<-ctx.Done()
	}
	if a.fail != codes.OK {
		return nil, status.Error(a.fail, "no")
	}
	m := &authv3.CheckResponse{}
	return m, protojson.Unmarshal([]byte(a.answer), m)
}

// last returns what the service was asked last.
func (a *authority) last(t *testing.T) *authv3.AttributeContext {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.got) == 0 {
		t.Fatal("the service was not asked")
	}
	return a.got[len(a.got)-1]
}

func (a *authority) serve(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, a)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	return ln.Addr().String()
}

const kind = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"

// edge is a proxy whose filter has the fields, and a cluster auth.
func edge(fields, auth string) proxytest.Edge {
	return proxytest.Edge{
		Filters:  `- {name: authz, typed_config: {"@type": ` + kind + `, transport_api_version: V3, ` + fields + `}}`,
		Clusters: "- {name: auth, connect_timeout: 1s, " + auth + ", load_assignment: {cluster_name: auth, endpoints: [{lb_endpoints: [{endpoint: {address: {{auth}}}}]}]}}",
	}
}

const (
	overGRPC = "grpc_service: {envoy_grpc: {cluster_name: auth}, timeout: 5s}, "
	h2       = "http2_protocol_options: {}"
	h1       = "type: STATIC"
)

func start(t *testing.T, e proxytest.Edge, auth string) (*proxytest.Proxy, *proxytest.Upstream) {
	t.Helper()
	up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		for {
			if _, err := s.Request(); err != nil || s.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-up: 1\r\n\r\nok") != nil {
				return
			}
		}
	})
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr(), "auth": auth}}), up
}

func perRoute(fields string) string {
	return `- {match: {prefix: /}, route: {cluster: up}, typed_per_filter_config: {authz: {"@type": ` + kind + `PerRoute, ` + fields + `}}}`
}

const get = "GET /a?b=c HTTP/1.1\r\nhost: shop.example\r\nx-many: 1\r\nx-many: 2\r\nx-odd: \xff\r\nx-envoy-auth-partial-body: forged\r\n\r\n"

func TestAnswers(t *testing.T) {
	cases := []struct {
		name, fields, answer, request string
		status                        int
		content                       string
		upstream, not                 string // what the request has, and has not
		client                        string // a field of the response, "name: value"
		counted                       string
	}{
		{"ok", "", `{}`, get, 200, "ok", "GET /a?b=c", "", "x-up: 1", "ok"},
		{"denied", "", `{"status":{"code":7}}`, get, 403, "", "", "", "", "denied"},
		{
			"denied with a reply", "", `{"status":{"code":16},"denied_response":{"status":{"code":401},"body":"who?","headers":[
			{"header":{"key":"WWW-Authenticate","value":"Basic"}},{"header":{"key":"set-cookie","value":"a=1"}},{"header":{"key":"content-length","value":"99"}}]}}`,
			get, 401, "who?", "", "", "www-authenticate: Basic", "denied",
		},
		{"a short reply", "max_denied_response_body_bytes: 2,", `{"status":{"code":7},"denied_response":{"body":"long"}}`, get, 403, "lo", "", "", "", "denied"},
		{
			"fields", "", `{"ok_response":{"headers":[{"header":{"key":"x-user","value":"me"}},{"header":{"key":"x-many","value":"3"},"append":true},
			{"header":{"key":"x-none","value":"3"},"append":true},{"header":{"key":"x-odd","value":"n"},"append_action":"ADD_IF_ABSENT"}],
			"headers_to_remove":["x-odd","host",":path"],"response_headers_to_add":[{"header":{"key":"x-seen","value":"yes"}}]}}`,
			get, 200, "ok", "x-user: me", "x-none", "x-seen: yes", "ok",
		},
		{
			"a query", "", `{"ok_response":{"query_parameters_to_set":[{"key":"u","value":"a b&c"},{"key":"b","value":"d"}]}}`,
			get, 200, "ok", "GET /a?b=d&u=a%20b%26c HTTP", "", "", "ok",
		},
		{"without a query", "", `{"ok_response":{"query_parameters_to_remove":["b"]}}`, get, 200, "ok", "GET /a HTTP", "", "", "ok"},
		{"a split header", "", `{"ok_response":{"headers":[{"header":{"key":"x-user","value":"me\r\nx-evil: 1"}}]}}`, get, 200, "ok", "GET", "x-evil", "", "ok"},
		{"a split header is checked", "validate_mutations: true,", `{"ok_response":{"headers":[{"header":{"key":"x-user","value":"me\r\nx-evil: 1"}}]}}`, get, 500, "", "", "", "", "invalid"},
		{"a bad query is checked", "validate_mutations: true,", `{"ok_response":{"query_parameters_to_set":[{"key":"a","value":"b c"}]}}`, get, 500, "", "", "", "", "invalid"},
		{
			"rules", "decoder_header_mutation_rules: {},", `{"ok_response":{"headers":[{"header":{"key":"x-envoy-a","value":"x"}},{"header":{"key":"x-a","value":"x"}}]}}`,
			get, 200, "ok", "x-a: x", "x-envoy-a:", "", "rejected_header_mutations",
		},
		{"fatal rules", "decoder_header_mutation_rules: {disallow_all: true, disallow_is_error: true},", `{"ok_response":{"headers_to_remove":["x-odd"]}}`, get, 500, "", "", "", "", "invalid"},
		{"ignored metadata", "enable_dynamic_metadata_ingestion: false,", `{"dynamic_metadata":{"a":1}}`, get, 200, "ok", "GET", "", "", "ignored_dynamic_metadata"},
		{"its own error", "", `{"error_response":{"status":{"code":429},"body":"later"}}`, get, 429, "later", "", "", "", "error"},
		{"its own error, open", "failure_mode_allow: true, failure_mode_allow_header_add: true,", `{"error_response":{}}`, get, 200, "ok", "x-envoy-auth-failure-mode-allowed: true", "", "", "failure_mode_allowed"},
		{"a status that is none", "", `{"status":{"code":7},"denied_response":{"status":{"code":100}}}`, get, 403, "", "", "", "", "denied"},
		{"off", "filter_enabled: {default_value: {numerator: 0}},", `{"status":{"code":7}}`, get, 200, "ok", "GET", "", "", "disabled"},
		{"off and denied", "filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {default_value: true, runtime_key: a}, status_on_error: {code: 503},", `{}`, get, 503, "", "", "", "", "disabled"},
		{"off by metadata", `filter_enabled_metadata: {filter: f, path: [{key: k}], value: {bool_match: true}},`, `{"status":{"code":7}}`, get, 200, "ok", "GET", "", "", "disabled"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := &authority{answer: c.answer}
			p, up := start(t, edge(overGRPC+c.fields, h2), a.serve(t))
			res := p.Do(c.request)
			if res.StatusCode != c.status || res.Content != c.content {
				t.Fatalf("%s, want %d %q", res, c.status, c.content)
			}
			if name, value, _ := strings.Cut(c.client, ": "); name != "" && res.Header.Get(name) != value {
				t.Errorf("the client does not get %q: %v", c.client, res.Header)
			}
			if c.upstream != "" {
				r := up.WaitRequests(1)[0]
				if !strings.Contains(r, c.upstream) || c.not != "" && strings.Contains(r, c.not) {
					t.Errorf("upstream: %q, want %q and not %q", r, c.upstream, c.not)
				}
			} else if up.Connections() > 0 {
				t.Error("the request went upstream")
			}
			p.WaitCounter("http.test.ext_authz."+c.counted, 1)
		})
	}
}

func TestFieldChanges(t *testing.T) {
	a := &authority{answer: `{"ok_response":{"headers":[{"header":{"key":"x-many","value":"3"},"append":true}],"headers_to_remove":["x-odd"]}}`}
	p, up := start(t, edge(overGRPC+"stat_prefix: mine,", h2), a.serve(t))
	p.Do(get)
	r := up.WaitRequests(1)[0]
	if strings.Contains(r, "x-odd") || !strings.Contains(r, ",3") && !strings.Contains(r, "x-many: 3") {
		t.Errorf("%q", r)
	}
	p.WaitCounter("http.test.ext_authz.mine.ok", 1)
}

// TestAsked: what the service is told.
func TestAsked(t *testing.T) {
	a := &authority{answer: `{}`}
	e := edge(overGRPC+"include_tls_session: true, bootstrap_metadata_labels_key: labels, route_metadata_context_namespaces: [mine],", h2)
	e.Bootstrap = "node: {id: n, cluster: c, metadata: {labels: {zone: east}}}"
	e.Routes = `- {match: {prefix: /}, route: {cluster: up}, metadata: {filter_metadata: {mine: {a: 1, b: [x, true, null], c: {d: e}}}},
  typed_per_filter_config: {authz: {"@type": ` + kind + `PerRoute, check_settings: {context_extensions: {who: route}}}}}`
	e.Host = `typed_per_filter_config: {authz: {"@type": ` + kind + `PerRoute, check_settings: {context_extensions: {who: host, more: "1"}}}}`
	p, _ := start(t, e, a.serve(t))
	if res := p.Do(get); res.StatusCode != 200 {
		t.Fatal(res)
	}
	got := a.last(t)
	h := got.GetRequest().GetHttp()
	for name, v := range map[string][2]string{
		"method": {h.GetMethod(), "GET"}, "path": {h.GetPath(), "/a?b=c"}, "host": {h.GetHost(), "shop.example"}, "protocol": {h.GetProtocol(), "HTTP/1.1"},
		"scheme": {h.GetScheme(), "http"}, ":path": {h.GetHeaders()[":path"], "/a?b=c"}, "joined": {h.GetHeaders()["x-many"], "1,2"}, "bytes": {h.GetHeaders()["x-odd"], "!"},
		"forged": {h.GetHeaders()["x-envoy-auth-partial-body"], ""}, "id": {fmt.Sprint(h.GetId() != ""), "true"},
		"source": {got.GetSource().GetAddress().GetSocketAddress().GetAddress(), "127.0.0.1"}, "label": {got.GetDestination().GetLabels()["zone"], "east"},
		"destination": {got.GetDestination().GetAddress().GetSocketAddress().GetAddress(), "127.0.0.1"},
		"extension":   {got.GetContextExtensions()["who"] + got.GetContextExtensions()["more"], "route1"},
		"route":       {strings.ReplaceAll(got.GetRouteMetadataContext().GetFilterMetadata()["mine"].String(), " ", ""), ""},
	} {
		if v[0] != v[1] && name != "route" {
			t.Errorf("%s: %q, want %q", name, v[0], v[1])
		}
	}
	m := got.GetRouteMetadataContext().GetFilterMetadata()["mine"].AsMap()
	if fmt.Sprint(m) != "map[a:1 b:[x true <nil>] c:map[d:e]]" {
		t.Errorf("metadata %v", m)
	}
	if got.GetRequest().GetTime().GetSeconds() == 0 || h.GetSize() > 0 {
		t.Errorf("time %v, size %d", got.GetRequest().GetTime(), h.GetSize())
	}
}

func TestAskedFields(t *testing.T) {
	for _, c := range []struct {
		fields string
		want   string
	}{
		{"allowed_headers: {patterns: [{prefix: X-M}, {exact: x-odd}]}, disallowed_headers: {patterns: [{exact: x-odd}]},", "x-many"},
		{"disallowed_headers: {patterns: [{safe_regex: {regex: \".*\"}}]},", ""},
	} {
		a := &authority{answer: `{}`}
		p, _ := start(t, edge(overGRPC+c.fields, h2), a.serve(t))
		p.Do(get)
		var names []string
		for n := range a.last(t).GetRequest().GetHttp().GetHeaders() {
			names = append(names, n)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.fields, got, c.want)
		}
	}
	a := &authority{answer: `{}`}
	p, _ := start(t, edge(overGRPC+"encode_raw_headers: true,", h2), a.serve(t))
	p.Do(get)
	h := a.last(t).GetRequest().GetHttp()
	many, odd := 0, ""
	for _, f := range h.GetHeaderMap().GetHeaders() {
		switch f.GetKey() {
		case "x-many":
			many++
		case "x-odd":
			odd = string(f.GetRawValue())
		}
	}
	if many != 2 || odd != "\xff" || len(h.GetHeaders()) > 0 {
		t.Errorf("raw: %d, %q, %v", many, odd, h.GetHeaders())
	}
}

func TestBody(t *testing.T) {
	post := func(body string) string {
		return fmt.Sprintf("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%s", len(body), body)
	}
	for _, c := range []struct {
		name, fields, route string
		body                string
		status              int
		told, raw, partial  string
	}{
		{"none", "", "", "hello", 200, "", "", ""},
		{"whole", "with_request_body: {max_request_bytes: 10},", "", "hello", 200, "hello", "", "false"},
		{"no UTF-8", "with_request_body: {max_request_bytes: 10},", "", "a\xffb", 200, "a!b", "", "false"},
		{"as bytes", "with_request_body: {max_request_bytes: 10, pack_as_bytes: true},", "", "a\xffb", 200, "", "a\xffb", "false"},
		{"too large", "with_request_body: {max_request_bytes: 10}, failure_mode_allow: true,", "", "hello world", 413, "", "", ""},
		{"partial", "with_request_body: {max_request_bytes: 10, allow_partial_message: true},", "", "hello world", 200, "hello worl", "", "true"},
		{"partial but whole", "with_request_body: {max_request_bytes: 10, allow_partial_message: true},", "", "hello", 200, "hello", "", "false"},
		{"exactly", "with_request_body: {max_request_bytes: 5, allow_partial_message: true},", "", "hello", 200, "hello", "", ""},
		{"empty", "with_request_body: {max_request_bytes: 5},", "", "", 200, "", "", "false"},
		{"not on this route", "with_request_body: {max_request_bytes: 10},", "check_settings: {disable_request_body_buffering: true}", "hello", 200, "", "", ""},
		{"on this route", "", "check_settings: {with_request_body: {max_request_bytes: 10}}", "hello", 200, "hello", "", "false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &authority{answer: `{}`}
			e := edge(overGRPC+c.fields, h2)
			if c.route != "" {
				e.Routes = perRoute(c.route)
			}
			p, up := start(t, e, a.serve(t))
			if res := p.Do(post(c.body)); res.StatusCode != c.status {
				t.Fatalf("%s", res)
			}
			if c.status != 200 {
				return
			}
			h := a.last(t).GetRequest().GetHttp()
			partial := h.GetHeaders()["x-envoy-auth-partial-body"]
			if h.GetBody() != c.told || string(h.GetRawBody()) != c.raw || c.partial != "" && partial != c.partial {
				t.Errorf("told %q %q %q", h.GetBody(), h.GetRawBody(), partial)
			}
			if r := up.WaitRequests(1)[0]; !strings.HasSuffix(r, "\r\n\r\n"+c.body) {
				t.Errorf("upstream got %q", r)
			}
		})
	}
}

// TestFailures: a service that gives no decision lets nobody in, unless it is configured so.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(t *testing.T) string
	}{
		{"hangs", (&authority{hang: true}).serve},
		{"fails", (&authority{fail: codes.Unavailable}).serve},
		{"denies by gRPC", (&authority{fail: codes.PermissionDenied}).serve},
		{"refuses", func(t *testing.T) string { return reserve.TCP(t) }},
		{"resets", func(t *testing.T) string {
			return proxytest.NewUpstream(t, func(s *proxytest.Session) { _, _ = s.ReadN(30); _ = s.Reset() }).Addr()
		}},
		{"speaks HTTP/1", func(t *testing.T) string {
			return proxytest.NewUpstream(t, func(s *proxytest.Session) { _, _ = s.ReadN(1); _ = s.Send("HTTP/1.1 200 OK\r\n\r\n") }).Addr()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			short := "grpc_service: {envoy_grpc: {cluster_name: auth}, timeout: 0.1s}, "
			addr := c.serve(t)
			p, up := start(t, edge(short+"status_on_error: {code: 503},", h2), addr)
			if res := p.Do(get); res.StatusCode != 503 || up.Connections() > 0 {
				t.Errorf("closed: %s", res)
			}
			p.WaitCounter("http.test.ext_authz.error", 1)
			open, _ := start(t, edge(short+"failure_mode_allow: true,", h2), addr)
			if res := open.Do(get); res.StatusCode != 200 {
				t.Errorf("open: %s", res)
			}
			open.WaitCounter("http.test.ext_authz.failure_mode_allowed", 1)
		})
	}
}

func TestRoutes(t *testing.T) {
	no := &authority{answer: `{"status":{"code":7}}`}
	e := edge(overGRPC, h2)
	e.Routes = perRoute("disabled: true")
	p, _ := start(t, e, no.serve(t))
	if res := p.Do(get); res.StatusCode != 200 {
		t.Errorf("disabled: %s", res)
	}
	e = edge("grpc_service: {envoy_grpc: {cluster_name: up}},", h2)
	e.Routes = perRoute("check_settings: {grpc_service: {envoy_grpc: {cluster_name: auth}, timeout: 5s}}")
	p, _ = start(t, e, no.serve(t))
	if res := p.Do(get); res.StatusCode != 403 {
		t.Errorf("another service: %s", res)
	}
	p.WaitCounter("cluster.up.upstream_rq_403", 1)

	moves := &authority{answer: `{"ok_response":{"headers":[{"header":{"key":"x-to","value":"b"}}]}}`}
	for fields, want := range map[string]int{"": 200, "clear_route_cache: true,": 418, "clear_route_cache: true, clear_route_cache_headers: [x-other],": 200} {
		e = edge(overGRPC+fields, h2)
		e.Routes = "- {match: {prefix: /, headers: [{name: x-to, present_match: true}]}, direct_response: {status: 418}}\n- {match: {prefix: /}, route: {cluster: up}}"
		p, _ = start(t, e, moves.serve(t))
		if res := p.Do(get); res.StatusCode != want {
			t.Errorf("%q: %s, want %d", fields, res, want)
		}
	}
}

// TestMetadata: what the service tells is there for logs.
func TestMetadata(t *testing.T) {
	a := &authority{answer: `{"dynamic_metadata":{"user":"me"}}`}
	e := edge(overGRPC+"emit_filter_state_stats: true, filter_metadata: {team: a},", h2)
	e.AccessLog = "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:user)% %FILTER_STATE(authz:FIELD:team)%"
	p, _ := start(t, e, a.serve(t))
	p.Do(get)
	if got := p.LogLines(1)[0]; got != "me a" {
		t.Errorf("%q", got)
	}
}
