// SPDX-License-Identifier: Apache-2.0

package tcpproxy_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

const (
	speakHTTP2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`
	uuidID     = `request_id_extension: {typed_config: {"@type": type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig}}`
)

// ending is a proxy at which tunnels end: what they carry goes to the backend.
func ending(t *testing.T, backend, fields string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, proxytest.Edge{
		Manager: "http2_protocol_options: {allow_connect: true}",
		Routes: `
- {match: {connect_matcher: {}}, route: {cluster: up, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {` + fields + `}}]}}
- {match: {path: /tunnel}, route: {cluster: up, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}}
- {match: {prefix: /}, direct_response: {status: 200}}`,
		AccessLog: "%REQ(:METHOD)% %REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_FLAGS%",
	}.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": backend}})
}

// TestTunnel goes through a second proxy, which ends the tunnel: over both protocols,
// by CONNECT and by POST.
func TestTunnel(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<12)
	for _, http2 := range []bool{false, true} {
		for _, post := range []bool{false, true} {
			t.Run(fmt.Sprintf("http2=%v post=%v", http2, post), func(t *testing.T) {
				back := proxytest.NewUpstream(t, echo)
				far := ending(t, back.Addr(), "")
				e := edge{proxy: `tunneling_config: {hostname: "b.test:443"}`, log: "%BYTES_RECEIVED% %BYTES_SENT% [%RESPONSE_FLAGS%] %UPSTREAM_PROTOCOL%"}
				method, protocol := "CONNECT", "HTTP/1.1"
				if post {
					method = "POST"
					e.proxy = `tunneling_config: {hostname: "b.test:443", use_post: true, post_path: /tunnel}`
				}
				if http2 {
					e.cluster, protocol = speakHTTP2, "HTTP/2"
				}
				p := startAt(t, e, map[string]string{"up": far.Addr()})
				c := p.Dial()
				c.Send("hello")
				if got := c.ReadN(5); got != "hello" {
					t.Errorf("%q", got)
				}
				go func() {
					_ = c.TrySend(large) // What comes back tells.
					_ = c.TrySend("end")
				}()
				if got := c.ReadN(len(large) + 3); got != large+"end" {
					t.Errorf("%d bytes came back otherwise", len(got))
				}
				c.CloseWrite()
				if got, reset := c.ReadAll(); got != "" || reset {
					t.Errorf("%q, reset %v", got, reset)
				}
				wantLog(t, p, fmt.Sprintf("%d %d [-] %s", len(large)+8, len(large)+8, protocol))
				wantLog(t, far, method+" b.test:443 200 -")
				p.WaitGauge("cluster.up.upstream_rq_active", 0)
				far.WaitGauge("cluster.up.upstream_cx_active", 0)
			})
		}
	}
}

// TestTunnelRequest shows what is asked for, and what is kept of the answer.
func TestTunnelRequest(t *testing.T) {
	e := edge{
		proxy: `tunneling_config: {hostname: "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%:7", propagate_response_headers: true, request_id_header: X-Id, request_id_metadata_key: id, ` + uuidID +
			`, headers_to_add: [{header: {key: x-who, value: "%PROTOCOL%me"}}, {header: {key: x-never, value: "%REQ(x-no)%"}}]}`,
		log: "%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers:PLAIN)% %DYNAMIC_METADATA(envoy.filters.network.tcp_proxy:id)%",
	}
	p, up := start(t, e, func(s *proxytest.Session) {
		head, err := s.Head()
		if err != nil {
			return
		}
		s.Note(head)
		_ = s.Send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nx-far: away\r\n\r\nfirst")
		b, _ := s.ReadN(4)
		_ = s.Send(b)
	})
	c := p.Dial()
	c.Send("ping")
	if got, _ := c.ReadAll(); got != "firstping" {
		t.Errorf("%q", got)
	}
	c.Close()
	head := up.WaitRequests(1)[0]
	id := proxytest.Field(head, "x-id")
	if !strings.HasPrefix(head, "CONNECT 127.0.0.1:7 HTTP/1.1\r\nhost: 127.0.0.1:7\r\n") || len(id) != 36 || strings.Contains(head, "x-never") || proxytest.Field(head, "x-who") != "me" {
		t.Errorf("the proxy was asked %q", head)
	}
	wantLog(t, p, ":status: 201; x-far: away "+id)
}

// TestTunnelRefused tries again what is not granted, as often as it may.
func TestTunnelRefused(t *testing.T) {
	e := edge{proxy: `max_connect_attempts: 3, tunneling_config: {hostname: "b.test:443"}`, log: "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%"}
	p, up := start(t, e, func(s *proxytest.Session) {
		head, err := s.Head()
		if err != nil {
			return
		}
		s.Note(head)
		_ = s.Send("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
	})
	c := p.Dial()
	c.Send("hello")
	c.ExpectClosed()
	up.WaitRequests(3)
	wantLog(t, p, "UF,URX tunnel refused with status 403")
	if n := p.Counter("cluster.up.upstream_cx_connect_attempts_exceeded"); n != 1 {
		t.Errorf("%d", n)
	}
	p.WaitGauge("cluster.up.upstream_rq_active", 0)
}

// TestTunnelAborts: a side that goes takes the other with it.
func TestTunnelAborts(t *testing.T) {
	for _, cluster := range []string{"", speakHTTP2} {
		gone := make(chan struct{}, 2)
		back := proxytest.NewUpstream(t, func(s *proxytest.Session) {
			if b, _ := s.ReadN(4); b == "kill" {
				_ = s.Reset()
				return
			}
			_ = s.Send("okay")
			_ = s.Gone()
			gone <- struct{}{}
		})
		far := ending(t, back.Addr(), "")
		p := startAt(t, edge{cluster: cluster, proxy: `tunneling_config: {hostname: "b.test:443"}`}, map[string]string{"up": far.Addr()})
		c := p.Dial()
		c.Send("kill")
		c.ExpectClosed()
		c = p.Dial()
		c.Send("live")
		c.ReadN(4)
		c.Reset()
		<-gone
		p.WaitGauge("cluster.up.upstream_rq_active", 0)
		far.WaitGauge("http.test.downstream_rq_active", 0)
	}
}

func TestTunnelConfig(t *testing.T) {
	for fields, want := range map[string]string{
		`hostname: "%NO%"`:                                               "tunneling_config.hostname",
		`hostname: a, post_path: /x`:                                     "tunneling_config.post_path: has no meaning without use_post",
		`hostname: a, use_post: true, post_path: x`:                      "tunneling_config.post_path: does not begin with a slash",
		`hostname: a, headers_to_add: [{header: {key: host, value: b}}]`: `tunneling_config.headers_to_add[0].header.key: header "host" may not be changed`,
		`hostname: a, request_id_header: ":path", ` + uuidID:             "tunneling_config.request_id_header",
		`hostname: a, formatters: [{name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}]`: "tunneling_config.formatters",
	} {
		_, err := proxytest.TryStart(t, edge{proxy: "tunneling_config: {" + fields + "}"}.yaml(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", fields, err)
		}
	}
}

// TestTLVs adds TLVs to the header that the upstream gets.
func TestTLVs(t *testing.T) {
	const socket = `transport_socket: {name: p, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport, config: {version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}}, transport_socket: {name: raw, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}}`
	p, _ := start(t, edge{cluster: socket, proxy: `proxy_protocol_tlvs: [{type: 0xe1, value: aGk=}, {type: 0xe2, format_string: {text_format_source: {inline_string: "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"}}}]`}, echo)
	c := p.Dial()
	c.Send("x")
	head := c.ReadN(16)
	rest := c.ReadN(int(head[14])<<8 | int(head[15]))
	if want := "\xe1\x00\x02hi\xe2\x00\x09127.0.0.1"; rest[12:] != want {
		t.Errorf("%q, want %q", rest[12:], want)
	}
}
