// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// pressured is a proxy whose overload manager has one resource, that the test sets.
type pressured struct {
	*proxytest.Proxy
	t    *testing.T
	file string
}

// pressure runs an edge with an overload manager that has what more says beside a resource
// "it" at 0.
func pressure(t *testing.T, more string, e proxytest.Edge, script func(*proxytest.Session)) (*pressured, *proxytest.Upstream) {
	t.Helper()
	p := &pressured{t: t, file: filepath.Join(t.TempDir(), "pressure")}
	p.write("0")
	e.Bootstrap += `overload_manager:
  refresh_interval: 0.01s
  resource_monitors:
  - name: it
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig
      filename: ` + p.file + "\n"
	for line := range strings.Lines(more) {
		e.Bootstrap += "  " + line
	}
	e.Bootstrap += "\n"
	var up *proxytest.Upstream
	p.Proxy, up = start(t, e, script)
	return p, up
}

func (p *pressured) write(text string) {
	p.t.Helper()
	next := p.file + ".next"
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(next, p.file); err != nil {
		p.t.Fatal(err)
	}
}

// set brings the pressure to a value and waits until an action or point has seen it.
func (p *pressured) set(value float64, name string) {
	p.t.Helper()
	p.write(fmt.Sprint(value))
	percent := int64(0)
	if value >= 0.9 {
		percent = 100
	}
	p.WaitGauge("overload."+name+".scale_percent", percent)
}

const (
	actions = "envoy.overload_actions."
	points  = "envoy.load_shed_points."
)

func action(name string) string {
	return "actions:\n- {name: " + actions + name + ", triggers: [{name: it, threshold: {value: 0.9}}]}"
}

func point(name string) string {
	return "loadshed_points:\n- {name: " + points + name + ", triggers: [{name: it, threshold: {value: 0.9}}]}"
}

// TestRefusesRequests has requests refused at each place where a reply is made, and served
// again when the pressure is gone.
func TestRefusesRequests(t *testing.T) {
	tests := []struct {
		name, more, of, counter string
		status                  int
		body, log               string
		header                  string
	}{
		{
			"stop_accepting_requests", action("stop_accepting_requests"), actions + "stop_accepting_requests", "http.test.downstream_rq_overload_close",
			503, "envoy overloaded", "503 OM overload", "true",
		},
		{
			"decode_headers", point("http_connection_manager_decode_headers"), points + "http_connection_manager_decode_headers",
			"http.test.downstream_rq_overload_close", 503, "envoy overloaded", "503 OM overload", "true",
		},
		{
			"filter check", point("http_downstream_filter_check"), points + "http_downstream_filter_check", "http.test.rq_overload_local_reply",
			503, "envoy overloaded", "503 OM overload", "",
		},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			p, up := pressure(t, c.more, proxytest.Edge{
				Manager: "append_local_overload: true", AccessLog: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%",
			}, proxytest.Answer(proxytest.OK("ok")))
			client := p.Dial()
			if r := client.Do(get("/")); r.StatusCode != 200 {
				t.Fatal(r)
			}
			p.set(0.9, c.of)
			for range 2 {
				r := client.Do(get("/"))
				if r.StatusCode != c.status || r.Content != c.body || r.Header.Get("X-Envoy-Local-Overloaded") != c.header {
					t.Errorf("in overload: %v", r)
				}
			}
			if r := client.Do(post("/", "body", "content-length: 4")); r.StatusCode != c.status {
				t.Errorf("in overload, with a body: %v", r)
			}
			if r := client.Do(get("/", "content-type: application/grpc")); r.StatusCode != 200 || r.Header.Get("Grpc-Status") != "14" {
				t.Errorf("in overload, gRPC: %v", r)
			}
			p.set(0.89, c.of)
			if r := client.Do(get("/")); r.StatusCode != 200 || r.Content != "ok" {
				t.Errorf("once it is over, on the same connection: %v", r)
			}
			if n := len(up.Requests()); n != 2 {
				t.Errorf("%d requests have reached the host, want 2", n)
			}
			if n := p.Counter(c.counter); n != 4 {
				t.Errorf("%s is %d, want 4", c.counter, n)
			}
			if lines := p.LogLines(6); lines[1] != c.log {
				t.Errorf("the log says %q, want %q", lines[1], c.log)
			}
		})
	}
}

