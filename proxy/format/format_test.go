// SPDX-License-Identifier: Apache-2.0

package format

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// stream returns a request with most of what operators print.
func stream() *streaminfo.Stream {
	addr := func(s string) address.Addr { return address.IP(netip.MustParseAddrPort(s)) }
	req, resp, trailer := &header.Map{}, &header.Map{}, &header.Map{}
	for _, f := range [][2]string{
		{":method", "POST"}, {":path", "/api/v1/locations?q=a%20b&x=%0Ay&e="}, {":authority", "locations"},
		{"x-forwarded-for", "10.0.35.28"}, {"user-agent", "nsq2http"}, {"x-request-id", "cc21d9b0"},
		{"content-type", "application/grpc+proto"},
	} {
		req.Add(header.NewName(f[0]), f[1])
	}
	resp.Add(header.NewName("x-envoy-upstream-service-time"), "100")
	trailer.Add(header.GRPCStatus, "3")
	ms := int64(time.Millisecond)
	return &streaminfo.Stream{
		Conn: &streaminfo.Connection{
			ID: 7, Local: addr("10.1.10.23:8080"), Remote: addr("10.0.35.28:4711"), ServerName: "sni.example",
			DirectLocal: addr("[2001:db8:1234:5678:9abc::1]:8081"), DirectRemote: addr("192.0.2.1:99"),
			Start: time.Date(2016, 4, 15, 20, 16, 59, 0, time.UTC), Handshake: 12 * time.Millisecond,
			FilterChainName: "chain", JA3: "ja3", JA4: "ja4", Termination: "term",
			ListenerMetadata: streaminfo.Metadata{"l": {"k": "listener"}},
			FilterState:      streaminfo.FilterState{"conn": {Text: "of conn"}},
		},
		Start: time.Date(2016, 4, 15, 20, 17, 0, 310_000_000, time.UTC), Duration: 226 * time.Millisecond,
		Timing: streaminfo.Timing{
			RequestEnd: 2 * ms, UpstreamLastTx: 3 * ms, UpstreamFirstRx: 100 * ms, DownstreamLastTx: 225*ms + 1,
			Points: map[string]int64{"mine": 5 * ms},
		},
		Protocol: streaminfo.HTTP2, Status: 204, StatusDetails: "via upstream", BodyReceived: 154, BodySent: 0,
		ID: "cc21d9b0", RouteName: "r", VirtualCluster: "vc", ClusterName: "c", ClusterStatName: "alt", Attempts: 2,
		Metadata: streaminfo.Metadata{"com.test": {
			"key": "foo", "n": 1.5, "whole": 3.0, "ok": true, "nil": nil,
			"obj": map[string]any{"inner": "bar", "a": []any{"x", 1.0}},
		}},
		RouteMetadata: streaminfo.Metadata{"com.test": {"route": "r\n"}},
		FilterState: streaminfo.FilterState{
			"s": {Text: "plain"}, "o": {Value: map[string]any{"a": 1.0}, Text: "object"},
			"f": {Value: fields{"x": "ex"}, Text: "fields"},
		},
		Upstream: streaminfo.Upstream{
			HostName: "backend.example:80", HostAddress: addr("10.0.2.1:80"), Local: addr("10.0.2.9:5000"),
			Remote: addr("10.0.2.1:80"), ConnectionID: 9, Protocol: streaminfo.HTTP11,
			HostsAttempted:     []address.Addr{addr("10.0.2.2:80"), addr("10.0.2.1:80")},
			HostNamesAttempted: []string{"", "backend.example:80"}, ConnectionIDsAttempted: []uint64{8, 9},
		},
		Request: req, Response: resp, ResponseTrailer: trailer,
		TraceID: []byte("abc"), SpanID: []byte("def"), LocalReplyBody: []byte("no\nway"),
	}
}

type fields map[string]any

func (f fields) Field(name string) any { return f[name] }

// quiet is a stream with nothing in it: an operator must not mind.
func quiet() *streaminfo.Stream { return &streaminfo.Stream{} }

func testOptions() Options {
	return Options{
		Hostname: "host", Now: func() time.Time { return time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC) },
		Local:  time.FixedZone("CET", 3600),
		Getenv: func(k string) (string, bool) { return "env of " + k, k != "NONE" },
	}
}

