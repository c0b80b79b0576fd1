// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

const preserve = "header_key_format: {stateful_formatter: {name: preserve_case, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig}}}"

func TestNameCase(t *testing.T) {
	const proper = "header_key_format: {proper_case_words: {}}"
	for _, tt := range []struct {
		name, manager, cluster string
		up, down               []string
	}{
		{"lower", "", "", []string{"host: a.test", "x-one-two: 1"}, []string{"x-three-four: 3", "server: envoy"}},
		{"proper", proper, proper, []string{"Host: a.test", "X-One-Two: 1", "X-Request-Id: "}, []string{"X-Three-Four: 3", "Server: envoy", "Content-Length: 0"}},
		{"preserved", preserve, preserve, []string{"hOST: a.test", "X-oNE-Two: 1", "x-request-id: "}, []string{"X-thREE-Four: 3", "server: envoy", "Content-LENGTH: 0"}},
		{"upstream only", "", preserve, []string{"host: a.test", "x-one-two: 1"}, []string{"x-three-four: 3"}},
		{"downstream only", preserve, "", []string{"host: a.test", "x-one-two: 1"}, []string{"x-three-four: 3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := proxytest.Edge{Manager: "http_protocol_options: {" + tt.manager + "}", Cluster: h1Options(tt.cluster)}
			p, up := start(t, e, proxytest.Answer("HTTP/1.1 200 OK\r\nX-thREE-Four: 3\r\nContent-LENGTH: 0\r\n\r\n"))
			c := p.Dial()
			for i := range 2 {
				c.Send("GET / HTTP/1.1\r\nhOST: a.test\r\nX-oNE-Two: 1\r\n\r\n")
				head, got := c.ReadHead(), up.WaitRequests(i + 1)[i]
				for _, w := range tt.up {
					if !strings.Contains(got, "\r\n"+w) {
						t.Errorf("the upstream got %q without %q", got, w)
					}
				}
				for _, w := range tt.down {
					if !strings.Contains(head, "\r\n"+w) {
						t.Errorf("the client got %q without %q", head, w)
					}
				}
			}
		})
	}
}

func TestLogTypes(t *testing.T) {
	p, _ := start(t, proxytest.Edge{
		AccessLog: "%ACCESS_LOG_TYPE% %RESPONSE_CODE%",
		Manager:   "upgrade_configs: [{upgrade_type: websocket}]\naccess_log_options: {flush_access_log_on_new_request: true, flush_log_on_tunnel_successfully_established: true, access_log_flush_interval: 0.05s}",
	}, switching)
	c := p.Dial()
	c.Send(websocket)
	c.ReadHead()
	lines := p.LogLines(4)
	c.Close()
	for i, w := range []string{"DownstreamStart 0", "DownstreamTunnelSuccessfullyEstablished 101", "DownstreamPeriodic 101", "DownstreamPeriodic 101"} {
		if lines[i] != w {
			t.Errorf("line %d: %q, want %q", i, lines[i], w)
		}
	}
	proxytest.Eventually(t, "the last line", func() (string, bool) {
		all := p.LogLines(4)
		last := all[len(all)-1]
		return last, last == "DownstreamEnd 101"
	})
}

const replies = `local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: x}}}}
    status_code: 410
    body: {inline_string: "gone for good"}
    headers_to_add: [{header: {key: x-mapped, value: "%REQ(:PATH)%"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 403, runtime_key: x}}}}
    body_format_override: {json_format: {path: "%REQ(:PATH)%", code: "%RESPONSE_CODE%", said: "%LOCAL_REPLY_BODY%"}}
  body_format: {text_format_source: {inline_string: "<%RESPONSE_CODE%|%LOCAL_REPLY_BODY%>"}, content_type: "text/html"}
`

