// SPDX-License-Identifier: Apache-2.0

package v3alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"weir.dev/weir/control/api/deep"
)

// A Mapping leads requests to a service.
type Mapping struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   MappingSpec   `json:"spec,omitempty"`
	Status MappingStatus `json:"status,omitempty"`
}

// MappingSpec says which requests, where to, and what happens on the way. Times are in
// milliseconds.
type MappingSpec struct {
	IDs `json:",inline"`

	// Which requests.
	Prefix               string          `json:"prefix,omitempty"`
	PrefixExact          *bool           `json:"prefix_exact,omitempty"`
	PrefixRegex          *bool           `json:"prefix_regex,omitempty"`
	CaseSensitive        *bool           `json:"case_sensitive,omitempty"`
	Hostname             string          `json:"hostname,omitempty"`
	Host                 string          `json:"host,omitempty"` // before v3alpha1
	HostRegex            *bool           `json:"host_regex,omitempty"`
	Method               string          `json:"method,omitempty"`
	MethodRegex          *bool           `json:"method_regex,omitempty"`
	Headers              map[string]Text `json:"headers,omitempty"`
	RegexHeaders         map[string]Text `json:"regex_headers,omitempty"`
	QueryParameters      map[string]Text `json:"query_parameters,omitempty"`
	RegexQueryParameters map[string]Text `json:"regex_query_parameters,omitempty"`
	Precedence           *int            `json:"precedence,omitempty"`
	Weight               *int            `json:"weight,omitempty"`

	// Where to.
	Service                 string           `json:"service,omitempty"`
	Resolver                string           `json:"resolver,omitempty"`
	TLS                     Text             `json:"tls,omitempty"`
	GRPC                    *bool            `json:"grpc,omitempty"`
	ClusterTag              string           `json:"cluster_tag,omitempty"`
	StatsName               string           `json:"stats_name,omitempty"`
	V3StatsName             string           `json:"v3StatsName,omitempty"` // of v2
	DNSType                 string           `json:"dns_type,omitempty"`
	RespectDNSTTL           *bool            `json:"respect_dns_ttl,omitempty"`
	EnableIPv4              *bool            `json:"enable_ipv4,omitempty"`
	EnableIPv6              *bool            `json:"enable_ipv6,omitempty"`
	LoadBalancer            *LoadBalancer    `json:"load_balancer,omitempty"`
	CircuitBreakers         []CircuitBreaker `json:"circuit_breakers,omitempty"`
	KeepAlive               *KeepAlive       `json:"keepalive,omitempty"`
	HealthChecks            []HealthCheck    `json:"health_checks,omitempty"`
	V3HealthChecks          []HealthCheck    `json:"v3health_checks,omitempty"` // of v2
	ConnectTimeout          *int64           `json:"connect_timeout_ms,omitempty"`
	ClusterIdleTimeout      *int64           `json:"cluster_idle_timeout_ms,omitempty"`
	ClusterMaxConnectionAge *int64           `json:"cluster_max_connection_lifetime_ms,omitempty"`
	OutlierDetection        string           `json:"outlier_detection,omitempty"`

	// What happens on the way.
	Rewrite               *string                `json:"rewrite,omitempty"`
	RegexRewrite          *RegexMap              `json:"regex_rewrite,omitempty"`
	HostRewrite           string                 `json:"host_rewrite,omitempty"`
	AutoHostRewrite       *bool                  `json:"auto_host_rewrite,omitempty"`
	HostRedirect          *bool                  `json:"host_redirect,omitempty"`
	PathRedirect          string                 `json:"path_redirect,omitempty"`
	PrefixRedirect        string                 `json:"prefix_redirect,omitempty"`
	RegexRedirect         *RegexMap              `json:"regex_redirect,omitempty"`
	RedirectResponseCode  *int                   `json:"redirect_response_code,omitempty"`
	Priority              string                 `json:"priority,omitempty"`
	Timeout               *int64                 `json:"timeout_ms,omitempty"`
	IdleTimeout           *int64                 `json:"idle_timeout_ms,omitempty"`
	RetryPolicy           *RetryPolicy           `json:"retry_policy,omitempty"`
	CORS                  *CORS                  `json:"cors,omitempty"`
	Shadow                *bool                  `json:"shadow,omitempty"`
	AddRequestHeaders     *map[string]AddedValue `json:"add_request_headers,omitempty"`
	AddResponseHeaders    *map[string]AddedValue `json:"add_response_headers,omitempty"`
	RemoveRequestHeaders  *Strings               `json:"remove_request_headers,omitempty"`
	RemoveResponseHeaders *Strings               `json:"remove_response_headers,omitempty"`
	AddLinkerdHeaders     *bool                  `json:"add_linkerd_headers,omitempty"`
	UseWebsocket          *bool                  `json:"use_websocket,omitempty"`
	AllowUpgrade          []string               `json:"allow_upgrade,omitempty"`

	// What other objects are about.
	BypassAuth                   *bool                   `json:"bypass_auth,omitempty"`
	AuthContextExtensions        map[string]string       `json:"auth_context_extensions,omitempty"`
	Labels                       map[string]any          `json:"labels,omitempty"`
	ErrorResponseOverrides       []ErrorResponseOverride `json:"error_response_overrides,omitempty"`
	BypassErrorResponseOverrides *bool                   `json:"bypass_error_response_overrides,omitempty"`
	Modules                      []map[string]any        `json:"modules,omitempty"`
	EnvoyOverride                map[string]any          `json:"envoy_override,omitempty"`
	Docs                         map[string]any          `json:"docs,omitempty"`

	// What a v2 object said, for those who write it back. Nothing depends on it.
	V2ExplicitTLS         *Explicit `json:"v2ExplicitTLS,omitempty"`
	V2BoolHeaders         []string  `json:"v2BoolHeaders,omitempty"`
	V2BoolQueryParameters []string  `json:"v2BoolQueryParameters,omitempty"`
}