func TestDefault(t *testing.T) {
	f, err := Compile(Default, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	const want = `[2016-04-15T20:17:00.310Z] "POST /api/v1/locations?q=a%20b&x=%0Ay&e= HTTP/2" 204 - 154 0 226 100 ` +
		`"10.0.35.28" "nsq2http" "cc21d9b0" "locations" "10.0.2.1:80"` + "\n"
	if got := string(f.AppendTo(nil, stream())); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	const empty = `[-] "- - -" 0 - 0 0 0 - "-" "-" "-" "-" "-"` + "\n"
	if got := string(f.AppendTo(nil, quiet())); got != empty {
		t.Errorf("an empty stream: got\n%swant\n%s", got, empty)
	}
}

func TestOperators(t *testing.T) {
	tests := []struct{ in, want string }{
		{"100%% sure", "100% sure"},
		{"%REQ(X-NONE?:METHOD):2%", "PO"},
		{"%REQ(:METHOD)% (x) %REQ(USER-AGENT)%", "POST (x) nsq2http"},
		{"%RESP(X-NONE)%|%TRAILER(GRPC-STATUS)%", "-|3"},
		{"%REQ_WITHOUT_QUERY(:PATH)%", "/api/v1/locations"},
		{"%PATH%", "/api/v1/locations?q=a%20b&x=%0Ay&e="},
		{"%PATH(NQ:PATH):4%", "/api"},
		{"%PATH(WQ:ORIG)%", "-"},
		{"%QUERY_PARAM(q)%|%QUERY_PARAM(x)%|%QUERY_PARAM(e)%|%QUERY_PARAM(z)%", "a b|_y||-"},
		{"%QUERY_PARAMS%|%QUERY_PARAMS(DECODED):5%", "q=a%20b&x=%0Ay&e=|q=a b"},
		{"%REQUESTED_SERVER_NAME%|%REQUESTED_SERVER_NAME(HOST_FIRST:HOST)%", "sni.example|locations"},
		{"%GRPC_STATUS%|%GRPC_STATUS(SNAKE_STRING)%|%GRPC_STATUS_NUMBER%", "InvalidArgument|INVALID_ARGUMENT|3"},
		{"%START_TIME(%Y/%m/%dT%H:%M:%S%z)%", "2016/04/15T20:17:00+0000"},
		{"%START_TIME(%s.%3f %6f %f)%", "1460751420.310 310000 310000000"},
		{"%START_TIME(%E*S %E3f %ET %Ez %E4Y %-d %e %_m %a %A %b %B %p %I %j %u %V)%", "00.31 310 T +00:00 2016 15 15  4 Fri Friday Apr April PM 08 106 5 15"},
		{"%START_TIME(%D %F %T %R %^a %y %C %U %W %w)%", "04/15/16 2016-04-15 20:17:00 20:17 FRI 16 20 15 15 5"},
		{"%START_TIME_LOCAL%", "2016-04-15T21:17:00.310+0100"},
		{"%EMIT_TIME%|%EMIT_TIME_LOCAL(%H %Z)%", "2020-02-03T04:05:06.000Z|05 CET"},
		{"%REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %ROUNDTRIP_DURATION%", "2 3 100 125 -"},
		{"%COMMON_DURATION(DS_RX_BEG:DS_TX_END:ns)%", "225000001"},
		{"%COMMON_DURATION(US_RX_BEG:DS_TX_END:us)% %COMMON_DURATION(DS_CX_BEG:mine)% %COMMON_DURATION(a:mine)%", "125000 1315 -"},
		{"%DOWNSTREAM_HANDSHAKE_DURATION% %UPSTREAM_CONNECTION_POOL_READY_DURATION%", "12 -"},
		{"%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(16)%", "10.1.0.0/16"},
		{"%DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT(64)%", "2001:db8:1234:5678::/64"},
		{"%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(64)%", "-"},
		{"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.35.28:4711 4711 192.0.2.1"},
		{"%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%", "backend.example:80 backend.example"},
		{"%UPSTREAM_HOSTS_ATTEMPTED% %UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT%", "10.0.2.2:80,10.0.2.1:80 10.0.2.2,backend.example"},
		{"%UPSTREAM_CONNECTION_IDS_ATTEMPTED% %CONNECTION_ID% %UPSTREAM_CONNECTION_ID%", "8,9 7 9"},
		{"%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW% %UPSTREAM_PROTOCOL%", "alt c HTTP/1.1"},
		{"%UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID%", "-"},
		{"%RESPONSE_CODE_DETAILS% %RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", "via_upstream via upstream"},
		{"%HOSTNAME% %ENVIRONMENT(HOME):6% %ENVIRONMENT(NONE)%", "host env of -"},
		{"%DYNAMIC_METADATA(com.test:key)% %DYNAMIC_METADATA(com.test:key):2%", "foo fo"},
		{`%DYNAMIC_METADATA(["com.test", "obj", "inner"])%`, "bar"},
		{"%DYNAMIC_METADATA(com.test:obj)%", `{"a":["x",1],"inner":"bar"}`},
		{"%DYNAMIC_METADATA(com.test:nil)% %DYNAMIC_METADATA(com.test:n)% %DYNAMIC_METADATA(com.test:ok)%", "- 1.5 true"},
		{"%METADATA(ROUTE:com.test:route)% %METADATA(LISTENER:l:k)% %METADATA(VIRTUAL_HOST:l)%", "r_ listener -"},
		{"%FILTER_STATE(s)% %FILTER_STATE(s:PLAIN)% %FILTER_STATE(o)% %FILTER_STATE(f:FIELD:x)% %PER_REQUEST_STATE(conn)%", `"plain" plain {"a":1} ex of conn`},
		{"%UPSTREAM_FILTER_STATE(s)%", "-"},
		{`%COALESCE({"operators": [{"command": "REQ", "param": "x-none"}, "REQUESTED_SERVER_NAME"]}):3%`, "sni"},
		{"%LOCAL_REPLY_BODY%", "no_way"},
		{"%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT% %FILTER_CHAIN_NAME% %TRACE_ID% %SPAN_ID%", "ja3 ja4 chain abc def"},
		{"%ACCESS_LOG_TYPE% %CUSTOM_FLAGS% %RESPONSE_FLAGS_LONG%", "NotSet  -"},
		{"%REQUEST_HEADERS_BYTES% %RESPONSE_HEADERS_BYTES%", "167 32"},
	}
	for _, tt := range tests {
		f, err := Compile(tt.in, testOptions())
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if got := string(f.AppendTo(nil, stream())); got != tt.want {
			t.Errorf("%s\n got %q\nwant %q", tt.in, got, tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{"%RESPONS_CODE%", "the nearest is RESPONSE_CODE"},
		{"%", "begins no operator"},
		{"%req(x)%", "begins no operator"},
		{"%REQ(x", `no ")%" at its end`},
		{"%DURATION", "no % at its end"},
		{"%REQ%", "needs an argument"},
		{"%DURATION(x)%", "takes no argument"},
		{"%DURATION:3%", "takes no length"},
		{"%REQ(a?b?c)%", "one alternative header"},
		{"%REQ(a b)%", "not a header name"},
		{"%REQ(a\n)%", "not a header name"},
		{"%START_TIME(%n)%", "line break"},
		{"%START_TIME(\n)%", "line break"},
		{"%START_TIME(%Q)%", "there is no %Q"},
		{"%START_TIME(%3D)%", "no digits"},
		{"%START_TIME(%-T)%", "no flags"},
		{"%START_TIME(%3H)%", "no digits"},
		{"%START_TIME(%12f)%", "1 to 9 digits"},
		{"%START_TIME(%E)%", "ends within"},
		{"%COMMON_DURATION(a:b:c)%", "precisions"},
		{"%METADATA(ROUTES:a)%", "the nearest is ROUTE"},
		{"%PATH(XX)%", "none of WQ, NQ"},
		{"%CEL(true)%", "is not available here"},
		{"%FILTER_STATE(a:FIELD)%", "FIELD"},
		{"%FILTER_STATE(a:OTHER)%", "none of PLAIN"},
		{`%COALESCE({"operators": ["COALESCE"]})%`, "COALESCE within COALESCE"},
		{"%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(200)%", "0 to 128"},
	}
	for _, tt := range tests {
		if _, err := Compile(tt.in, Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.in, err, tt.want)
		}
	}
}

func TestEveryOperatorOfNothing(t *testing.T) {
	args := map[string]string{"COALESCE": `{"operators":["PATH"]}`, "COMMON_DURATION": "DS_RX_END:DS_CX_END", "METADATA": "ROUTE:a"}
	for _, name := range Names() {
		e, known := builtins[name]
		s := "%" + name + "%"
		if a := args[name]; a != "" {
			s = "%" + name + "(" + a + ")%"
		} else if known && e.syntax&needs != 0 || name == "ENVIRONMENT" {
			s = "%" + name + "(x)%"
		}
		f, err := Compile(s, testOptions())
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		for _, info := range []*streaminfo.Stream{quiet(), {Conn: &streaminfo.Connection{}}, {Conn: &streaminfo.Connection{TLS: &streaminfo.TLS{}}, Upstream: streaminfo.Upstream{TLS: &streaminfo.TLS{}}}} {
			f.AppendTo(nil, info)
		}
	}
}

func streaminfoText(s string) streaminfo.StateObject { return streaminfo.StateObject{Text: s} }
