// SPDX-License-Identifier: Apache-2.0

package udpproxy_test

import (
	"regexp"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// TestSessionLog: a session's record has Envoy's fields and metadata.
func TestSessionLog(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, func(p []byte) [][]byte { return [][]byte{p, []byte("12")} })
	p := start(t, proxytest.UDPEdge{
		Proxy: "idle_timeout: 0.5s",
		AccessLog: "%ACCESS_LOG_TYPE% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% " +
			"%BYTES_RECEIVED% %BYTES_SENT% %DYNAMIC_METADATA(udp.proxy.session:cluster_name)% " +
			"%DYNAMIC_METADATA(udp.proxy.session:datagrams_received)% %DYNAMIC_METADATA(udp.proxy.session:datagrams_sent)% " +
			"%DYNAMIC_METADATA(udp.proxy.session:bytes_received)% %DYNAMIC_METADATA(udp.proxy.session:bytes_sent)% " +
			"%DYNAMIC_METADATA(udp.proxy.session:errors_sent)% %STREAM_ID%",
	}, map[string]string{"up": up.Addr()})
	c := p.DialUDP()
	for range 2 {
		c.Echo("hello")
		c.Receive()
	}
	want := "UdpSessionEnd " + c.LocalAddr().String() + " " + p.Addr() + " " + up.Addr() + " up 10 14 up 2 4 10 14 0 "
	line := p.LogLines(1)[0]
	id, ok := strings.CutPrefix(line, want)
	if !ok || !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("got  %s\nwant %s<a UUID>", line, want)
	}
}

// TestPeriodicLog: a session that lasts is told of now and then, always under the same
// ID.
func TestPeriodicLog(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, nil)
	p := start(t, proxytest.UDPEdge{
		Proxy: "access_log_options: {access_log_flush_interval: 0.02s}", AccessLog: "%ACCESS_LOG_TYPE% %STREAM_ID%",
	}, map[string]string{"up": up.Addr()})
	p.DialUDP().Echo("x")
	lines := p.LogLines(2)
	if !strings.HasPrefix(lines[0], "UdpPeriodic ") || lines[0] != lines[1] {
		t.Errorf("got %q", lines[:2])
	}
}

// TestProxyLog: the proxy's own record comes when its configuration ends.
func TestProxyLog(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, nil)
	m := func(name string) string { return " %DYNAMIC_METADATA(udp.proxy.proxy:" + name + ")%" }
	e := proxytest.UDPEdge{ProxyAccessLog: "%ACCESS_LOG_TYPE%" + m("datagrams_received") + m("datagrams_sent") + m("bytes_received") + m("bytes_sent") +
		m("errors_received") + m("errors_sent") + m("no_route") + m("session_total") + m("idle_timeout")}
	p := start(t, e, map[string]string{"up": up.Addr()}, 2)
	for range 3 {
		p.DialUDP().Echo("hello")
	}
	p.Update(strings.ReplaceAll(e.YAML(), "stat_prefix: test", "stat_prefix: other"))
	if line := p.LogLines(1)[0]; line != "NotSet 3 3 15 15 0 0 0 3 0" {
		t.Errorf("got %q", line)
	}
}
