// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"k8s.io/apimachinery/pkg/api/resource"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// A RateLimit limits requests. Type is Global or Local; newer versions have both at once,
// without a type.
type RateLimit struct {
	Type   *string         `json:"type,omitempty"`
	Global *RateLimitRules `json:"global,omitempty"`
	Local  *RateLimitRules `json:"local,omitempty"`
}

// RateLimitRules are the rules of a kind of limit.
type RateLimitRules struct {
	Rules []RateLimitRule `json:"rules"`
}

// A RateLimitRule limits the requests that its selectors choose; all of them, if it has
// none.
type RateLimitRule struct {
	ClientSelectors   []RateLimitSelector `json:"clientSelectors,omitempty"`
	Limit             RateLimitValue      `json:"limit"`
	Cost              *RateLimitCost      `json:"cost,omitempty"`
	Shared            *bool               `json:"shared,omitempty"`
	ShadowMode        *bool               `json:"shadowMode,omitempty"`
	XRateLimitHeaders *string             `json:"xRateLimitHeaders,omitempty"`
}

// A RateLimitSelector chooses requests that all its parts match.
type RateLimitSelector struct {
	Headers     []HeaderMatch     `json:"headers,omitempty"`
	Methods     []MethodMatch     `json:"methods,omitempty"`
	Path        *PathMatch        `json:"path,omitempty"`
	SourceCIDR  *SourceMatch      `json:"sourceCIDR,omitempty"`
	QueryParams []QueryParamMatch `json:"queryParams,omitempty"`
	// SourceIP is a range as SourceCIDR of type Exact. It was until v0.5.
	SourceIP *string `json:"sourceIP,omitempty"`
}

// A HeaderMatch is about a header. Type is Exact, RegularExpression or Distinct.
type HeaderMatch struct {
	Type   *string `json:"type,omitempty"`
	Name   string  `json:"name"`
	Value  *string `json:"value,omitempty"`
	Invert *bool   `json:"invert,omitempty"`
}

// A QueryParamMatch is about a parameter of the query. Type is as of a HeaderMatch.
type QueryParamMatch struct {
	Type   *string `json:"type,omitempty"`
	Name   string  `json:"name"`
	Value  *string `json:"value,omitempty"`
	Invert *bool   `json:"invert,omitempty"`
}

// A MethodMatch is about the method.
type MethodMatch struct {
	Value  string `json:"value"`
	Invert *bool  `json:"invert,omitempty"`
}

// A PathMatch is about the path. Type is Exact, PathPrefix or RegularExpression.
type PathMatch struct {
	Type   *string `json:"type,omitempty"`
	Value  string  `json:"value"`
	Invert *bool   `json:"invert,omitempty"`
}

// A SourceMatch is about the client's address. Type is Exact, by which all of the range
// share a limit, or Distinct.
type SourceMatch struct {
	Type   *string `json:"type,omitempty"`
	Value  string  `json:"value"`
	Invert *bool   `json:"invert,omitempty"`
}

// A RateLimitValue is how many requests there may be in a unit: Second, Minute, Hour,
// Day, Week, Month or Year.
type RateLimitValue struct {
	Requests     uint32       `json:"requests"`
	Unit         string       `json:"unit"`
	FromMetadata *MetadataKey `json:"fromMetadata,omitempty"`
}

// A MetadataKey is where a request's metadata has something.
type MetadataKey struct {
	Namespace string `json:"namespace"`
	Key       string `json:"key"`
}

// RateLimitCost is how much requests and responses count.
type RateLimitCost struct {
	Request  *RateLimitCostOf `json:"request,omitempty"`
	Response *RateLimitCostOf `json:"response,omitempty"`
}

// RateLimitCostOf is a number. From is Number or Metadata.
type RateLimitCostOf struct {
	From     string       `json:"from"`
	Number   *uint64      `json:"number,omitempty"`
	Metadata *MetadataKey `json:"metadata,omitempty"`
}