// TestKeepAlive: connections end with their response while keep-alive is disabled.
func TestKeepAlive(t *testing.T) {
	p, _ := pressure(t, action("disable_http_keepalive"), proxytest.Edge{}, proxytest.Answer(proxytest.OK("ok")))
	client := p.Dial()
	if r := client.Do(get("/")); r.StatusCode != 200 || r.Close {
		t.Fatal(r)
	}
	p.set(0.95, actions+"disable_http_keepalive")
	if r := client.Do(get("/")); r.StatusCode != 200 || !r.Close {
		t.Errorf("in overload: %v, close %v", r, r.Close)
	}
	client.ExpectClosed()
	if n := p.Counter("http.test.downstream_cx_overload_disable_keepalive"); n != 1 {
		t.Errorf("downstream_cx_overload_disable_keepalive is %d", n)
	}
}

// TestRefusesConnections has new connections closed, and left waiting.
func TestRefusesConnections(t *testing.T) {
	for name, more := range map[string]string{
		actions + "reject_incoming_connections": action("reject_incoming_connections"),
		points + "tcp_listener_accept":          point("tcp_listener_accept"),
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := pressure(t, more, proxytest.Edge{Listener: "stat_prefix: l"}, proxytest.Answer(proxytest.OK("ok")))
			old := p.Dial()
			if r := old.Do(get("/")); r.StatusCode != 200 {
				t.Fatal(r)
			}
			p.set(1, name)
			p.Dial().ExpectClosed()
			if r := old.Do(get("/")); r.StatusCode != 200 {
				t.Errorf("an old connection: %v", r)
			}
			p.WaitCounter("listener.l.downstream_cx_overload_reject", 1)
			p.set(0, name)
			if r := p.Do(get("/")); r.StatusCode != 200 {
				t.Errorf("once it is over: %v", r)
			}
		})
	}
	t.Run("stop", func(t *testing.T) {
		p, _ := pressure(t, action("stop_accepting_connections"), proxytest.Edge{}, proxytest.Answer(proxytest.OK("ok")))
		const name = actions + "stop_accepting_connections"
		p.set(1, name)
		// The gauge may be ahead of the listener: connections that are taken meanwhile are served.
		var waits *proxytest.Client
		proxytest.Eventually(t, "a connection that nobody takes", func() (string, bool) {
			c := p.Dial()
			c.Send(get("/"))
			_ = c.Conn().SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := c.Conn().Read(make([]byte, 1)); err == nil {
				c.Close()
				return "it was served", false
			}
			waits = c
			return "", true
		})
		p.set(0, name)
		_ = waits.Conn().SetReadDeadline(time.Now().Add(proxytest.Patience))
		b := make([]byte, 15)
		if _, err := io.ReadFull(waits.Conn(), b); err != nil || string(b) != "HTTP/1.1 200 OK" {
			t.Errorf("the connection that has waited got %q (%v)", b, err)
		}
	})
}

// TestBypass: a listener that bypasses the overload manager does all that others refuse.
func TestBypass(t *testing.T) {
	p, _ := pressure(t, action("stop_accepting_requests")+"\n- {name: "+actions+"reject_incoming_connections, triggers: [{name: it, threshold: {value: 0.9}}]}",
		proxytest.Edge{Listener: "bypass_overload_manager: true"}, proxytest.Answer(proxytest.OK("ok")))
	p.set(1, actions+"stop_accepting_requests")
	if r := p.Do(get("/")); r.StatusCode != 200 {
		t.Error(r)
	}
}

// TestConnectionLimit: the monitor of connections is a limit, too.
func TestConnectionLimit(t *testing.T) {
	p, _ := pressure(t, `- name: cx
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
    max_active_downstream_connections: 2
actions: [{name: envoy.overload_actions.disable_http_keepalive, triggers: [{name: cx, scaled: {scaling_threshold: 0.4, saturation_threshold: 1}}]}]`,
		proxytest.Edge{Listener: "stat_prefix: l"}, proxytest.Answer(proxytest.OK("ok")))
	one, two := p.Dial(), p.Dial()
	p.WaitGauge("listener.l.downstream_cx_active", 2)
	p.Dial().ExpectClosed()
	p.WaitCounter("listener.l.downstream_global_cx_overflow", 1)
	p.WaitGauge("overload.cx.pressure", 100)
	p.WaitGauge("overload.envoy.overload_actions.disable_http_keepalive.active", 1)
	two.Close()
	p.WaitGauge("overload.cx.pressure", 50)
	if r := p.Do(get("/")); r.StatusCode != 200 {
		t.Error(r)
	}
	one.Close()
}

