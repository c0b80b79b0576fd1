// SPDX-License-Identifier: Apache-2.0

package envoygateway_test

import (
	"os"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	opentelemetryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	connectionlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/internal/golden"
)

// listenerOf translates an archive and returns one of its listeners.
func listenerOf(t *testing.T, archive, name string) *listenerv3.Listener {
	t.Helper()
	text, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	changes, problems := controltest.Parse(t, golden.Parse(string(text)))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w := controltest.NewWorld(t, control.Options{})
	w.Apply(changes...)
	l, ok := w.Snapshot().Listeners().Get(name)
	if !ok {
		t.Fatalf("there is no listener %s", name)
	}
	return l
}

// unpack reads what an Any holds.
func unpack[M proto.Message](t *testing.T, a *anypb.Any, to M) M {
	t.Helper()
	if err := a.UnmarshalTo(to); err != nil {
		t.Fatal(err)
	}
	return to
}

// parse reads a message in its text form.
func parse[M proto.Message](t *testing.T, text string, to M) M {
	t.Helper()
	if err := prototext.Unmarshal([]byte(text), to); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestClientMessages holds what a ClientTrafficPolicy comes to where the brief form does not
// show it.
func TestClientMessages(t *testing.T) {
	l := listenerOf(t, "testdata/client.txtar", "default/eg/80")
	keepalive := parse(t, `keepalive_probes {value: 3} keepalive_time {value: 1200} keepalive_interval {value: 60}`, &corev3.TcpKeepalive{})
	if d := cmp.Diff(keepalive, l.GetTcpKeepalive(), protocmp.Transform()); d != "" || l.GetListenerFiltersTimeout().GetSeconds() != 3 {
		t.Errorf("keep-alive and inspection: %v\n%s", l.GetListenerFiltersTimeout(), d)
	}
	filters := l.GetFilterChains()[0].GetFilters()
	limit := parse(t, `stat_prefix: "listener" max_connections {value: 5} delay {seconds: 1}`, &connectionlimitv3.ConnectionLimit{})
	if d := cmp.Diff(limit, unpack(t, filters[0].GetTypedConfig(), &connectionlimitv3.ConnectionLimit{}), protocmp.Transform()); d != "" {
		t.Errorf("connection limit:\n%s", d)
	}
	m := unpack(t, filters[1].GetTypedConfig(), &hcmv3.HttpConnectionManager{})
	m.HttpFilters, m.RouteSpecifier, m.UpgradeConfigs, m.StatPrefix = nil, nil, nil, ""
	m.HttpProtocolOptions.HeaderKeyFormat = nil
	want := parse(t, `
		server_header_transformation: PASS_THROUGH
		use_remote_address {value: true} xff_num_trusted_hops: 2 skip_xff_append: true
		normalize_path {value: true} path_with_escaped_slashes_action: REJECT_REQUEST
		generate_request_id {} preserve_external_request_id: true
		forward_client_cert_details: SANITIZE_SET set_current_client_cert_details {subject {value: true} uri: true}
		max_request_headers_kb {value: 100} strip_trailing_host_dot: true
		request_timeout {seconds: 10} request_headers_timeout {seconds: 5} stream_idle_timeout {seconds: 30}
		common_http_protocol_options {
			idle_timeout {seconds: 60} max_connection_duration {seconds: 3600} max_stream_duration {seconds: 300}
			max_requests_per_connection {value: 100} headers_with_underscores_action: DROP_HEADER
		}
		http_protocol_options {enable_trailers: true accept_http_10: true}
		http2_protocol_options {initial_stream_window_size {value: 131072} max_concurrent_streams {value: 200}}
		scheme_header_transformation {match_upstream: true}
		early_header_mutation_extensions {
			name: "envoy.http.early_header_mutation.header_mutation"
			typed_config {[type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation] {
				mutations {append {header {key: "x-edge" value: "weir"} append_action: OVERWRITE_IF_EXISTS_OR_ADD keep_empty_value: true}} mutations {remove: "x-internal"}
			}}
		}
	`, &hcmv3.HttpConnectionManager{})
	if d := cmp.Diff(want, m, protocmp.Transform()); d != "" {
		t.Errorf("the manager (-want +got):\n%s", d)
	}
	l = listenerOf(t, "testdata/client.txtar", "default/eg/9000")
	filters = l.GetFilterChains()[0].GetFilters()
	tcp := unpack(t, filters[len(filters)-1].GetTypedConfig(), &tcpproxyv3.TcpProxy{})
	if tcp.GetIdleTimeout().GetSeconds() != 300 || tcp.GetMaxDownstreamConnectionDuration().GetSeconds() != 3600 {
		t.Errorf("bytes: %v", tcp)
	}
	l = listenerOf(t, "testdata/client.txtar", "default/old/8081")
	filters = l.GetFilterChains()[0].GetFilters()
	m = unpack(t, filters[len(filters)-1].GetTypedConfig(), &hcmv3.HttpConnectionManager{})
	if m.GetUseRemoteAddress().GetValue() || len(m.GetOriginalIpDetectionExtensions()) != 1 || !m.GetPreserveExternalRequestId() {
		t.Errorf("the earlier form: %v", m)
	}
}

// TestClientTLSMessages does so for TLS.
func TestClientTLSMessages(t *testing.T) {
	l := listenerOf(t, "testdata/clienttls.txtar", "default/eg/443")
	ch := l.GetFilterChains()[0]
	if ch.GetTransportSocketConnectTimeout().GetSeconds() != 5 {
		t.Errorf("handshake: %v", ch.GetTransportSocketConnectTimeout())
	}
	context := unpack(t, ch.GetTransportSocket().GetTypedConfig(), &tlsv3.DownstreamTlsContext{})
	validation := context.GetCommonTlsContext().GetValidationContext()
	if !strings.Contains(string(validation.GetTrustedCa().GetInlineBytes()), "BEGIN CERTIFICATE") {
		t.Errorf("authorities: %v", validation.GetTrustedCa())
	}
	validation.TrustedCa, context.CommonTlsContext.TlsCertificateSdsSecretConfigs = nil, nil
	want := parse(t, `
		common_tls_context {
			tls_params {
				tls_minimum_protocol_version: TLSv1_2 ecdh_curves: ["X25519", "P-256"]
				cipher_suites: ["ECDHE-ECDSA-AES128-GCM-SHA256", "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]"]
			}
			alpn_protocols: ["h2", "http/1.1"]
			validation_context {
				match_typed_subject_alt_names {san_type: DNS matcher {suffix: ".example.org"}}
				match_typed_subject_alt_names {san_type: URI matcher {exact: "spiffe://a"}}
				match_typed_subject_alt_names {san_type: OTHER_NAME oid: "1.2.3" matcher {exact: "x"}}
			}
		}
		require_client_certificate {} disable_stateful_session_resumption: true
	`, &tlsv3.DownstreamTlsContext{})
	if d := cmp.Diff(want, context, protocmp.Transform()); d != "" {
		t.Errorf("the context (-want +got):\n%s", d)
	}
}

// TestTracingMessages holds what EnvoyProxies have connection managers tell, and to whom.
func TestTracingMessages(t *testing.T) {
	manager := func(listener string) *hcmv3.HttpConnectionManager {
		l := listenerOf(t, "testdata/telemetry.txtar", listener)
		return unpack(t, l.GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), &hcmv3.HttpConnectionManager{})
	}
	compare := func(name, want string, got proto.Message) {
		t.Helper()
		w := got.ProtoReflect().New().Interface()
		if d := cmp.Diff(parse(t, want, w), got, protocmp.Transform()); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
	m := manager("default/otel/80")
	compare("spans", `client_sampling {value: 100} random_sampling {value: 12.5} overall_sampling {value: 100} spawn_upstream_span {value: true}
		operation: "%REQ(:METHOD)% in" upstream_operation: "%UPSTREAM_CLUSTER%"
		custom_tags {tag: "env" literal {value: "prod"}} custom_tags {tag: "pod" environment {name: "POD" default_value: "?"}}
		custom_tags {tag: "who" request_header {name: "x-who"}} custom_tags {tag: "both" value: "%REQ(:METHOD)%"}`, withoutProvider(m.GetTracing()))
	otel := &tracev3.OpenTelemetryConfig{}
	unpack(t, m.GetTracing().GetProvider().GetTypedConfig(), otel)
	if c := otel.GetGrpcService().GetEnvoyGrpc().GetClusterName(); !strings.HasPrefix(c, "default/collector/4317") {
		t.Errorf("spans are sent to %q", c)
	}
	otel.GetGrpcService().GetEnvoyGrpc().ClusterName = ""
	compare("collector", `service_name: "otel.default" grpc_service {envoy_grpc {} initial_metadata {key: "authorization" value: "secret"}}
		resource_detectors {name: "envoy.tracers.opentelemetry.resource_detectors.static_config" typed_config {
			[type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig] {attributes {key: "team" value: "shop"}}}}`, otel)
	logs := m.GetAccessLog()
	if len(logs) != 3 {
		t.Fatalf("%d access logs", len(logs))
	}
	entries := unpack(t, logs[1].GetTypedConfig(), &grpclogv3.HttpGrpcAccessLogConfig{})
	entries.GetCommonConfig().GetGrpcService().GetEnvoyGrpc().ClusterName = ""
	compare("entries", `common_config {log_name: "default/otel" transport_api_version: V3 grpc_service {envoy_grpc {}}}
		additional_request_headers_to_log: "x-who" additional_response_headers_to_log: "x-kind" additional_response_trailers_to_log: "x-sum"`, entries)
	wires := unpack(t, logs[2].GetTypedConfig(), &grpclogv3.TcpGrpcAccessLogConfig{})
	wires.GetCommonConfig().GetGrpcService().GetEnvoyGrpc().ClusterName = ""
	compare("wires", `common_config {log_name: "wires" transport_api_version: V3 grpc_service {envoy_grpc {}}}`, wires)
	log := unpack(t, logs[0].GetTypedConfig(), &opentelemetryv3.OpenTelemetryAccessLogConfig{})
	log.GetCommonConfig().GetGrpcService().GetEnvoyGrpc().ClusterName = "" //nolint:staticcheck // As it is sent.
	compare("log", `common_config {log_name: "otel_envoy_accesslog" transport_api_version: V3 grpc_service {envoy_grpc {authority: "logs.example"}}}
		resource_attributes {values {key: "team" value {string_value: "shop"}}} attributes {values {key: "code" value {string_value: "%RESPONSE_CODE%"}}}`, log)

	sampled := unpack(t, manager("default/sampled/81").GetTracing().GetProvider().GetTypedConfig(), &tracev3.OpenTelemetryConfig{})
	compare("sampler", `name: "envoy.tracers.opentelemetry.samplers.parent_based" typed_config {[type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig] {
		wrapped_sampler {name: "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based" typed_config {
			[type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig] {sampling_percentage {numerator: 250000 denominator: MILLION}}}}}}`, sampled.GetSampler())
	if r := manager("default/sampled/81").GetTracing().GetRandomSampling().GetValue(); r != 100 || sampled.GetServiceName() != "front" {
		t.Errorf("%g %% of %q are sampled", r, sampled.GetServiceName())
	}
	zipkin := unpack(t, manager("default/zipkin/82").GetTracing().GetProvider().GetTypedConfig(), &tracev3.ZipkinConfig{})
	zipkin.CollectorCluster = ""
	compare("zipkin", `collector_endpoint: "/api/v2/spans" collector_endpoint_version: HTTP_JSON collector_hostname: "zipkin.example"
		trace_id_128bit: true shared_span_context {value: false}`, zipkin)
	for _, listener := range []string{"default/lost/83", "default/dog/84"} {
		if m := manager(listener); m.GetTracing() != nil {
			t.Errorf("%s traces to %v", listener, m.GetTracing())
		}
	}
}

func withoutProvider(t *hcmv3.HttpConnectionManager_Tracing) *hcmv3.HttpConnectionManager_Tracing {
	out := proto.CloneOf(t)
	out.Provider = nil
	return out
}
