// SPDX-License-Identifier: Apache-2.0

package v3alpha1

// AuthServiceSpec says who lets requests in.
type AuthServiceSpec struct {
	IDs         `json:",inline"`
	AuthService string `json:"auth_service,omitempty"`
	// Proto is http or grpc.
	Proto           string `json:"proto,omitempty"`
	ProtocolVersion string `json:"protocol_version,omitempty"`
	PathPrefix      string `json:"path_prefix,omitempty"`
	TLS             Text   `json:"tls,omitempty"`
	// Timeout is in milliseconds.
	Timeout                     *int64            `json:"timeout_ms,omitempty"`
	AllowedRequestHeaders       []string          `json:"allowed_request_headers,omitempty"`
	AllowedAuthorizationHeaders []string          `json:"allowed_authorization_headers,omitempty"`
	AddAuthHeaders              map[string]string `json:"add_auth_headers,omitempty"`
	AddLinkerdHeaders           *bool             `json:"add_linkerd_headers,omitempty"`
	// AllowRequestBody is an IncludeBody of 4096 bytes, of what may be longer.
	AllowRequestBody *bool `json:"allow_request_body,omitempty"`
	IncludeBody      *struct {
		MaxBytes     uint32 `json:"max_bytes"`
		AllowPartial bool   `json:"allow_partial"`
	} `json:"include_body,omitempty"`
	FailureModeAllow *bool `json:"failure_mode_allow,omitempty"`
	StatusOnError    *struct {
		Code uint32 `json:"code"`
	} `json:"status_on_error,omitempty"`
	CircuitBreakers   []CircuitBreaker `json:"circuit_breakers,omitempty"`
	V3CircuitBreakers []CircuitBreaker `json:"v3CircuitBreakers,omitempty"` // of v2
	StatsName         string           `json:"stats_name,omitempty"`
	V3StatsName       string           `json:"v3StatsName,omitempty"` // of v2
	V2ExplicitTLS     *Explicit        `json:"v2ExplicitTLS,omitempty"`
}

// LogServiceSpec says who is told of requests.
type LogServiceSpec struct {
	IDs     `json:",inline"`
	Service string `json:"service,omitempty"`
	// Driver is tcp or http.
	Driver       string `json:"driver,omitempty"`
	DriverConfig struct {
		AdditionalLogHeaders []LogHeader `json:"additional_log_headers,omitempty"`
	} `json:"driver_config,omitempty"`
	// FlushInterval is in seconds.
	FlushInterval     *uint32 `json:"flush_interval_time,omitempty"`
	FlushBytes        *uint32 `json:"flush_interval_byte_size,omitempty"`
	GRPC              *bool   `json:"grpc,omitempty"`
	ProtocolVersion   string  `json:"protocol_version,omitempty"`
	V3ProtocolVersion string  `json:"v3ProtocolVersion,omitempty"` // of v2
	StatsName         string  `json:"stats_name,omitempty"`
	V3StatsName       string  `json:"v3StatsName,omitempty"` // of v2
}

// A LogHeader is one that entries have: of the request, the response and its trailers,
// unless it says otherwise.
type LogHeader struct {
	Name     string `json:"header_name,omitempty"`
	Request  *bool  `json:"during_request,omitempty"`
	Response *bool  `json:"during_response,omitempty"`
	Trailer  *bool  `json:"during_trailer,omitempty"`
}

// RateLimitServiceSpec says who limits requests.
type RateLimitServiceSpec struct {
	IDs     `json:",inline"`
	Service string `json:"service,omitempty"`
	// Timeout is in milliseconds.
	Timeout *int64 `json:"timeout_ms,omitempty"`
	// Domain is that of the labels which count.
	Domain          string         `json:"domain,omitempty"`
	TLS             Text           `json:"tls,omitempty"`
	ProtocolVersion string         `json:"protocol_version,omitempty"`
	FailureModeDeny *bool          `json:"failure_mode_deny,omitempty"`
	GRPC            *RateLimitGRPC `json:"grpc,omitempty"`
	V3GRPC          *RateLimitGRPC `json:"v3GRPC,omitempty"` // of v2
	StatsName       string         `json:"stats_name,omitempty"`
	V3StatsName     string         `json:"v3StatsName,omitempty"` // of v2
	V2ExplicitTLS   *Explicit      `json:"v2ExplicitTLS,omitempty"`
}

// RateLimitGRPC says how calls of gRPC are refused.
type RateLimitGRPC struct {
	UseResourceExhaustedCode bool `json:"use_resource_exhausted_code,omitempty"`
}

// TracingServiceSpec says who is told of spans.
type TracingServiceSpec struct {
	IDs `json:",inline"`
	// Driver is zipkin or opentelemetry; datadog and lightstep are others'.
	Driver   string `json:"driver,omitempty"`
	Service  string `json:"service,omitempty"`
	Sampling struct {
		Client  *int `json:"client,omitempty"`
		Random  *int `json:"random,omitempty"`
		Overall *int `json:"overall,omitempty"`
	} `json:"sampling,omitempty"`
	// TagHeaders are CustomTags of headers, by their names.
	TagHeaders   []string    `json:"tag_headers,omitempty"`
	CustomTags   []CustomTag `json:"custom_tags,omitempty"`
	V3CustomTags []CustomTag `json:"v3CustomTags,omitempty"` // of v2
	Config       TraceConfig `json:"config,omitempty"`
	StatsName    string      `json:"stats_name,omitempty"`
	V3StatsName  string      `json:"v3StatsName,omitempty"` // of v2
}

// A CustomTag is one of spans: exactly one of the three says its value.
type CustomTag struct {
	Tag     string `json:"tag,omitempty"`
	Literal *struct {
		Value string `json:"value,omitempty"`
	} `json:"literal,omitempty"`
	Environment   *NamedValue `json:"environment,omitempty"`
	RequestHeader *NamedValue `json:"request_header,omitempty"`
}

// A NamedValue is that of a header or a variable of the environment.
type NamedValue struct {
	Name         string `json:"name,omitempty"`
	DefaultValue string `json:"default_value,omitempty"`
}

// TraceConfig is how a driver tells spans.
type TraceConfig struct {
	AccessTokenFile          string   `json:"access_token_file,omitempty"`
	CollectorCluster         string   `json:"collector_cluster,omitempty"`
	CollectorEndpoint        string   `json:"collector_endpoint,omitempty"`
	CollectorEndpointVersion string   `json:"collector_endpoint_version,omitempty"`
	CollectorHostname        string   `json:"collector_hostname,omitempty"`
	PropagationModes         []string `json:"propagation_modes,omitempty"`
	V3PropagationModes       []string `json:"v3PropagationModes,omitempty"` // of v2
	TraceID128Bit            *bool    `json:"trace_id_128bit,omitempty"`
	SharedSpanContext        *bool    `json:"shared_span_context,omitempty"`
	ServiceName              string   `json:"service_name,omitempty"`
}