func TestLocalReplies(t *testing.T) {
	p, _ := start(t, proxytest.Edge{AccessLog: flags, Manager: replies, Routes: `- {match: {path: /up}, route: {cluster: up}}
- {match: {path: /403}, direct_response: {status: 403, body: {inline_string: "no"}}}
- {match: {path: /500}, direct_response: {status: 500, body: {inline_string: "bad"}}}`}, proxytest.Answer("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nmine"))
	for _, tt := range []struct {
		path, content, typ, mapped string
		status                     int
	}{
		{"/none", "<410|gone for good>", "text/html", "/none", 410},
		{"/403", "{\"code\":403,\"path\":\"/403\",\"said\":\"no\"}\n", "application/json", "", 403},
		{"/500", "<500|bad>", "text/html", "", 500},
		{"/up", "mine", "", "", 404},
	} {
		r := p.Do(get(tt.path))
		if r.StatusCode != tt.status || r.Content != tt.content || r.Header.Get("content-type") != tt.typ || r.Header.Get("x-mapped") != tt.mapped {
			t.Errorf("%s: %v", tt.path, r)
		}
	}
	// A request that was refused has a local reply as well.
	r := p.Do("GET / HTTP/1.1\r\n\r\n")
	if r.StatusCode != 400 || !strings.HasPrefix(r.Content, "<400|") {
		t.Errorf("%v", r)
	}
	wantLog(t, p, "GET 410 NR", "GET 403 - direct_response", "GET 500 - direct_response", "GET 404 - via_upstream", "GET 400 DPE")
}

func TestUpstreamFailures(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script func(*proxytest.Session)
		log    string
	}{
		{"closes", func(s *proxytest.Session) { _, _ = s.Request() }, "GET 503 UC upstream_reset_before_response_started{connection_termination}"},
		{"resets", func(s *proxytest.Session) { _, _ = s.Request(); _ = s.Reset() }, "GET 503 UC upstream_reset_before_response_started{connection_termination}"},
		{"nonsense", proxytest.Answer("nonsense\r\n\r\n"), "GET 502 UPE "},
		{"two lengths", proxytest.Answer("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"), "GET 502 UPE "},
		{"both", proxytest.Answer("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), "GET 502 UPE "},
		{"fold", proxytest.Answer("HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\n"), "GET 502 UPE "},
		{"bare lf", proxytest.Answer("HTTP/1.1 200 OK\ncontent-length: 0\n\n"), "GET 502 UPE "},
		{"large head", proxytest.Answer("HTTP/1.1 200 OK\r\nx: " + strings.Repeat("y", 61<<10) + "\r\ncontent-length: 0\r\n\r\n"), "GET 50"},
		{"half a head", func(s *proxytest.Session) { _, _ = s.Request(); _ = s.Send("HTTP/1.1 200 OK\r\ncont") }, "GET 503 UC"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, up := start(t, proxytest.Edge{AccessLog: flags}, tt.script)
			c := p.Dial()
			r := c.Do(get("/"))
			if r.StatusCode < 500 || r.Close {
				t.Errorf("%v", r)
			}
			wantLog(t, p, tt.log)
			p.WaitGauge("cluster.up.upstream_cx_active", 0)
			if n := len(up.Received()); n != 1 {
				t.Errorf("%d connections upstream", n)
			}
		})
	}
	p, up := start(t, proxytest.Edge{AccessLog: flags}, mirror)
	up.Close()
	if r := p.Do(get("/")); r.StatusCode != 503 {
		t.Errorf("%v", r)
	}
	wantLog(t, p, "GET 503 UF upstream_reset_before_response_started{remote_connection_failure|")
}

// TestPoison: bytes that an upstream sends behind a response are nobody's, be they
// there with it or come while the connection is idle.
func TestPoison(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
	for _, later := range []bool{false, true} {
		p, up := start(t, proxytest.Edge{}, func(s *proxytest.Session) {
			for {
				if _, err := s.Request(); err != nil {
					return
				}
				if later {
					_ = s.Send(proxytest.OK("good"))
					_ = s.Send(evil)
				} else if s.Send(proxytest.OK("good")+evil) != nil {
					return
				}
			}
		})
		c := p.Dial()
		for i := range 20 {
			if r := c.Do(get("/")); r.Content != "good" {
				t.Fatalf("response %d: %v", i, r)
			}
			if later {
				p.WaitGauge("cluster.up.upstream_cx_active", 0)
			}
		}
		if n := up.Connections(); n != 20 {
			t.Errorf("%d connections for 20 requests", n)
		}
	}
}

