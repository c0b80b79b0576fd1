// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"k8s.io/apimachinery/pkg/api/resource"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// BackendTrafficPolicySpec is what a BackendTrafficPolicy says.
type BackendTrafficPolicySpec struct {
	Targets         `json:",inline"`
	ClusterSettings `json:",inline"`

	// MergeType has the policy merged over that of its parent: StrategicMerge or
	// JSONMerge. Without it the policy replaces the parent's.
	MergeType         *string            `json:"mergeType,omitempty"`
	RateLimit         *RateLimit         `json:"rateLimit,omitempty"`
	BandwidthLimit    *BandwidthLimit    `json:"bandwidthLimit,omitempty"`
	FaultInjection    *FaultInjection    `json:"faultInjection,omitempty"`
	AdmissionControl  *AdmissionControl  `json:"admissionControl,omitempty"`
	UseClientProtocol *bool              `json:"useClientProtocol,omitempty"`
	Compression       []Compression      `json:"compression,omitempty"`
	Compressor        []Compression      `json:"compressor,omitempty"`
	ResponseOverride  []ResponseOverride `json:"responseOverride,omitempty"`
	HTTPUpgrade       []HTTPUpgrade      `json:"httpUpgrade,omitempty"`
	RequestBuffer     *RequestBuffer     `json:"requestBuffer,omitempty"`
	Telemetry         *BackendTelemetry  `json:"telemetry,omitempty"`
	RoutingType       *string            `json:"routingType,omitempty"`
}

// ClusterSettings say how a backend is spoken to.
type ClusterSettings struct {
	LoadBalancer   *LoadBalancer      `json:"loadBalancer,omitempty"`
	Retry          *Retry             `json:"retry,omitempty"`
	ProxyProtocol  *ProxyProtocol     `json:"proxyProtocol,omitempty"`
	TCPKeepalive   *TCPKeepalive      `json:"tcpKeepalive,omitempty"`
	HealthCheck    *HealthCheck       `json:"healthCheck,omitempty"`
	CircuitBreaker *CircuitBreaker    `json:"circuitBreaker,omitempty"`
	Timeout        *Timeout           `json:"timeout,omitempty"`
	Connection     *BackendConnection `json:"connection,omitempty"`
	DNS            *DNS               `json:"dns,omitempty"`
	HTTP2          *HTTP2             `json:"http2,omitempty"`
}

// LoadBalancer chooses endpoints. Type is LeastRequest, RoundRobin, Random,
// ConsistentHash, BackendUtilization or DynamicModule.
type LoadBalancer struct {
	Type               string              `json:"type"`
	ConsistentHash     *ConsistentHash     `json:"consistentHash,omitempty"`
	BackendUtilization *BackendUtilization `json:"backendUtilization,omitempty"`
	DynamicModule      map[string]any      `json:"dynamicModule,omitempty"`
	EndpointOverride   *EndpointOverride   `json:"endpointOverride,omitempty"`
	SlowStart          *SlowStart          `json:"slowStart,omitempty"`
	ZoneAware          *ZoneAware          `json:"zoneAware,omitempty"`
}

// ConsistentHash says what is hashed. Type is SourceIP, Header, Headers, Cookie or
// QueryParams.
type ConsistentHash struct {
	Type        string  `json:"type"`
	Header      *Named  `json:"header,omitempty"`
	Headers     []Named `json:"headers,omitempty"`
	Cookie      *Cookie `json:"cookie,omitempty"`
	QueryParams []Named `json:"queryParams,omitempty"`
	TableSize   *uint64 `json:"tableSize,omitempty"`
}

// Named is something that has a name.
type Named struct {
	Name string `json:"name"`
}

