// SPDX-License-Identifier: Apache-2.0

package grpc

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"net/url"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dataaccesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/tls"
)

// known is a stream of which everything is known.
func known() *streaminfo.Stream {
	at := func(s string) address.Addr { return address.IP(netip.MustParseAddrPort(s)) }
	h, resp, trailer := &header.Map{}, &header.Map{}, &header.Map{}
	for _, p := range [][2]string{
		{":method", "POST"}, {":scheme", "https"}, {":authority", "shop"}, {":path", "/a"}, {"user-agent", "me"}, {"referer", "r"}, {"x-forwarded-for", "9.9.9.9"},
		{"x-request-id", "id"}, {"x-envoy-original-path", "/o"}, {"x-user", "a"}, {"x-user", "b"}, {"x-raw", "caf\xe9"},
	} {
		h.Add(header.NewName(p[0]), p[1])
	}
	resp.Add(header.NewName("x-kind"), "k")
	trailer.Add(header.NewName("x-sum"), "s")
	uri, err := url.Parse("spiffe://a/b")
	if err != nil {
		panic(err)
	}
	peer := &x509.Certificate{Subject: pkix.Name{CommonName: "client"}, Issuer: pkix.Name{CommonName: "ca"}, URIs: []*url.URL{uri}, DNSNames: []string{"client.example"}}
	return &streaminfo.Stream{
		Conn: &streaminfo.Connection{
			Local: at("10.0.0.1:443"), Remote: at("10.0.0.2:1"), DirectRemote: at("10.0.0.3:2"), ServerName: "shop", JA3: "ja3", Termination: "rbac", TransportFailure: "tf",
			TLS:         &streaminfo.TLS{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", SessionID: "00ff", PeerCerts: []*x509.Certificate{peer}},
			FilterState: streaminfo.FilterState{"who": {Text: "me"}},
		},
		Start: time.Unix(100, 5), Duration: 2*time.Second + 7, Protocol: streaminfo.HTTP2, Remote: at("9.9.9.9:0"), ID: "id", Status: 503, StatusDetails: "via",
		Timing: streaminfo.Timing{
			RequestEnd: 1, UpstreamFirstTx: 2, UpstreamLastTx: 3, UpstreamFirstRx: 4, UpstreamLastRx: 5, DownstreamFirstTx: 6, DownstreamLastTx: int64(time.Second),
		},
		Flags:        streaminfo.UnauthorizedExternalService | streaminfo.UpstreamConnectionFailure | streaminfo.DNSResolutionFailed | streaminfo.DropOverload | streaminfo.DownstreamRemoteReset,
		BodyReceived: 11, BodySent: 12, HeaderReceived: 13, HeaderSent: 14, WireReceived: 15, WireSent: 16, RouteName: "r", ClusterName: "c", ClusterStatName: "stat", Attempts: 2,
		Upstream: streaminfo.Upstream{
			HostAddress: at("10.1.0.1:80"), Local: address.Unix("/tmp/u"), FailureReason: "refused", WireSent: 21, WireReceived: 22, HeaderSent: 23, HeaderReceived: 24,
		},
		Metadata: streaminfo.Metadata{"ns": {"tree": map[string]any{"n": 1.5, "t": "x", "b": true, "none": nil, "empty": "", "list": []any{"a", 2.0}}}},
		Request:  h, Response: resp, ResponseTrailer: trailer,
	}
}

func complete() *Sink {
	return &Sink{
		http: true, suites: tls.CipherSuites(), states: []string{"who", "nobody"},
		tags:    []route.Tag{{Name: "team", Value: "shop"}, {Name: "user", Source: route.TagRequestHeader, Header: header.NewName("x-user")}, {Name: "none", Source: route.TagRequestHeader, Header: header.NewName("x-none")}},
		request: names([]string{"x-user", "x-none", "x-raw"}), response: names([]string{"x-kind"}), trailer: names([]string{"x-sum"}),
	}
}

// common is the AccessLogCommon of what is known.
const common = `common_properties {
  downstream_remote_address { socket_address { address: "9.9.9.9" port_value: 0 } }
  downstream_local_address { socket_address { address: "10.0.0.1" port_value: 443 } }
  downstream_direct_remote_address { socket_address { address: "10.0.0.3" port_value: 2 } }
  tls_properties { tls_version: TLSv1_3 tls_cipher_suite { value: 0x1301 } tls_sni_hostname: "shop" tls_session_id: "00ff" ja3_fingerprint: "ja3"
    peer_certificate_properties { subject_alt_name { uri: "spiffe://a/b" } subject_alt_name { dns: "client.example" } subject: "CN=client" issuer: "CN=ca" } }
  start_time { seconds: 100 nanos: 5 } duration { seconds: 2 nanos: 7 }
  time_to_last_rx_byte { nanos: 1 } time_to_first_upstream_tx_byte { nanos: 2 } time_to_last_upstream_tx_byte { nanos: 3 } time_to_first_upstream_rx_byte { nanos: 4 }
  time_to_last_upstream_rx_byte { nanos: 5 } time_to_first_downstream_tx_byte { nanos: 6 } time_to_last_downstream_tx_byte { seconds: 1 }
  upstream_remote_address { socket_address { address: "10.1.0.1" port_value: 80 } } upstream_local_address { pipe { path: "/tmp/u" } } upstream_cluster: "stat"
  response_flags { upstream_connection_failure: true unauthorized_details { reason: EXTERNAL_SERVICE } dns_resolution_failure: true downstream_remote_reset: true }
  metadata { filter_metadata { key: "ns" value { fields { key: "tree" value { struct_value {
    fields { key: "n" value { number_value: 1.5 } } fields { key: "t" value { string_value: "x" } } fields { key: "b" value { bool_value: true } } fields { key: "none" value { null_value: NULL_VALUE } }
    fields { key: "empty" value { string_value: "" } } fields { key: "list" value { list_value { values { string_value: "a" } values { number_value: 2 } } } } } } } } } }
  upstream_transport_failure_reason: "refused" route_name: "r" connection_termination_details: "rbac" stream_id: "id" downstream_transport_failure_reason: "tf"
  filter_state_objects { key: "who" value { [type.googleapis.com/google.protobuf.StringValue] { value: "me" } } }
  custom_tags { key: "team" value: "shop" } custom_tags { key: "user" value: "a" } upstream_request_attempt_count: 2
  downstream_wire_bytes_sent: 16 downstream_wire_bytes_received: 15 upstream_wire_bytes_sent: 21 upstream_wire_bytes_received: 22 `

func parse[M proto.Message](t *testing.T, m M, text string) M {
	t.Helper()
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// sent decodes what a batch of entries is sent as.
func sent(t *testing.T, k *Sink, entries []byte) *alsv3.StreamAccessLogsMessage {
	t.Helper()
	who, err := identifier("log", &extension.Node{ID: "n", Cluster: "c", Zone: "z", Metadata: map[string]any{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	m := &alsv3.StreamAccessLogsMessage{}
	if err := proto.Unmarshal(request(who, k.http)(nil, entries), m); err != nil {
		t.Fatal(err)
	}
	if id := m.GetIdentifier(); id.GetLogName() != "log" || id.GetNode().GetId() != "n" || id.GetNode().GetLocality().GetZone() != "z" || id.GetNode().GetMetadata().GetFields()["a"].GetStringValue() != "b" {
		t.Errorf("identifier %v", id)
	}
	return m
}

func TestHTTPEntry(t *testing.T) {
	k, i := complete(), known()
	m := sent(t, k, k.appendHTTP(k.appendHTTP(nil, i, accesslog.DownstreamEnd), i, accesslog.DownstreamStart))
	want := parse(t, &dataaccesslogv3.HTTPAccessLogEntry{}, common+`access_log_type: DownstreamEnd }
protocol_version: HTTP2
request { request_method: POST scheme: "https" authority: "shop" path: "/a" user_agent: "me" referer: "r" forwarded_for: "9.9.9.9" request_id: "id" original_path: "/o" request_body_bytes: 11
  request_headers { key: "x-user" value: "a,b" } request_headers { key: "x-raw" value: "caf!" } upstream_header_bytes_sent: 23 downstream_header_bytes_received: 13 }
response { response_code { value: 503 } response_body_bytes: 12 response_headers { key: "x-kind" value: "k" } response_trailers { key: "x-sum" value: "s" } response_code_details: "via"
  upstream_header_bytes_received: 24 downstream_header_bytes_sent: 14 }`)
	want.Request.RequestHeadersBytes, want.Response.ResponseHeadersBytes = uint64(i.Request.Size()), uint64(i.Response.Size())
	list := m.GetHttpLogs().GetLogEntry()
	if len(list) != 2 {
		t.Fatalf("%d entries", len(list))
	}
	if diff := cmp.Diff(want, list[0], protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if c := list[1].GetCommonProperties(); !c.GetIntermediateLogEntry() || c.GetAccessLogType() != dataaccesslogv3.AccessLogType_DownstreamStart {
		t.Errorf("an entry of the start is %v", c)
	}
}

func TestTCPEntry(t *testing.T) {
	k, i := complete(), known()
	k.http = false
	m := sent(t, k, k.appendTCP(nil, i, accesslog.TCPConnectionEnd))
	want := parse(t, &dataaccesslogv3.TCPAccessLogEntry{}, common+`access_log_type: TcpConnectionEnd }
connection_properties { received_bytes: 11 sent_bytes: 12 }`)
	if diff := cmp.Diff(want, m.GetTcpLogs().GetLogEntry()[0], protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// TestLittle: a stream that ended before anything was known makes a valid entry.
func TestLittle(t *testing.T) {
	k := &Sink{http: true}
	if m := sent(t, k, k.appendHTTP(nil, &streaminfo.Stream{}, accesslog.NotSet)); len(m.GetHttpLogs().GetLogEntry()) != 1 {
		t.Error(m)
	}
}

// TestFlags: each flag that Envoy's message has is told, by the name that both share.
func TestFlags(t *testing.T) {
	for flag := streaminfo.FailedLocalHealthCheck; flag <= streaminfo.UnconditionalDropOverload; flag <<= 1 {
		k := &Sink{http: true}
		f := sent(t, k, k.appendHTTP(nil, &streaminfo.Stream{Flags: flag}, accesslog.NotSet)).GetHttpLogs().GetLogEntry()[0].GetCommonProperties().GetResponseFlags()
		n := proto.Size(f)
		if none := flag == streaminfo.DropOverload || flag == streaminfo.UnconditionalDropOverload; none != (n == 0) {
			t.Errorf("%s is %v", flag.AppendLong(nil), f)
		}
	}
	if f := sent(t, &Sink{http: true}, (&Sink{}).appendHTTP(nil, &streaminfo.Stream{Flags: streaminfo.OverloadManager | streaminfo.RateLimited}, accesslog.NotSet)).GetHttpLogs().GetLogEntry()[0].GetCommonProperties().GetResponseFlags(); !f.GetOverloadManager() || !f.GetRateLimited() {
		t.Error(f)
	}
}

func TestMethods(t *testing.T) {
	for number, name := range corev3.RequestMethod_name {
		if number > 0 && methodNumber(name) != uint64(number) {
			t.Errorf("%s is %d, want %d", name, methodNumber(name), number)
		}
	}
	if methodNumber("PURGE") != 0 {
		t.Error("PURGE has a number")
	}
}

func TestNoAllocation(t *testing.T) {
	k, i := complete(), known()
	i.Metadata, i.Conn.TLS = nil, nil
	i.Request.Del(header.NewName("x-raw"))
	buf := make([]byte, 0, 8<<10)
	if n := testing.AllocsPerRun(100, func() { buf = k.appendHTTP(buf[:0], i, accesslog.DownstreamEnd) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