// TestCreateCodec: a connection is closed with its first bytes, before they are looked at.
func TestCreateCodec(t *testing.T) {
	p, _ := pressure(t, point("hcm_ondata_creating_codec"), proxytest.Edge{}, proxytest.Answer(proxytest.OK("ok")))
	old, idle := p.Dial(), p.Dial()
	if r := old.Do(get("/")); r.StatusCode != 200 {
		t.Fatal(r)
	}
	p.set(1, points+"hcm_ondata_creating_codec")
	idle.Send(get("/"))
	idle.ExpectClosed()
	if r := old.Do(get("/")); r.StatusCode != 200 {
		t.Errorf("a connection that has its codec: %v", r)
	}
	p.WaitCounter("http.test.downstream_rq_overload_close", 1)
	if n := p.Counter("overload." + points + "hcm_ondata_creating_codec.shed_load_count"); n != 1 {
		t.Errorf("shed_load_count is %d", n)
	}
}

// TestAbortHTTP1: what more comes on a connection of HTTP/1 ends it, with an answer where
// none has begun.
func TestAbortHTTP1(t *testing.T) {
	begin := make(chan struct{})
	p, up := pressure(t, point("http1_server_abort_dispatch"), proxytest.Edge{AccessLog: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"},
		func(s *proxytest.Session) {
			for {
				head, err := s.Head()
				if err != nil {
					return
				}
				if strings.Contains(head, " /early ") {
					_ = s.Send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun")
				}
				s.Note(head)
				s.Hold(begin)
			}
		})
	fresh, late, early := p.Dial(), p.Dial(), p.Dial()
	late.Send(post("/late", "ab", "content-length: 4"))
	early.Send(post("/early", "ab", "content-length: 4"))
	up.WaitRequests(2)
	early.ReadHead()
	early.ReadN(len("begun"))
	p.set(1, points+"http1_server_abort_dispatch")
	if r := fresh.Do(get("/")); r.StatusCode != 500 || !r.Close {
		t.Errorf("a new request: %v", r)
	}
	fresh.ExpectClosed()
	late.Send("cd")
	if r := late.Response("POST"); r.StatusCode != 500 || !r.Close {
		t.Errorf("the rest of a request: %v", r)
	}
	late.ExpectClosed()
	early.Send("cd")
	if got, _ := early.ReadAll(); got != "" {
		t.Errorf("a response that had begun goes on: %q", got)
	}
	close(begin)
	p.WaitCounter("http.test.downstream_rq_overload_close", 3)
	if lines := p.LogLines(3); lines[0] != "500 OM overload_error:Envoy_Overloaded" {
		t.Errorf("the log says %q", lines[0])
	}
}

// h2Client speaks HTTP/2 on one connection at a time.
func h2Client(t *testing.T) *http.Transport {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// TestGoAwayHTTP2: a connection of HTTP/2 takes no further streams, or ends at once.
func TestGoAwayHTTP2(t *testing.T) {
	for _, c := range []struct {
		point    string
		finishes bool
		closed   uint64
	}{{"http2_server_go_away_on_dispatch", true, 0}, {"http2_server_go_away_and_close_on_dispatch", false, 1}} {
		t.Run(c.point, func(t *testing.T) {
			release := make(chan struct{})
			p, up := pressure(t, point(c.point), proxytest.Edge{}, func(s *proxytest.Session) {
				if _, err := s.Request(); err == nil {
					s.Hold(release)
					_ = s.Send(proxytest.OK("ok"))
				}
			})
			tr := h2Client(t)
			body, more := io.Pipe()
			r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+p.Addr()+"/", body)
			if err != nil {
				t.Fatal(err)
			}
			type answer struct {
				status int
				err    error
			}
			done := make(chan answer, 1)
			go func() {
				res, err := tr.RoundTrip(r)
				if err != nil {
					done <- answer{0, err}
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				done <- answer{res.StatusCode, nil}
			}()
			if _, err := more.Write([]byte("first")); err != nil {
				t.Fatal(err)
			}
			up.WaitConnections(1)
			p.set(1, points+c.point)
			_, _ = more.Write([]byte("second")) // The connection may be gone before it is taken.
			p.WaitCounter("http2.goaway_sent", 1)
			_ = more.Close()
			close(release)
			if got := <-done; c.finishes != (got.status == 200) {
				t.Errorf("the stream in flight ended with %d, %v", got.status, got.err)
			}
			p.WaitGauge("http.test.downstream_cx_active", 0)
			p.WaitCounter("http.test.downstream_rq_overload_close", c.closed)
		})
	}
}

// TestPoolOpensNothing: connections to hosts that there are go on, no others are opened.
func TestPoolOpensNothing(t *testing.T) {
	p, up := pressure(t, point("connection_pool_new_connection"), proxytest.Edge{AccessLog: "%RESPONSE_CODE% %RESPONSE_FLAGS%"}, proxytest.Answer(proxytest.OK("ok")))
	const name = points + "connection_pool_new_connection"
	p.set(1, name)
	if r := p.Do(get("/")); r.StatusCode != 503 || !strings.Contains(r.Content, "overflow") {
		t.Errorf("without any connection: %v", r)
	}
	p.set(0, name)
	if r := p.Do(get("/")); r.StatusCode != 200 {
		t.Errorf("once it is over: %v", r)
	}
	p.set(1, name)
	if r := p.Do(get("/")); r.StatusCode != 200 {
		t.Errorf("with a connection that is free: %v", r)
	}
	if n := up.Connections(); n != 1 {
		t.Errorf("%d connections were opened", n)
	}
	if lines := p.LogLines(3); lines[0] != "503 UO" {
		t.Errorf("the log says %q", lines[0])
	}
}

// TestReducesTimeouts: limits that run already become shorter.
func TestReducesTimeouts(t *testing.T) {
	const reduce = `actions:
- name: envoy.overload_actions.reduce_timeouts
  triggers: [{name: it, threshold: {value: 0.9}}]
  typed_config:
    "@type": type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig
    timer_scale_factors: [{timer: %s, %s}]`
	const name = actions + "reduce_timeouts"
	t.Run("idle connections", func(t *testing.T) {
		p, _ := pressure(t, fmt.Sprintf(reduce, "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout: 0.02s"), proxytest.Edge{}, proxytest.Answer(proxytest.OK("ok")))
		used, unused := p.Dial(), p.Dial()
		if r := used.Do(get("/")); r.StatusCode != 200 {
			t.Fatal(r)
		}
		p.WaitGauge("http.test.downstream_cx_active", 2)
		p.set(1, name)
		used.ExpectClosed()
		unused.ExpectClosed()
		p.WaitCounter("http.test.downstream_cx_idle_timeout", 2)
	})
	t.Run("connections that last long", func(t *testing.T) {
		p, _ := pressure(t, fmt.Sprintf(reduce, "HTTP_DOWNSTREAM_CONNECTION_MAX", "min_scale: {value: 0}"),
			proxytest.Edge{Manager: "common_http_protocol_options: {max_connection_duration: 600s}"}, proxytest.Answer(proxytest.OK("ok")))
		c := p.Dial()
		if r := c.Do(get("/")); r.StatusCode != 200 || r.Close {
			t.Fatal(r)
		}
		p.set(1, name)
		c.ExpectClosed()
		p.WaitCounter("http.test.downstream_cx_max_duration_reached", 1)
	})
	t.Run("handshakes", func(t *testing.T) {
		cert := tlstest.NewCA(t, "ca").Issue(t, tlstest.Leaf{DNS: []string{"a.test"}})
		p, _ := pressure(t, fmt.Sprintf(reduce, "TRANSPORT_SOCKET_CONNECT", "min_timeout: 0.02s"), proxytest.Edge{
			Listener: "stat_prefix: l",
			Chain: `transport_socket_connect_timeout: 600s
transport_socket:
  name: tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
    common_tls_context: {tls_certificates: [` + cert.Certificate() + `]}`,
		}, proxytest.Answer(proxytest.OK("ok")))
		c := p.Dial() // Which never begins its handshake.
		p.WaitGauge("listener.l.downstream_cx_active", 1)
		p.set(1, name)
		c.ExpectClosed()
		p.WaitCounter("listener.l.downstream_cx_transport_socket_connect_timeout", 1)
	})
	t.Run("idle streams", func(t *testing.T) {
		for _, speaks := range []string{"HTTP/1", "HTTP/2"} {
			p, up := pressure(t, fmt.Sprintf(reduce, "HTTP_DOWNSTREAM_STREAM_IDLE", "min_timeout: 0.02s"), proxytest.Edge{}, func(s *proxytest.Session) {
				if _, err := s.Request(); err == nil {
					_ = s.Gone()
				}
			})
			status := make(chan int, 1)
			if speaks == "HTTP/1" {
				c := p.Dial()
				c.Send(get("/"))
				go func() { status <- c.Response("GET").StatusCode }()
			} else {
				go func() {
					res, err := (&http.Client{Transport: h2Client(t)}).Get("http://" + p.Addr() + "/")
					if err != nil {
						status <- 0
						return
					}
					_ = res.Body.Close()
					status <- res.StatusCode
				}()
			}
			up.WaitRequests(1)
			p.set(1, name)
			if got := <-status; got != 504 {
				t.Errorf("%s: status %d, want 504", speaks, got)
			}
			p.WaitCounter("http.test.downstream_rq_idle_timeout", 1)
		}
	})
}

// TestResetsHeavyStreams: of two streams the one that holds much memory is broken off.
func TestResetsHeavyStreams(t *testing.T) {
	p, up := pressure(t, `buffer_factory_config: {minimum_account_to_track_power_of_two: 16}
actions:
- {name: envoy.overload_actions.reset_high_memory_stream, triggers: [{name: it, threshold: {value: 0.9}}]}`,
		proxytest.Edge{AccessLog: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%", Filters: `- name: buffer
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1000000}`},
		proxytest.Answer(proxytest.OK("ok")))
	heavy, light := p.Dial(), p.Dial()
	const size = 200_000
	heavy.Send(post("/", strings.Repeat("x", size-1), fmt.Sprint("content-length: ", size)))
	light.Send(post("/", "x", "content-length: 2"))
	tr := h2Client(t)
	body, more := io.Pipe()
	go func() { _, _ = more.Write(make([]byte, size)) }() // Until the stream is reset, which closes the body.
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+p.Addr()+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		res, err := tr.RoundTrip(r)
		if err == nil {
			_ = res.Body.Close()
		}
		failed <- err
	}()
	p.WaitGauge("http.test.downstream_rq_active", 3)
	p.set(1, actions+"reset_high_memory_stream")
	p.WaitCounter("overload."+actions+"reset_high_memory_stream.count", 2)
	if got, _ := heavy.ReadAll(); got != "" {
		t.Errorf("the heavy stream was answered: %q", got)
	}
	if err := <-failed; err == nil {
		t.Error("the heavy stream of HTTP/2 was answered")
	}
	light.Send("y")
	if r := light.Response("POST"); r.StatusCode != 200 {
		t.Errorf("the light stream: %v", r)
	}
	if n := len(up.Requests()); n != 1 {
		t.Errorf("%d requests have reached the host", n)
	}
	for i, line := range p.LogLines(3) {
		if want := []string{"0 OM overload", "0 OM overload", "200 - via_upstream"}[i]; line != want {
			t.Errorf("the log says %q, want %q", line, want)
		}
	}
}

// TestOverloadRefused: what is wrong with an overload manager keeps the proxy from starting.
func TestOverloadRefused(t *testing.T) {
	_, err := proxytest.TryStart(t, proxytest.Edge{Bootstrap: "overload_manager: {resource_monitors: [{name: it, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig, filename: p}}], actions: [{name: envoy.overload_actions.shrink_heap, triggers: [{name: x, threshold: {value: 1}}]}]}"}.YAML(),
		proxytest.Options{Extensions: extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
	if err == nil || !strings.Contains(err.Error(), `overload_manager.actions[0].triggers[0].name: there is no resource monitor called "x"`) {
		t.Errorf("error %v", err)
	}
}
