// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"io"
	"net"
	"os"
	"runtime/pprof"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// server answers each request that has no body with known bytes, without
// allocating.
func server(t *testing.T, response []byte) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	conns := make(chan net.Conn, 64)
	go func() {
		defer close(done)
		defer close(conns)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns <- c
			go func() {
				defer func() { _ = c.Close() }()
				b := make([]byte, 64<<10)
				for {
					if n, err := c.Read(b); err != nil || n < 4 || string(b[n-4:n]) != "\r\n\r\n" {
						return
					}
					if _, err := c.Write(response); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
		for c := range conns {
			_ = c.Close()
		}
	})
	return ln.Addr().String()
}

const tracingCluster = "- {name: otel, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: otel, endpoints: [{lb_endpoints: [{endpoint: {address: {{up}}}}]}]}}"

func tracingTo(fields string) string {
	return `tracing: {` + fields + `, provider: {name: otel, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, grpc_service: {envoy_grpc: {cluster_name: otel}}}}}`
}

// TestAllocations: a proxied request in steady state costs no allocation, from
// the client's bytes to the access log. ALLOC_PROFILE names a file for a profile
// of what does allocate; -memprofilerate 1 makes it exact.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, tt := range []struct {
		name string
		edge proxytest.Edge
		send string
		size int // of the upstream's body
		most float64
	}{
		{"small", proxytest.Edge{}, get("/a?b", "user-agent: x", "accept: */*", "cookie: a=b"), 100, 0},
		{"edge", proxytest.Edge{Manager: "use_remote_address: true\nnormalize_path: true\nmerge_slashes: true\nvia: x\npath_with_escaped_slashes_action: UNESCAPE_AND_FORWARD\nstrip_any_host_port: true",
			Host: "request_headers_to_add: [{header: {key: x-a, value: \"%DOWNSTREAM_REMOTE_ADDRESS%\"}}]\nresponse_headers_to_add: [{header: {key: x-b, value: c}}]"},
			get("/a/../b", "x-forwarded-for: 1.2.3.4"), 100, 0},
		{"access log", proxytest.Edge{AccessLog: "[%START_TIME%] %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_SENT% %DURATION% %REQ(USER-AGENT)% %UPSTREAM_HOST% %DOWNSTREAM_REMOTE_ADDRESS%"}, get("/"), 100, 0},
		{"16 KiB", proxytest.Edge{}, get("/"), 16 << 10, 0},
		{"limits", proxytest.Edge{Manager: "stream_idle_timeout: 60s\nrequest_timeout: 60s\nrequest_headers_timeout: 60s\ncommon_http_protocol_options: {max_stream_duration: 60s}",
			Routes: "- {match: {prefix: /}, route: {cluster: up, timeout: 30s, retry_policy: {retry_on: 5xx, per_try_timeout: 10s}}}"}, get("/"), 100, 0},
		{"overload manager", proxytest.Edge{Bootstrap: managed()}, get("/"), 100, 0},
		{"traced, not sampled", proxytest.Edge{Manager: tracingTo("random_sampling: {value: 0}, spawn_upstream_span: true"), Clusters: tracingCluster, AccessLog: "%TRACE_ID% %SPAN_ID%"}, get("/", "user-agent: x"), 100, 0},
		{"local reply", proxytest.Edge{Routes: "- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}"}, get("/"), 0, 2},
		{"redirect", proxytest.Edge{Routes: "- {match: {prefix: /}, redirect: {path_redirect: /x}}"}, get("/"), 0, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := make([]byte, tt.size)
			for i := range body {
				body[i] = 'x'
			}
			up := server(t, []byte(proxytest.OK(string(body))))
			p := proxytest.Start(t, tt.edge.YAML(), proxytest.Options{Extensions: extensions(), Backends: map[string]string{"up": up}})
			c := p.Dial().Conn()
			request := []byte(tt.send)
			var size int
			buf := make([]byte, 64<<10)
			once := func() {
				if _, err := c.Write(request); err != nil {
					t.Fatal(err)
				}
				if size == 0 {
					// The first response may come in pieces; it tells the size of all.
					for {
						n, err := c.Read(buf[size:])
						if err != nil {
							t.Fatal(err)
						}
						if size += n; complete(buf[:size], tt.size) {
							return
						}
					}
				}
				if _, err := io.ReadFull(c, buf[:size]); err != nil {
					t.Fatal(err)
				}
			}
			// Timers, the garbage collector and the clock of the log allocate now and
			// then, but not for each request.
			per := allocations(t, func() error { once(); return nil }, 4000, tt.most+0.02)
			if per > tt.most+0.02 {
				t.Errorf("%.2f allocations per request, want %.0f", per, tt.most)
				if path := os.Getenv("ALLOC_PROFILE"); path != "" {
					f, err := os.Create(path)
					if err != nil {
						t.Fatal(err)
					}
					if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
						t.Error(err)
					}
					_ = f.Close()
				}
			}
		})
	}
}

// managed is an overload manager with all that requests ask of it, and a resource of which
// there is enough.
func managed() string {
	const trigger = ", triggers: [{name: it, threshold: {value: 1}}]}\n"
	text := `overload_manager:
  refresh_interval: 60s
  resource_monitors:
  - name: it
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 1000000
  actions:
  - name: envoy.overload_actions.reduce_timeouts
    triggers: [{name: it, threshold: {value: 1}}]
    typed_config:
      "@type": type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig
      timer_scale_factors: [{timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 1s}, {timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_timeout: 1s}]
`
	for _, name := range []string{"stop_accepting_requests", "disable_http_keepalive"} {
		text += "  - {name: " + actions + name + trigger
	}
	text += "  loadshed_points:\n"
	for _, name := range []string{
		"http_connection_manager_decode_headers", "http_downstream_filter_check", "http1_server_abort_dispatch", "connection_pool_new_connection",
	} {
		text += "  - {name: " + points + name + trigger
	}
	return text
}

func complete(b []byte, size int) bool {
	for i := 0; i+4 <= len(b); i++ {
		if string(b[i:i+4]) == "\r\n\r\n" {
			return size == 0 || len(b)-i-4 == size
		}
	}
	return false
}
