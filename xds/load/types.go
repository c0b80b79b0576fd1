// SPDX-License-Identifier: Apache-2.0

package load

import (
	udpatypev1 "github.com/cncf/xds/go/udpa/type/v1"
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	configaccesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	keyvaluev3 "github.com/envoyproxy/go-control-plane/envoy/config/common/key_value/v3"
	commonmatcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	grpccredentialv3 "github.com/envoyproxy/go-control-plane/envoy/config/grpc_credential/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tapv3 "github.com/envoyproxy/go-control-plane/envoy/config/tap/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	addressselectorv3 "github.com/envoyproxy/go-control-plane/envoy/config/upstream/local_address_selector/v3"
	dataaccesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accessloggersfilev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	filterscelv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	grpcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	accessloggersopentelemetryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	accessloggersstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	internallistenerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	clustersdynamicforwardproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	clustersoriginaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/original_dst/v3"
	awsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/aws/v3"
	commondynamicforwardproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	commonratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	commontapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/tap/v3"
	brotlicompressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/compressor/v3"
	brotlidecompressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/decompressor/v3"
	gzipcompressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	gzipdecompressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/decompressor/v3"
	zstdcompressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/compressor/v3"
	zstddecompressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/decompressor/v3"
	earlydatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/early_data/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	actionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/matcher/action/v3"
	commonsetfilterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	adaptiveconcurrencyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	admissioncontrolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	alternateprotocolscachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/alternate_protocols_cache/v3"
	apikeyauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
	awslambdav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_lambda/v3"
	awsrequestsigningv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_request_signing/v3"
	bandwidthlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_limit/v3"
	basicauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/basic_auth/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cache/v3"
	cdnloopv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cdn_loop/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	httpcompressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	connectgrpcbridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/connect_grpc_bridge/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	credentialinjectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	csrfv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/csrf/v3"
	customresponsev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/custom_response/v3"
	httpdecompressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/decompressor/v3"
	httpdynamicforwardproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	httpextauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	httpfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	geoipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/geoip/v3"
	grpchttp1bridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_bridge/v3"
	grpchttp1reversebridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_reverse_bridge/v3"
	grpcjsontranscoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	gzipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/gzip/v3"
	httpheadermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	headertometadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	healthcheckv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	iptaggingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ip_tagging/v3"
	jsontometadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/json_to_metadata/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httplocalratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	httpluav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	httpoauth2v3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/oauth2/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	httporiginalsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/original_src/v3"
	httpratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	httpsetfilterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	setmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
	statefulsessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	httptapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/tap/v3"
	upstreamcodecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	httpwasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	listenerlocalratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/local_ratelimit/v3"
	listeneroriginaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	listeneroriginalsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_src/v3"
	listenerproxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	listenersetfilterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/set_filter_state/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	connectionlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	directresponsev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/direct_response/v3"
	echov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/echo/v3"
	networkextauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	httpconnectionmanagerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networklocalratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	networkratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ratelimit/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	networksetfilterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	sniclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	snidynamicforwardproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	networkwasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/wasm/v3"
	udpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	formattercelv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/cel/v3"
	filecontentv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/file_content/v3"
	formattermetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/metadata/v3"
	reqwithoutqueryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/req_without_query/v3"
	accesstokenv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/call_credentials/access_token/v3"
	insecurev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/channel_credentials/insecure/v3"
	channelcredentialstlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/channel_credentials/tls/v3"
	eventsinksfilev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/health_check/event_sinks/file/v3"
	filesystemhttpcachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/cache/file_system_http_cache/v3"
	simplehttpcachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/cache/simple_http_cache/v3"
	localresponsepolicyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/local_response_policy/v3"
	redirectpolicyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/redirect_policy/v3"
	earlyheadermutationheadermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	envoydefaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_validators/envoy_default/v3"
	injectedcredentialsgenericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	injectedcredentialsoauth2v3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/oauth2/v3"
	customheaderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/custom_header/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	envelopev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/envelope/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	allowlistedroutesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/allow_listed_routes/v3"
	filterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/filter_state/v3"
	previousroutesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/previous_routes/v3"
	safecrossschemev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/safe_cross_scheme/v3"
	filebasedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/key_value/file_based/v3"
	clientsideweightedroundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	clusterprovidedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/cluster_provided/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastrequestv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	overridehostv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
	pickfirstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/pick_first/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringhashv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	wrrlocalityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	environmentvariablev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/environment_variable/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	sslv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/ssl/v3"
	consistenthashingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/consistent_hashing/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	inputmatchersmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	runtimefractionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/runtime_fraction/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	getaddrinfov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"
	socketinterfacev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/socket_interface/v3"
	matchuritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	rewriteuritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"
	exprv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rate_limit_descriptors/expr/v3"
	auditloggersstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/audit_loggers/stream/v3"
	upstreamipportv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"
	mtlsauthenticatedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/principals/mtls_authenticated/v3"
	regexenginesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/regex_engines/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	cgroupmemoryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/cgroup_memory/v3"
	cpuutilizationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/cpu_utilization/v3"
	downstreamconnectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	fixedheapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	injectedresourcev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/injected_resource/v3"
	omitcanaryhostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_canary_hosts/v3"
	omithostmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	graphitestatsdv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/stat_sinks/graphite_statsd/v3"
	statsinksopentelemetryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/stat_sinks/open_telemetry/v3"
	stringmatcherluav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/string_matcher/lua/v3"
	resourcedetectorsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/resource_detectors/v3"
	samplersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	http11proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/http_11_proxy/v3"
	internalupstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	transportsocketsproxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	quicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/quic/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	starttlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/starttls/v3"
	transportsocketstapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tap/v3"
	tcpstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tcp_stats/v3"
	filterstateoverridev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_mappers/filter_state_override/v3"
	sniv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_mappers/sni/v3"
	staticnamev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_mappers/static_name/v3"
	ondemandsecretv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_selectors/on_demand_secret/v3"
	transportsocketstlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpgenericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/generic/v3"
	httphttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/http/v3"
	httptcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/tcp/v3"
	udpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/udp/v3"
	upstreamshttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	tcpgenericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/tcp/generic/v3"
	upstreamstcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/tcp/v3"
	extensionswasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// linked names one message of each package of Envoy's API that Weir reads, so that
// everything in those packages can be found by type URL. Packages that are not here
// are known by name only (known.txt): a configuration that uses one is told that
// Envoy has it and Weir does not. Each package costs some 50 KiB of the binary, which
// is why the list is not simply all of them.
func linked() []proto.Message {
	return []proto.Message{
		// config
		(*configaccesslogv3.AccessLog)(nil),
		(*bootstrapv3.Bootstrap)(nil),
		(*clusterv3.Cluster)(nil),
		(*keyvaluev3.KeyValueStoreConfig)(nil),
		(*commonmatcherv3.Matcher)(nil),
		(*mutationrulesv3.HeaderMutationRules)(nil),
		(*corev3.Pipe)(nil),
		(*endpointv3.Endpoint)(nil),
		(*listenerv3.Listener)(nil),
		(*metricsv3.MetricsServiceConfig)(nil),
		(*overloadv3.ResourceMonitor)(nil),
		(*ratelimitv3.RateLimitServiceConfig)(nil),
		(*rbacv3.RBAC)(nil),
		(*routev3.Route)(nil),
		(*tapv3.TapConfig)(nil),
		(*tracev3.DatadogRemoteConfig)(nil),
		(*addressselectorv3.DefaultLocalAddressSelector)(nil),
		// data
		(*dataaccesslogv3.TCPAccessLogEntry)(nil),
		// extensions/access_loggers
		(*accessloggersfilev3.FileAccessLog)(nil),
		(*filterscelv3.ExpressionFilter)(nil),
		(*grpcv3.HttpGrpcAccessLogConfig)(nil),
		(*accessloggersopentelemetryv3.OpenTelemetryAccessLogConfig)(nil),
		(*accessloggersstreamv3.StdoutAccessLog)(nil),
		// extensions/bootstrap
		(*internallistenerv3.InternalListener)(nil),
		// extensions/clusters
		(*aggregatev3.ClusterConfig)(nil),
		(*dnsv3.DnsCluster)(nil),
		(*clustersdynamicforwardproxyv3.ClusterConfig)(nil),
		(*clustersoriginaldstv3.OriginalDstCluster)(nil),
		// extensions/common
		(*awsv3.AwsCredentialProvider)(nil),
		(*commondynamicforwardproxyv3.DnsCacheCircuitBreakers)(nil),
		(*matchingv3.ExtensionWithMatcher)(nil),
		(*commonratelimitv3.RateLimitDescriptor)(nil),
		(*commontapv3.CommonExtensionConfig)(nil),
		// extensions/compression
		(*brotlicompressorv3.Brotli)(nil),
		(*brotlidecompressorv3.Brotli)(nil),
		(*gzipcompressorv3.Gzip)(nil),
		(*gzipdecompressorv3.Gzip)(nil),
		(*zstdcompressorv3.Zstd)(nil),
		(*zstddecompressorv3.Zstd)(nil),
		// extensions/early_data
		(*earlydatav3.DefaultEarlyDataPolicy)(nil),
		// extensions/filters/common
		(*commonfaultv3.FaultDelay)(nil),
		(*actionv3.SkipFilter)(nil),
		(*commonsetfilterstatev3.FilterStateValue)(nil),
		// extensions/filters/http
		(*adaptiveconcurrencyv3.AdaptiveConcurrency)(nil),
		(*admissioncontrolv3.AdmissionControl)(nil),
		(*alternateprotocolscachev3.FilterConfig)(nil),
		(*apikeyauthv3.ApiKeyAuth)(nil),
		(*awslambdav3.Config)(nil),
		(*awsrequestsigningv3.AwsRequestSigning)(nil),
		(*bandwidthlimitv3.BandwidthLimit)(nil),
		(*basicauthv3.BasicAuth)(nil),
		(*bufferv3.Buffer)(nil),
		(*cachev3.CacheConfig)(nil),
		(*cdnloopv3.CdnLoopConfig)(nil),
		(*compositev3.Composite)(nil),
		(*httpcompressorv3.Compressor)(nil),
		(*connectgrpcbridgev3.FilterConfig)(nil),
		(*corsv3.Cors)(nil),
		(*credentialinjectorv3.CredentialInjector)(nil),
		(*csrfv3.CsrfPolicy)(nil),
		(*customresponsev3.CustomResponse)(nil),
		(*httpdecompressorv3.Decompressor)(nil),
		(*httpdynamicforwardproxyv3.FilterConfig)(nil),
		(*httpextauthzv3.ExtAuthz)(nil),
		(*extprocv3.ExternalProcessor)(nil),
		(*httpfaultv3.FaultAbort)(nil),
		(*geoipv3.Geoip)(nil),
		(*grpchttp1bridgev3.Config)(nil),
		(*grpchttp1reversebridgev3.FilterConfig)(nil),
		(*grpcjsontranscoderv3.GrpcJsonTranscoder)(nil),
		(*grpcstatsv3.FilterConfig)(nil),
		(*grpcwebv3.GrpcWeb)(nil),
		(*gzipv3.Gzip)(nil),
		(*httpheadermutationv3.HeaderMutation)(nil),
		(*headertometadatav3.Config)(nil),
		(*healthcheckv3.HealthCheck)(nil),
		(*iptaggingv3.IPTagging)(nil),
		(*jsontometadatav3.JsonToMetadata)(nil),
		(*jwtauthnv3.JwtProvider)(nil),
		(*httplocalratelimitv3.LocalRateLimit)(nil),
		(*httpluav3.Lua)(nil),
		(*httpoauth2v3.OAuth2)(nil),
		(*ondemandv3.OnDemand)(nil),
		(*httporiginalsrcv3.OriginalSrc)(nil),
		(*httpratelimitv3.RateLimit)(nil),
		(*httprbacv3.RBAC)(nil),
		(*routerv3.Router)(nil),
		(*httpsetfilterstatev3.Config)(nil),
		(*setmetadatav3.Metadata)(nil),
		(*statefulsessionv3.StatefulSession)(nil),
		(*httptapv3.Tap)(nil),
		(*upstreamcodecv3.UpstreamCodec)(nil),
		(*httpwasmv3.Wasm)(nil),
		// extensions/filters/listener
		(*httpinspectorv3.HttpInspector)(nil),
		(*listenerlocalratelimitv3.LocalRateLimit)(nil),
		(*listeneroriginaldstv3.OriginalDst)(nil),
		(*listeneroriginalsrcv3.OriginalSrc)(nil),
		(*listenerproxyprotocolv3.ProxyProtocol)(nil),
		(*listenersetfilterstatev3.Config)(nil),
		(*tlsinspectorv3.TlsInspector)(nil),
		// extensions/filters/network
		(*connectionlimitv3.ConnectionLimit)(nil),
		(*directresponsev3.Config)(nil),
		(*echov3.Echo)(nil),
		(*networkextauthzv3.ExtAuthz)(nil),
		(*httpconnectionmanagerv3.HttpConnectionManager)(nil),
		(*networklocalratelimitv3.LocalRateLimit)(nil),
		(*networkratelimitv3.RateLimit)(nil),
		(*networkrbacv3.RBAC)(nil),
		(*networksetfilterstatev3.Config)(nil),
		(*sniclusterv3.SniCluster)(nil),
		(*snidynamicforwardproxyv3.FilterConfig)(nil),
		(*tcpproxyv3.TcpProxy)(nil),
		(*networkwasmv3.Wasm)(nil),
		// extensions/filters/udp
		(*udpproxyv3.UdpProxyConfig)(nil),
		// extensions/formatter
		(*formattercelv3.Cel)(nil),
		(*filecontentv3.FileContent)(nil),
		(*formattermetadatav3.Metadata)(nil),
		(*reqwithoutqueryv3.ReqWithoutQuery)(nil),
		// extensions/grpc_service
		(*accesstokenv3.AccessTokenCredentials)(nil),
		(*insecurev3.InsecureCredentials)(nil),
		(*channelcredentialstlsv3.TlsCredentials)(nil),
		// extensions/health_check
		(*eventsinksfilev3.HealthCheckEventFileSink)(nil),
		// extensions/http
		(*filesystemhttpcachev3.FileSystemHttpCacheConfig)(nil),
		(*simplehttpcachev3.SimpleHttpCacheConfig)(nil),
		(*localresponsepolicyv3.LocalResponsePolicy)(nil),
		(*redirectpolicyv3.RedirectPolicy)(nil),
		(*earlyheadermutationheadermutationv3.HeaderMutation)(nil),
		(*preservecasev3.PreserveCaseFormatterConfig)(nil),
		(*envoydefaultv3.HeaderValidatorConfig)(nil),
		(*injectedcredentialsgenericv3.Generic)(nil),
		(*injectedcredentialsoauth2v3.OAuth2)(nil),
		(*customheaderv3.CustomHeaderConfig)(nil),
		(*xffv3.XffConfig)(nil),
		(*cookiev3.CookieBasedSessionState)(nil),
		(*envelopev3.EnvelopeSessionState)(nil),
		(*headerv3.HeaderBasedSessionState)(nil),
		// extensions/internal_redirect
		(*allowlistedroutesv3.AllowListedRoutesConfig)(nil),
		(*filterstatev3.FilterStateConfig)(nil),
		(*previousroutesv3.PreviousRoutesConfig)(nil),
		(*safecrossschemev3.SafeCrossSchemeConfig)(nil),
		// extensions/key_value
		(*filebasedv3.FileBasedKeyValueStoreConfig)(nil),
		(*grpccredentialv3.FileBasedMetadataConfig)(nil),
		// extensions/load_balancing_policies
		(*clientsideweightedroundrobinv3.ClientSideWeightedRoundRobin)(nil),
		(*clusterprovidedv3.ClusterProvided)(nil),
		(*commonv3.LocalityLbConfig)(nil),
		(*leastrequestv3.LeastRequest)(nil),
		(*maglevv3.Maglev)(nil),
		(*overridehostv3.OverrideHost)(nil),
		(*pickfirstv3.PickFirst)(nil),
		(*randomv3.Random)(nil),
		(*ringhashv3.RingHash)(nil),
		(*roundrobinv3.RoundRobin)(nil),
		(*subsetv3.Subset)(nil),
		(*wrrlocalityv3.WrrLocality)(nil),
		// extensions/matching
		(*environmentvariablev3.Config)(nil),
		(*networkv3.DestinationIPInput)(nil),
		(*sslv3.UriSanInput)(nil),
		(*consistenthashingv3.ConsistentHashing)(nil),
		(*ipv3.Ip)(nil),
		(*inputmatchersmetadatav3.Metadata)(nil),
		(*runtimefractionv3.RuntimeFraction)(nil),
		// extensions/network
		(*caresv3.CaresDnsResolverConfig)(nil),
		(*getaddrinfov3.GetAddrInfoDnsResolverConfig)(nil),
		(*socketinterfacev3.DefaultSocketInterface)(nil),
		// extensions/path
		(*matchuritemplatev3.UriTemplateMatchConfig)(nil),
		(*rewriteuritemplatev3.UriTemplateRewriteConfig)(nil),
		// extensions/rate_limit_descriptors
		(*exprv3.Descriptor)(nil),
		// extensions/rbac
		(*auditloggersstreamv3.StdoutAuditLog)(nil),
		(*upstreamipportv3.UpstreamIpPortMatcher)(nil),
		(*mtlsauthenticatedv3.Config)(nil),
		// extensions/regex_engines
		(*regexenginesv3.GoogleRE2)(nil),
		// extensions/request_id
		(*uuidv3.UuidRequestIdConfig)(nil),
		// extensions/resource_monitors
		(*cgroupmemoryv3.CgroupMemoryConfig)(nil),
		(*cpuutilizationv3.CpuUtilizationConfig)(nil),
		(*downstreamconnectionsv3.DownstreamConnectionsConfig)(nil),
		(*fixedheapv3.FixedHeapConfig)(nil),
		(*injectedresourcev3.InjectedResourceConfig)(nil),
		// extensions/retry
		(*omitcanaryhostsv3.OmitCanaryHostsPredicate)(nil),
		(*omithostmetadatav3.OmitHostMetadataConfig)(nil),
		(*previoushostsv3.PreviousHostsPredicate)(nil),
		(*previousprioritiesv3.PreviousPrioritiesConfig)(nil),
		// extensions/stat_sinks
		(*graphitestatsdv3.GraphiteStatsdSink)(nil),
		(*statsinksopentelemetryv3.SinkConfig)(nil),
		// extensions/string_matcher
		(*stringmatcherluav3.Lua)(nil),
		// extensions/tracers
		(*resourcedetectorsv3.DynatraceResourceDetectorConfig)(nil),
		(*samplersv3.AlwaysOnSamplerConfig)(nil),
		// extensions/transport_sockets
		(*http11proxyv3.Http11ProxyUpstreamTransport)(nil),
		(*internalupstreamv3.InternalUpstreamTransport)(nil),
		(*transportsocketsproxyprotocolv3.ProxyProtocolUpstreamTransport)(nil),
		(*quicv3.QuicDownstreamTransport)(nil),
		(*rawbufferv3.RawBuffer)(nil),
		(*starttlsv3.StartTlsConfig)(nil),
		(*transportsocketstapv3.Tap)(nil),
		(*tcpstatsv3.Config)(nil),
		(*filterstateoverridev3.Config)(nil),
		(*sniv3.SNI)(nil),
		(*staticnamev3.StaticName)(nil),
		(*ondemandsecretv3.Config)(nil),
		(*transportsocketstlsv3.TlsParameters)(nil),
		// extensions/upstreams
		(*httpgenericv3.GenericConnectionPoolProto)(nil),
		(*httphttpv3.HttpConnectionPoolProto)(nil),
		(*httptcpv3.TcpConnectionPoolProto)(nil),
		(*udpv3.UdpConnectionPoolProto)(nil),
		(*upstreamshttpv3.HttpProtocolOptions)(nil),
		(*tcpgenericv3.GenericConnectionPoolProto)(nil),
		(*upstreamstcpv3.TcpProtocolOptions)(nil),
		// extensions/wasm
		(*extensionswasmv3.ReloadConfig)(nil),
		// type
		(*httpv3.Cookie)(nil),
		(*typematcherv3.AddressMatcher)(nil),
		(*metadatav3.MetadataKey)(nil),
		(*tracingv3.CustomTag)(nil),
		(*typev3.HashPolicy)(nil),
		// xds
		(*xdscorev3.TypedExtensionConfig)(nil),
		(*xdsmatcherv3.Matcher)(nil),
		(*xdstypev3.TypedStruct)(nil),
		(*udpatypev1.TypedStruct)(nil),
		// google.protobuf
		(*fieldmaskpb.FieldMask)(nil),
	}
}