// MappingStatus is what became of a Mapping.
type MappingStatus struct {
	// State is Running or Inactive.
	State  string `json:"state,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *Mapping) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// RegexMap makes what a regular expression matches another text.
type RegexMap struct {
	Pattern      string `json:"pattern,omitempty"`
	Substitution string `json:"substitution,omitempty"`
}

// A CircuitBreaker limits what goes to a service, at one priority.
type CircuitBreaker struct {
	Priority           string  `json:"priority,omitempty"`
	MaxConnections     *uint32 `json:"max_connections,omitempty"`
	MaxPendingRequests *uint32 `json:"max_pending_requests,omitempty"`
	MaxRequests        *uint32 `json:"max_requests,omitempty"`
	MaxRetries         *uint32 `json:"max_retries,omitempty"`
}

// KeepAlive is of TCP; times are in seconds. Time is how the Module spells IdleTime.
type KeepAlive struct {
	Probes   *uint32 `json:"probes,omitempty"`
	IdleTime *uint32 `json:"idle_time,omitempty"`
	Time     *uint32 `json:"time,omitempty"`
	Interval *uint32 `json:"interval,omitempty"`
}

// CORS says which other origins' scripts may ask. MaxAge is in seconds.
type CORS struct {
	Origins                 Strings `json:"origins,omitempty"`
	Methods                 Strings `json:"methods,omitempty"`
	Headers                 Strings `json:"headers,omitempty"`
	Credentials             *bool   `json:"credentials,omitempty"`
	ExposedHeaders          Strings `json:"exposed_headers,omitempty"`
	MaxAge                  Text    `json:"max_age,omitempty"`
	V2CommaSeparatedOrigins bool    `json:"v2CommaSeparatedOrigins,omitempty"`
}

// RetryPolicy says when to try again. PerTryTimeout is a duration such as "1s".
type RetryPolicy struct {
	RetryOn       string  `json:"retry_on,omitempty"`
	NumRetries    *uint32 `json:"num_retries,omitempty"`
	PerTryTimeout string  `json:"per_try_timeout,omitempty"`
}

// LoadBalancer chooses an endpoint.
type LoadBalancer struct {
	Policy   string  `json:"policy,omitempty"`
	Cookie   *Cookie `json:"cookie,omitempty"`
	Header   string  `json:"header,omitempty"`
	SourceIP *bool   `json:"source_ip,omitempty"`
}

// A Cookie keeps a client at one endpoint. TTL is a duration such as "60s".
type Cookie struct {
	Name string `json:"name,omitempty"`
	Path string `json:"path,omitempty"`
	TTL  string `json:"ttl,omitempty"`
}

// A HealthCheck asks endpoints whether they are well.
type HealthCheck struct {
	Timeout            *metav1.Duration `json:"timeout,omitempty"`
	Interval           *metav1.Duration `json:"interval,omitempty"`
	UnhealthyThreshold *uint32          `json:"unhealthy_threshold,omitempty"`
	HealthyThreshold   *uint32          `json:"healthy_threshold,omitempty"`
	HealthCheck        HealthCheckKind  `json:"health_check,omitempty"`
}

// HealthCheckKind has one of its fields.
type HealthCheckKind struct {
	HTTP *HTTPHealthCheck `json:"http,omitempty"`
	GRPC *GRPCHealthCheck `json:"grpc,omitempty"`
}

// HTTPHealthCheck asks by a request.
type HTTPHealthCheck struct {
	Path                 string                `json:"path,omitempty"`
	Hostname             string                `json:"hostname,omitempty"`
	AddRequestHeaders    map[string]AddedValue `json:"add_request_headers,omitempty"`
	RemoveRequestHeaders []string              `json:"remove_request_headers,omitempty"`
	// ExpectedStatuses are ranges, both ends included.
	ExpectedStatuses []StatusRange `json:"expected_statuses,omitempty"`
}

// A StatusRange includes both ends.
type StatusRange struct {
	Min int64 `json:"min,omitempty"`
	Max int64 `json:"max,omitempty"`
}

// GRPCHealthCheck asks by grpc.health.v1.
type GRPCHealthCheck struct {
	UpstreamName string `json:"upstream_name,omitempty"`
	Authority    string `json:"authority,omitempty"`
}

// An ErrorResponseOverride is another body for responses of a status.
type ErrorResponseOverride struct {
	OnStatusCode int `json:"on_status_code,omitempty"`
	Body         struct {
		TextFormat       *string         `json:"text_format,omitempty"`
		JSONFormat       map[string]Text `json:"json_format,omitempty"`
		TextFormatSource *struct {
			Filename string `json:"filename"`
		} `json:"text_format_source,omitempty"`
		ContentType string `json:"content_type,omitempty"`
	} `json:"body,omitempty"`
}
