// SPDX-License-Identifier: Apache-2.0

package grpc_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &grpclogv3.HttpGrpcAccessLogConfig{}, &grpclogv3.TcpGrpcAccessLogConfig{})
}

// service takes entries with gRPC's own server.
type service struct {
	alsv3.UnimplementedAccessLogServiceServer

	addr string
	got  chan *alsv3.StreamAccessLogsMessage
	fail func() error // what a stream ends with; nil is well
	mute bool         // no message at the end
}

func (s *service) StreamAccessLogs(stream alsv3.AccessLogService_StreamAccessLogsServer) error {
	if err := s.fail(); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if s.mute {
				return nil
			}
			return stream.SendAndClose(&alsv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		s.got <- m
	}
}

func serve(t *testing.T, s *service) *service {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr, s.got = l.Addr().String(), make(chan *alsv3.StreamAccessLogsMessage, 100)
	if s.fail == nil {
		s.fail = func() error { return nil }
	}
	g := grpc.NewServer()
	alsv3.RegisterAccessLogServiceServer(g, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(l) // It ends when it is stopped.
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	return s
}

func (s *service) next(t *testing.T) *alsv3.StreamAccessLogsMessage {
	t.Helper()
	select {
	case m := <-s.got:
		return m
	case <-time.After(proxytest.Patience):
		t.Fatal("no entry")
		return nil
	}
}

const clusters = `- {name: als, type: STATIC, connect_timeout: 5s, load_assignment: {cluster_name: als, endpoints: [{lb_endpoints: [{endpoint: {address: {{als}}}}]}]}, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}}`

func logOf(kind, fields, more string) string {
	return `access_log: [{name: als, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.` + kind + `GrpcAccessLogConfig, common_config: {log_name: web, buffer_flush_interval: 0.01s, grpc_service: {envoy_grpc: {cluster_name: als}}` + fields + `}` + more + `}}]`
}

func start(t *testing.T, s *service, manager string) *proxytest.Proxy {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("x-kind", "k") }))
	t.Cleanup(up.Close)
	e := proxytest.Edge{Bootstrap: "node: {id: edge-1, cluster: edge, locality: {zone: z}}", Manager: manager, Clusters: clusters}
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": strings.TrimPrefix(up.URL, "http://"), "als": s.addr}})
}

func TestRequests(t *testing.T) {
	for _, mute := range []bool{false, true} {
		s := serve(t, &service{mute: mute})
		p := start(t, s, logOf("Http", `, custom_tags: [{tag: team, literal: {value: shop}}, {tag: code, value: "%RESPONSE_CODE%"}]`, `, additional_request_headers_to_log: [X-User], additional_response_headers_to_log: [x-kind]`))
		if r := p.Do("GET /a HTTP/1.1\r\nHost: shop\r\nx-user: me\r\n\r\n"); r.StatusCode != 200 {
			t.Fatal(r)
		}
		m := s.next(t)
		if id := m.GetIdentifier(); id.GetLogName() != "web" || id.GetNode().GetId() != "edge-1" || id.GetNode().GetCluster() != "edge" || id.GetNode().GetLocality().GetZone() != "z" {
			t.Errorf("identifier %v", id)
		}
		x := m.GetHttpLogs().GetLogEntry()[0]
		c, q, r := x.GetCommonProperties(), x.GetRequest(), x.GetResponse()
		if c.GetUpstreamCluster() != "up" || c.GetCustomTags()["team"] != "shop" || c.GetCustomTags()["code"] != "200" || c.GetDownstreamRemoteAddress().GetSocketAddress().GetAddress() != "127.0.0.1" ||
			c.GetUpstreamRemoteAddress().GetSocketAddress().GetPortValue() == 0 || time.Since(c.GetStartTime().AsTime()) > proxytest.Patience || c.GetDuration().AsDuration() <= 0 || c.GetUpstreamRequestAttemptCount() != 1 {
			t.Errorf("common %v", c)
		}
		if q.GetPath() != "/a" || q.GetAuthority() != "shop" || q.GetRequestMethod().String() != "GET" || q.GetRequestHeaders()["x-user"] != "me" || r.GetResponseCode().GetValue() != 200 || r.GetResponseHeaders()["x-kind"] != "k" {
			t.Errorf("request %v, response %v", q, r)
		}
		p.Close()
		if n := p.Counter("access_logs.grpc_access_log.logs_dropped"); n != 0 {
			t.Errorf("%d entries were dropped, mute %v", n, mute)
		}
	}
}

func TestConnections(t *testing.T) {
	s := serve(t, &service{})
	up := proxytest.NewUpstream(t, proxytest.Answer("pong"))
	p := proxytest.Start(t, `static_resources:
  listeners:
  - name: tcp
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: up, `+logOf("Tcp", "", "")+`}}]}]
  clusters:
  - {name: up, type: STATIC, connect_timeout: 5s, load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: [{endpoint: {address: {{up}}}}]}]}}
  `+clusters+"\n", proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr(), "als": s.addr}})
	c := p.Dial()
	c.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	c.ReadN(len("pong"))
	c.Close()
	x := s.next(t).GetTcpLogs().GetLogEntry()[0]
	if n := x.GetConnectionProperties(); n.GetSentBytes() != 4 || n.GetReceivedBytes() != 27 || x.GetCommonProperties().GetUpstreamCluster() != "up" {
		t.Error(x)
	}
}

// TestRestart: a service that is away for a while gets what happened then.
func TestRestart(t *testing.T) {
	var asked atomic.Int32
	s := serve(t, &service{fail: func() error {
		if asked.Add(1) <= 2 {
			return status.Error(codes.Unavailable, "starting")
		}
		return nil
	}})
	p := start(t, s, logOf("Http", `, grpc_stream_retry_policy: {num_retries: 5, retry_back_off: {base_interval: 0.001s}}`, ""))
	p.Do("GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
	s.next(t)
	if n := p.Counter("access_logs.grpc_access_log.logs_dropped"); n != 0 {
		t.Errorf("%d entries were dropped", n)
	}
}

// TestRefusing: what the service does not take is counted, and no request waits for it.
func TestRefusing(t *testing.T) {
	s := serve(t, &service{fail: func() error { return status.Error(codes.PermissionDenied, "no") }})
	p := start(t, s, logOf("Http", "", ""))
	if r := p.Do("GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); r.StatusCode != 200 {
		t.Error(r)
	}
	p.WaitCounter("access_logs.grpc_access_log.logs_dropped", 1)
}

func TestRefused(t *testing.T) {
	for fields, want := range map[string]string{
		`, transport_api_version: V2`:                                                         "transport_api_version: V2 is no more",
		`, custom_tags: [{tag: a}]`:                                                           "custom_tags[0]",
		`, custom_tags: [{tag: a, value: "%NOTHING%"}]`:                                       "custom_tags[0]",
		`, grpc_stream_retry_policy: {retry_on: always}`:                                      "grpc_stream_retry_policy.retry_on",
		`, grpc_stream_retry_policy: {retry_back_off: {base_interval: 2s, max_interval: 1s}}`: "grpc_stream_retry_policy",
	} {
		e := proxytest.Edge{Manager: logOf("Http", fields, "")}
		_, err := proxytest.TryStart(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", fields, err, want)
		}
	}
}