// A Cookie that is hashed; with a TTL it is made if it is missing.
type Cookie struct {
	Name       string            `json:"name"`
	TTL        *gwapiv1.Duration `json:"ttl,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// BackendUtilization weighs endpoints by the load that they report.
type BackendUtilization struct {
	BlackoutPeriod                     *gwapiv1.Duration `json:"blackoutPeriod,omitempty"`
	WeightExpirationPeriod             *gwapiv1.Duration `json:"weightExpirationPeriod,omitempty"`
	WeightUpdatePeriod                 *gwapiv1.Duration `json:"weightUpdatePeriod,omitempty"`
	ErrorUtilizationPenaltyPercent     *uint32           `json:"errorUtilizationPenaltyPercent,omitempty"`
	MetricNamesForComputingUtilization []string          `json:"metricNamesForComputingUtilization,omitempty"`
	KeepResponseHeaders                *bool             `json:"keepResponseHeaders,omitempty"`
	OutOfBand                          map[string]any    `json:"outOfBand,omitempty"`
}

// EndpointOverride has requests name their endpoint.
type EndpointOverride struct {
	ExtractFrom []EndpointOverrideSource `json:"extractFrom"`
}

// EndpointOverrideSource is where a request names its endpoint.
type EndpointOverrideSource struct {
	Header *string `json:"header,omitempty"`
}

// SlowStart gives new endpoints less at first.
type SlowStart struct {
	Window *gwapiv1.Duration `json:"window"`
}

// ZoneAware prefers endpoints of the proxy's own zone, or gives zones their shares: one of both.
type ZoneAware struct {
	PreferLocal   *PreferLocal   `json:"preferLocal,omitempty"`
	WeightedZones []WeightedZone `json:"weightedZones,omitempty"`
}

// PreferLocal says how much. MinEndpointsThreshold is of all endpoints, 6 by default; PercentageEnabled is of
// requests, 100 by default.
type PreferLocal struct {
	Force                 *ForceLocal `json:"force,omitempty"`
	MinEndpointsThreshold *uint64     `json:"minEndpointsThreshold,omitempty"`
	PercentageEnabled     *uint32     `json:"percentageEnabled,omitempty"`
}

// ForceLocal keeps requests in the zone where that has enough endpoints, 1 by default.
type ForceLocal struct {
	MinEndpointsInZoneThreshold *uint32 `json:"minEndpointsInZoneThreshold,omitempty"`
}

// A WeightedZone gives a zone a share. Zones that are not listed weigh 1.
type WeightedZone struct {
	Zone   string `json:"zone"`
	Weight uint32 `json:"weight"`
}

// Retry says when to try again.
type Retry struct {
	NumRetries             *int32    `json:"numRetries,omitempty"`
	NumAttemptsPerPriority *int32    `json:"numAttemptsPerPriority,omitempty"`
	RetryOn                *RetryOn  `json:"retryOn,omitempty"`
	PerRetry               *PerRetry `json:"perRetry,omitempty"`
}

// RetryOn are the reasons.
type RetryOn struct {
	Triggers        []string `json:"triggers,omitempty"`
	HTTPStatusCodes []uint32 `json:"httpStatusCodes,omitempty"`
}

// PerRetry is about each attempt.
type PerRetry struct {
	Timeout *gwapiv1.Duration `json:"timeout,omitempty"`
	BackOff *BackOff          `json:"backOff,omitempty"`
}

// BackOff is how long is waited before another attempt.
type BackOff struct {
	BaseInterval *gwapiv1.Duration `json:"baseInterval,omitempty"`
	MaxInterval  *gwapiv1.Duration `json:"maxInterval,omitempty"`
}

// ProxyProtocol tells backends who the client is. Version is V1 or V2.
type ProxyProtocol struct {
	Version string `json:"version"`
}

// TCPKeepalive asks the other side whether it is still there.
type TCPKeepalive struct {
	Probes   *uint32           `json:"probes,omitempty"`
	IdleTime *gwapiv1.Duration `json:"idleTime,omitempty"`
	Interval *gwapiv1.Duration `json:"interval,omitempty"`
}

// HealthCheck finds endpoints that are not well.
type HealthCheck struct {
	Active         *ActiveHealthCheck  `json:"active,omitempty"`
	Passive        *PassiveHealthCheck `json:"passive,omitempty"`
	PanicThreshold *uint32             `json:"panicThreshold,omitempty"`
}

// PassiveHealthCheck goes by what requests come to.
type PassiveHealthCheck struct {
	SplitExternalLocalOriginErrors *bool             `json:"splitExternalLocalOriginErrors,omitempty"`
	Interval                       *gwapiv1.Duration `json:"interval,omitempty"`
	ConsecutiveLocalOriginFailures *uint32           `json:"consecutiveLocalOriginFailures,omitempty"`
	ConsecutiveGatewayErrors       *uint32           `json:"consecutiveGatewayErrors,omitempty"`
	Consecutive5xxErrors           *uint32           `json:"consecutive5XxErrors,omitempty"`
	BaseEjectionTime               *gwapiv1.Duration `json:"baseEjectionTime,omitempty"`
	MaxEjectionPercent             *int32            `json:"maxEjectionPercent,omitempty"`
	FailurePercentageThreshold     *uint32           `json:"failurePercentageThreshold,omitempty"`
	AlwaysEjectOneEndpoint         *bool             `json:"alwaysEjectOneEndpoint,omitempty"`
}

// ActiveHealthCheck asks endpoints. Type is HTTP, TCP or GRPC.
type ActiveHealthCheck struct {
	Timeout            *gwapiv1.Duration     `json:"timeout,omitempty"`
	Interval           *gwapiv1.Duration     `json:"interval,omitempty"`
	InitialJitter      *gwapiv1.Duration     `json:"initialJitter,omitempty"`
	UnhealthyThreshold *uint32               `json:"unhealthyThreshold,omitempty"`
	HealthyThreshold   *uint32               `json:"healthyThreshold,omitempty"`
	Type               string                `json:"type"`
	HTTP               *HTTPHealthCheck      `json:"http,omitempty"`
	TCP                *TCPHealthCheck       `json:"tcp,omitempty"`
	GRPC               *GRPCHealthCheck      `json:"grpc,omitempty"`
	Overrides          *HealthCheckOverrides `json:"overrides,omitempty"`
	HealthCheckLog     map[string]any        `json:"healthCheckLog,omitempty"`
}

// HTTPHealthCheck asks by HTTP.
type HTTPHealthCheck struct {
	Hostname          *string  `json:"hostname,omitempty"`
	Path              string   `json:"path"`
	Method            *string  `json:"method,omitempty"`
	ExpectedStatuses  []int64  `json:"expectedStatuses,omitempty"`
	RetriableStatuses []int64  `json:"retriableStatuses,omitempty"`
	ExpectedResponse  *Payload `json:"expectedResponse,omitempty"`
	RequestBody       *Payload `json:"requestBody,omitempty"`
}

// TCPHealthCheck asks by bytes.
type TCPHealthCheck struct {
	Send    *Payload `json:"send,omitempty"`
	Receive *Payload `json:"receive,omitempty"`
}

// GRPCHealthCheck asks by grpc.health.v1.
type GRPCHealthCheck struct {
	Service *string `json:"service,omitempty"`
}

// HealthCheckOverrides ask another port.
type HealthCheckOverrides struct {
	Port int32 `json:"port,omitempty"`
}

// A Payload is bytes. Type is Text or Binary.
type Payload struct {
	Type   string  `json:"type"`
	Text   *string `json:"text,omitempty"`
	Binary []byte  `json:"binary,omitempty"`
}

// CircuitBreaker limits what a backend is asked for at a time.
type CircuitBreaker struct {
	MaxConnections           *int64               `json:"maxConnections,omitempty"`
	MaxPendingRequests       *int64               `json:"maxPendingRequests,omitempty"`
	MaxParallelRequests      *int64               `json:"maxParallelRequests,omitempty"`
	MaxParallelRetries       *int64               `json:"maxParallelRetries,omitempty"`
	MaxRequestsPerConnection *int64               `json:"maxRequestsPerConnection,omitempty"`
	PerEndpoint              *PerEndpointBreakers `json:"perEndpoint,omitempty"`
	RetryBudget              *RetryBudget         `json:"retryBudget,omitempty"`
}

// PerEndpointBreakers limit each endpoint.
type PerEndpointBreakers struct {
	MaxConnections *int64 `json:"maxConnections,omitempty"`
}

// RetryBudget limits retries to a share of requests.
type RetryBudget struct {
	Percent             gwapiv1.Fraction `json:"percent"`
	MinRetryConcurrency *uint32          `json:"minRetryConcurrency,omitempty"`
}

// Timeout of connections and requests to a backend.
type Timeout struct {
	TCP  *TCPTimeout  `json:"tcp,omitempty"`
	HTTP *HTTPTimeout `json:"http,omitempty"`
}

// TCPTimeout is how long a connection may take to open.
type TCPTimeout struct {
	ConnectTimeout *gwapiv1.Duration `json:"connectTimeout,omitempty"`
}

// HTTPTimeout is of connections and requests of HTTP.
type HTTPTimeout struct {
	ConnectionIdleTimeout *gwapiv1.Duration `json:"connectionIdleTimeout,omitempty"`
	MaxConnectionDuration *gwapiv1.Duration `json:"maxConnectionDuration,omitempty"`
	RequestTimeout        *gwapiv1.Duration `json:"requestTimeout,omitempty"`
	MaxStreamDuration     *gwapiv1.Duration `json:"maxStreamDuration,omitempty"`
	StreamIdleTimeout     *gwapiv1.Duration `json:"streamIdleTimeout,omitempty"`
}

// BackendConnection is about connections to a backend.
type BackendConnection struct {
	BufferLimit       *resource.Quantity `json:"bufferLimit,omitempty"`
	SocketBufferLimit *resource.Quantity `json:"socketBufferLimit,omitempty"`
	Preconnect        *Preconnect        `json:"preconnect,omitempty"`
}

// Preconnect opens connections before they are needed.
type Preconnect struct {
	PerEndpointPercent *uint32 `json:"perEndpointPercent,omitempty"`
	PredictivePercent  *uint32 `json:"predictivePercent,omitempty"`
}

// DNS is how names of backends are looked up.
type DNS struct {
	DNSRefreshRate *gwapiv1.Duration `json:"dnsRefreshRate,omitempty"`
	RespectDNSTTL  *bool             `json:"respectDnsTtl,omitempty"`
	LookupFamily   *string           `json:"lookupFamily,omitempty"`
}

// HTTP2 is how HTTP/2 is spoken.
type HTTP2 struct {
	InitialStreamWindowSize     *resource.Quantity `json:"initialStreamWindowSize,omitempty"`
	InitialConnectionWindowSize *resource.Quantity `json:"initialConnectionWindowSize,omitempty"`
	MaxConcurrentStreams        *uint32            `json:"maxConcurrentStreams,omitempty"`
	OnInvalidMessage            *string            `json:"onInvalidMessage,omitempty"`
	ConnectionKeepalive         *HTTP2Keepalive    `json:"connectionKeepalive,omitempty"`
}

// HTTP2Keepalive pings.
type HTTP2Keepalive struct {
	Interval       *gwapiv1.Duration `json:"interval,omitempty"`
	Timeout        *gwapiv1.Duration `json:"timeout,omitempty"`
	IntervalJitter *uint32           `json:"intervalJitter,omitempty"`
	IdleInterval   *gwapiv1.Duration `json:"idleInterval,omitempty"`
}