// BandwidthLimit limits how fast bodies pass.
type BandwidthLimit struct {
	Request  *RequestBandwidth  `json:"request,omitempty"`
	Response *ResponseBandwidth `json:"response,omitempty"`
}

// RequestBandwidth limits the bodies of requests.
type RequestBandwidth struct {
	Limit Bandwidth `json:"limit"`
}

// ResponseBandwidth limits the bodies of responses.
type ResponseBandwidth struct {
	Limit            Bandwidth          `json:"limit"`
	ResponseTrailers *BandwidthTrailers `json:"responseTrailers,omitempty"`
}

// Bandwidth is so many bytes in a Unit: Second, Minute or Hour.
type Bandwidth struct {
	Value resource.Quantity `json:"value"`
	Unit  string            `json:"unit"`
}

// BandwidthTrailers tell clients of delays.
type BandwidthTrailers struct {
	Prefix *string `json:"prefix,omitempty"`
}

// FaultInjection breaks requests on purpose.
type FaultInjection struct {
	Delay *FaultDelay `json:"delay,omitempty"`
	Abort *FaultAbort `json:"abort,omitempty"`
}

// FaultDelay has a percentage of requests wait.
type FaultDelay struct {
	FixedDelay *gwapiv1.Duration `json:"fixedDelay"`
	Percentage *float32          `json:"percentage,omitempty"`
}

// FaultAbort answers a percentage of requests.
type FaultAbort struct {
	HTTPStatus *int32   `json:"httpStatus,omitempty"`
	GRPCStatus *int32   `json:"grpcStatus,omitempty"`
	Percentage *float32 `json:"percentage,omitempty"`
}

// AdmissionControl refuses requests that would fail anyway.
type AdmissionControl struct {
	SamplingWindow      *gwapiv1.Duration  `json:"samplingWindow,omitempty"`
	MinSuccessRate      *uint32            `json:"minSuccessRate,omitempty"`
	RejectionAggression *uint32            `json:"rejectionAggression,omitempty"`
	MinRequestRate      *uint32            `json:"minRequestRate,omitempty"`
	MaxRejectionPercent *uint32            `json:"maxRejectionPercent,omitempty"`
	SuccessCriteria     *AdmissionCriteria `json:"successCriteria,omitempty"`
}

// AdmissionCriteria tell what is a success.
type AdmissionCriteria struct {
	HTTP *HTTPCriteria `json:"http,omitempty"`
	GRPC *GRPCCriteria `json:"grpc,omitempty"`
}

// HTTPCriteria are status codes.
type HTTPCriteria struct {
	StatusCodes []int32 `json:"statusCodes,omitempty"`
}

// GRPCCriteria are names of codes.
type GRPCCriteria struct {
	StatusCodes []string `json:"statusCodes,omitempty"`
}

// Compression of responses. Type is Gzip, Brotli or Zstd.
type Compression struct {
	Type             string             `json:"type"`
	Brotli           map[string]any     `json:"brotli,omitempty"`
	Gzip             map[string]any     `json:"gzip,omitempty"`
	Zstd             map[string]any     `json:"zstd,omitempty"`
	MinContentLength *resource.Quantity `json:"minContentLength,omitempty"`
}

// A ResponseOverride answers instead. Source is All, Local or Backend.
type ResponseOverride struct {
	Match    ResponseMatch   `json:"match"`
	Response *CustomResponse `json:"response,omitempty"`
	Redirect *CustomRedirect `json:"redirect,omitempty"`
	Source   *string         `json:"source,omitempty"`
}

// A ResponseMatch chooses responses.
type ResponseMatch struct {
	StatusCodes     []StatusCodeMatch     `json:"statusCodes,omitempty"`
	ResponseHeaders []ResponseHeaderMatch `json:"responseHeaders,omitempty"`
}

// A ResponseHeaderMatch is about a header of the response.
type ResponseHeaderMatch struct {
	Name  string      `json:"name"`
	Value StringMatch `json:"value"`
}