// TestRefusedCase: the cluster's formatter is as strict as the manager's.
func TestRefusedCase(t *testing.T) {
	for _, field := range []string{"forward_reason_phrase: true", "formatter_type_on_envoy_headers: PROPER_CASE"} {
		o := strings.Replace(preserve, "PreserveCaseFormatterConfig", "PreserveCaseFormatterConfig, "+field, 1)
		_, err := proxytest.TryStart(t, proxytest.Edge{Cluster: h1Options(o)}.YAML(), proxytest.Options{
			Extensions: extensions(), Backends: map[string]string{"up": "127.0.0.1:1"},
		})
		name, _, _ := strings.Cut(field, ":")
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestRefusedConfigurations: what cannot be honoured is refused, with the field
// and what to do.
func TestRefusedConfigurations(t *testing.T) {
	const xff = "original_ip_detection_extensions: [{name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig, "
	for _, tt := range []struct{ manager, want string }{
		{"upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: WebSocket}]", "upgrade_configs[1]"},
		{"use_remote_address: true\n" + xff + "}}]", "original_ip_detection_extensions"},
		{xff + "xff_num_trusted_hops: 1, xff_trusted_cidrs: {cidrs: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}}]", "original_ip_detection_extensions[0]"},
		{"internal_address_config: {cidr_ranges: [{address_prefix: x, prefix_len: 8}]}", "cidr_ranges[0]"},
		{"http_protocol_options: {" + strings.Replace(preserve, "PreserveCaseFormatterConfig", "PreserveCaseFormatterConfig, forward_reason_phrase: true", 1) + "}", "forward_reason_phrase"},
		{"early_header_mutation_extensions: [{name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation, mutations: [{remove: host}]}}]", "early_header_mutation_extensions[0].typed_config.mutations[0]"},
		{"early_header_mutation_extensions: [{name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig}}]", "early_header_mutation_extensions[0]"},
		{"path_normalization_options: {}", "path_normalization_options"},
		{"proxy_status_config: {}", "proxy_status_config"},
	} {
		_, err := proxytest.TryStart(t, proxytest.Edge{Manager: tt.manager}.YAML(), proxytest.Options{
			Extensions: extensions(), Backends: map[string]string{"up": "127.0.0.1:1"},
		})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.manager, err)
		}
	}
}

// TestOddResponses are right, if unusual, or wrong in a way that has one reading.
func TestOddResponses(t *testing.T) {
	for _, tt := range []struct {
		name, request, response, head, rest string
	}{
		{"204 with length 0", get("/"), "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 204 No Content\r\n", ""},
		{"304 with chunked", get("/"), "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n", ""},
		{"205", get("/"), "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 205 Reset Content\r\n", ""},
		{"no reason", get("/"), "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\n", "ok"},
		{"no reason with space", get("/"), "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\n", "ok"},
		{"other status", get("/"), "HTTP/1.1 299 Odd\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 299 ", "ok"},
		{"status 600", get("/"), "HTTP/1.1 600 Odd\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 ", ""},
		{"1.0", get("/"), "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\n", "ok"},
		{"get with a body", "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi", proxytest.OK("ok"), "HTTP/1.1 200 OK\r\n", "ok"},
		{"empty host", "GET / HTTP/1.1\r\nhost:\r\n\r\n", proxytest.OK("ok"), "HTTP/1.1 200 OK\r\n", "ok"},
		{"options star", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", proxytest.OK("ok"), "HTTP/1.1 404 Not Found\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := start(t, proxytest.Edge{}, proxytest.Answer(tt.response))
			c := p.Dial()
			c.Send(tt.request)
			head := c.ReadHead()
			if !strings.HasPrefix(head, tt.head) {
				t.Errorf("%q", head)
			}
			if got := c.ReadN(len(tt.rest)); got != tt.rest {
				t.Errorf("%q", got)
			}
		})
	}
}
