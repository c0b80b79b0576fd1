// SPDX-License-Identifier: Apache-2.0

package tcp_test

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

func start(t *testing.T, common, check, up string) *proxytest.Proxy {
	t.Helper()
	if !strings.Contains(common, "timeout") {
		common += "timeout: 5s,"
	}
	e := proxytest.Edge{Cluster: `common_lb_config: {update_merge_window: 0s}
health_checks:
- {interval: 0.02s, no_traffic_interval: 0.02s, unhealthy_threshold: 1, healthy_threshold: 1, ` + common + ` tcp_health_check: {` + check + `}}`}
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up}})
}

// redis answers each line with PONG, in pieces.
func redis(s *proxytest.Session) {
	r := bufio.NewReader(s.Conn())
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		s.Note(line)
		for _, piece := range []string{"+P", "ON", "G\r\n"} {
			if s.Send(piece) != nil {
				return
			}
		}
	}
}

func TestConnectOnly(t *testing.T) {
	up := proxytest.NewUpstream(t, func(s *proxytest.Session) { _ = s.Gone() })
	p := start(t, "", "", up.Addr())
	if p.Gauge("cluster.up.membership_healthy") != 1 {
		t.Error("a host that takes connections is not well")
	}
	up.WaitConnections(3)
	up.Close()
	p.WaitGauge("cluster.up.membership_healthy", 0)
	if p.Counter("cluster.up.health_check.network_failure") == 0 {
		t.Error("a refused connection is no failure of the network")
	}
}

func TestSendAndReceive(t *testing.T) {
	up := proxytest.NewUpstream(t, redis)
	p := start(t, "", `send: {text: "50494e470d0a"}, receive: [{text: "504f"}, {text: "4e47"}]`, up.Addr())
	if p.Gauge("cluster.up.membership_healthy") != 1 {
		t.Error("PONG was not understood")
	}
	for _, r := range up.WaitRequests(4) {
		if r != "PING\r\n" {
			t.Errorf("sent was %q", r)
		}
	}
	if n := up.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestAnswersThatNeverFit(t *testing.T) {
	up := proxytest.NewUpstream(t, redis)
	p := start(t, "timeout: 0.05s,", `send: {binary: "UElORw0K"}, receive: [{text: "4f4b"}]`, up.Addr())
	if p.Gauge("cluster.up.membership_healthy") != 0 {
		t.Error("PONG was taken for OK")
	}
}

// TestSilence: what does not come in time is a failure, and the events tell that it was
// the time.
func TestSilence(t *testing.T) {
	up := proxytest.NewUpstream(t, func(s *proxytest.Session) { _ = s.Gone() })
	e := proxytest.Edge{Cluster: `health_checks:
- {timeout: 0.05s, interval: 600s, unhealthy_threshold: 1, healthy_threshold: 1, event_logger: [{name: f, typed_config: {"@type": type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink, event_log_path: "{{log}}"}}], tcp_health_check: {receive: [{text: "4f4b"}]}}`}
	p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
	line := p.LogLines(1)[0]
	if !strings.Contains(line, `"health_check_failure_event":{"failure_type":"NETWORK_TIMEOUT","first_check":true,"http_status_code":0}`) || !strings.Contains(line, `"health_checker_type":"TCP"`) {
		t.Errorf("the event is %s", line)
	}
}

func TestProxyProtocol(t *testing.T) {
	for version, want := range map[string]string{
		"V1": "PROXY TCP4 127.0.0.1 127.0.0.1 ",
		"V2": "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00PING\r\n",
	} {
		heads := make(chan string, 1)
		up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
			b := make([]byte, len(want))
			if _, err := io.ReadFull(s.Conn(), b); err == nil {
				select {
				case heads <- string(b):
				default: // There was one check after the other.
				}
				_ = s.Send("OK")
			}
			_ = s.Gone()
		})
		p := start(t, "", `send: {text: "50494e470d0a"}, receive: [{text: "4f4b"}], proxy_protocol_config: {version: `+version+`}`, up.Addr())
		if got := <-heads; got != want {
			t.Errorf("%s: sent was %q", version, got)
		}
		p.WaitGauge("cluster.up.membership_healthy", 1)
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ common, check, want string }{
		{"", `send: {text: "xy"}`, `tcp_health_check.send[0].text: "xy" is no hexadecimal text`},
		{"", `receive: [{binary: ""}]`, "tcp_health_check.receive[0]: is empty"},
		{"", "proxy_protocol_config: {version: V2, added_tlvs: [{type: 1, value: eA==}]}", "added_tlvs"},
		{"alt_port: 70000,", "", "alt_port: is no port"},
		{"event_service: {grpc_service: {envoy_grpc: {cluster_name: a}}},", "", "event_service"},
		{"event_logger: [{name: x, typed_config: {\"@type\": type.googleapis.com/google.protobuf.Empty}}],", "", "event_logger[0].typed_config: "},
	} {
		e := proxytest.Edge{Cluster: "health_checks:\n- {timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, " + tt.common + " tcp_health_check: {" + tt.check + "}}"}
		_, err := proxytest.TryStart(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: %v", tt.common, tt.check, err)
		}
	}
	for name, want := range map[string]string{"envoy.health_checkers.redis": "envoy.extensions.health_checkers.redis.v3.Redis", "mine": "custom_health_check.name: is not supported: custom health checkers"} {
		e := proxytest.Edge{Cluster: `health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, custom_health_check: {name: ` + name + `}}]`}
		_, err := proxytest.TryStart(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a custom checker: %v", err)
		}
	}
	one := "{name: a, timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}"
	e := proxytest.Edge{Cluster: "health_checks: [" + one + ", " + one + "]"}
	_, err := proxytest.TryStart(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
	if err == nil || !strings.Contains(err.Error(), `health_checks[1].name: "a" is there twice`) {
		t.Errorf("one name twice: %v", err)
	}
}