// A StringMatch matches a text. Type is Exact, Prefix, Suffix or RegularExpression.
type StringMatch struct {
	Type  *string `json:"type,omitempty"`
	Value string  `json:"value"`
}

// A StatusCodeMatch is one code, or a range. Type is Value or Range.
type StatusCodeMatch struct {
	Type  *string          `json:"type,omitempty"`
	Value *int             `json:"value,omitempty"`
	Range *StatusCodeRange `json:"range,omitempty"`
}

// A StatusCodeRange includes both ends.
type StatusCodeRange struct {
	Start int `json:"start"`
	End   int `json:"end"`
}

// A CustomResponse is sent instead.
type CustomResponse struct {
	ContentType *string                   `json:"contentType,omitempty"`
	Body        *CustomBody               `json:"body,omitempty"`
	StatusCode  *int                      `json:"statusCode,omitempty"`
	Header      *gwapiv1.HTTPHeaderFilter `json:"header,omitempty"`
}

// A CustomBody is a text. Type is Inline or ValueRef, which is a ConfigMap.
type CustomBody struct {
	Type     *string                       `json:"type,omitempty"`
	Inline   *string                       `json:"inline,omitempty"`
	ValueRef *gwapiv1.LocalObjectReference `json:"valueRef,omitempty"`
}

// A CustomRedirect has the response be had from elsewhere.
type CustomRedirect struct {
	Scheme     *string                   `json:"scheme,omitempty"`
	Hostname   *string                   `json:"hostname,omitempty"`
	Path       *gwapiv1.HTTPPathModifier `json:"path,omitempty"`
	Port       *int32                    `json:"port,omitempty"`
	StatusCode *int                      `json:"statusCode,omitempty"`
}

// HTTPUpgrade lets requests leave HTTP.
type HTTPUpgrade struct {
	Type    string   `json:"type"`
	Connect *Connect `json:"connect,omitempty"`
}

// Connect is about the method CONNECT.
type Connect struct {
	Terminate *bool `json:"terminate,omitempty"`
}

// RequestBuffer gathers requests.
type RequestBuffer struct {
	Limit resource.Quantity `json:"limit,omitempty"`
}

// BackendTelemetry is what is told of requests.
type BackendTelemetry struct {
	Tracing *Tracing        `json:"tracing,omitempty"`
	Metrics *BackendMetrics `json:"metrics,omitempty"`
}

// BackendMetrics names what is counted.
type BackendMetrics struct {
	RouteStatName *string `json:"routeStatName,omitempty"`
}

// Tracing says which requests are traced, and what is told of them.
type Tracing struct {
	SamplingFraction        *gwapiv1.Fraction    `json:"samplingFraction,omitempty"`
	ClientSamplingFraction  *gwapiv1.Fraction    `json:"clientSamplingFraction,omitempty"`
	OverallSamplingFraction *gwapiv1.Fraction    `json:"overallSamplingFraction,omitempty"`
	CustomTags              map[string]CustomTag `json:"customTags,omitempty"`
	Tags                    map[string]string    `json:"tags,omitempty"`
	SpanName                *SpanName            `json:"spanName,omitempty"`
}

// SpanName names spans.
type SpanName struct {
	Client string `json:"client"`
	Server string `json:"server"`
}

// A CustomTag is told of a request. Type is Literal, Environment or RequestHeader.
type CustomTag struct {
	Type          string      `json:"type"`
	Literal       *TagLiteral `json:"literal,omitempty"`
	Environment   *TagFrom    `json:"environment,omitempty"`
	RequestHeader *TagFrom    `json:"requestHeader,omitempty"`
}

// A TagLiteral is a text.
type TagLiteral struct {
	Value string `json:"value"`
}

// TagFrom is where a tag comes from.
type TagFrom struct {
	Name         string  `json:"name"`
	DefaultValue *string `json:"defaultValue,omitempty"`
}
