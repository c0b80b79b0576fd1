// SPDX-License-Identifier: Apache-2.0

package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// A VirtualService says where requests for hosts go.
type VirtualService struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   VirtualServiceSpec `json:"spec,omitempty"`
	Status Status             `json:"status,omitempty"`
}

// VirtualServiceSpec has routes of three protocols.
type VirtualServiceSpec struct {
	Hosts []string `json:"hosts,omitempty"`
	// Gateways are names of Gateways, with a namespace or without, or "mesh", which is
	// what none means.
	Gateways []string    `json:"gateways,omitempty"`
	HTTP     []HTTPRoute `json:"http,omitempty"`
	TLS      []TLSRoute  `json:"tls,omitempty"`
	TCP      []TCPRoute  `json:"tcp,omitempty"`
	// ExportTo are namespaces that see the object: ".", "*" or names.
	ExportTo []string `json:"exportTo,omitempty"`
}

// HTTPRoute is a rule of HTTP. Of several, the first that matches has a request.
type HTTPRoute struct {
	Name           string                 `json:"name,omitempty"`
	Match          []HTTPMatchRequest     `json:"match,omitempty"`
	Route          []HTTPRouteDestination `json:"route,omitempty"`
	Redirect       *HTTPRedirect          `json:"redirect,omitempty"`
	DirectResponse *HTTPDirectResponse    `json:"directResponse,omitempty"`
	Delegate       *Delegate              `json:"delegate,omitempty"`
	Rewrite        *HTTPRewrite           `json:"rewrite,omitempty"`
	Timeout        string                 `json:"timeout,omitempty"`
	Retries        *HTTPRetry             `json:"retries,omitempty"`
	Fault          *HTTPFaultInjection    `json:"fault,omitempty"`
	Mirror         *Destination           `json:"mirror,omitempty"`
	Mirrors        []HTTPMirrorPolicy     `json:"mirrors,omitempty"`
	// OldMirrorPercent is an older way to write MirrorPercent.
	OldMirrorPercent *uint32     `json:"mirror_percent,omitempty"`
	MirrorPercent    *uint32     `json:"mirrorPercent,omitempty"`
	MirrorPercentage *Percent    `json:"mirrorPercentage,omitempty"`
	CorsPolicy       *CorsPolicy `json:"corsPolicy,omitempty"`
	Headers          *Headers    `json:"headers,omitempty"`
}

// HTTPMatchRequest matches requests that are as all of its fields say.
type HTTPMatchRequest struct {
	Name            string                 `json:"name,omitempty"`
	URI             *StringMatch           `json:"uri,omitempty"`
	Scheme          *StringMatch           `json:"scheme,omitempty"`
	Method          *StringMatch           `json:"method,omitempty"`
	Authority       *StringMatch           `json:"authority,omitempty"`
	Headers         map[string]StringMatch `json:"headers,omitempty"`
	Port            uint32                 `json:"port,omitempty"`
	SourceLabels    map[string]string      `json:"sourceLabels,omitempty"`
	Gateways        []string               `json:"gateways,omitempty"`
	QueryParams     map[string]StringMatch `json:"queryParams,omitempty"`
	IgnoreURICase   bool                   `json:"ignoreUriCase,omitempty"`
	WithoutHeaders  map[string]StringMatch `json:"withoutHeaders,omitempty"`
	SourceNamespace string                 `json:"sourceNamespace,omitempty"`
	StatPrefix      string                 `json:"statPrefix,omitempty"`
}

// HTTPRouteDestination is a share of requests.
type HTTPRouteDestination struct {
	Destination *Destination `json:"destination,omitempty"`
	Weight      int32        `json:"weight,omitempty"`
	Headers     *Headers     `json:"headers,omitempty"`
}

// Destination names a service, a subset of it that a DestinationRule has, and a port.
type Destination struct {
	Host   string        `json:"host,omitempty"`
	Subset string        `json:"subset,omitempty"`
	Port   *PortSelector `json:"port,omitempty"`
}

// HTTPRedirect answers with another place.
type HTTPRedirect struct {
	URI       string  `json:"uri,omitempty"`
	Authority string  `json:"authority,omitempty"`
	Port      *uint32 `json:"port,omitempty"`
	// DerivePort is FROM_PROTOCOL_DEFAULT or FROM_REQUEST_PORT.
	DerivePort   string `json:"derivePort,omitempty"`
	Scheme       string `json:"scheme,omitempty"`
	RedirectCode uint32 `json:"redirectCode,omitempty"`
	// PrefixRewrite replaces the prefix that was matched.
	PrefixRewrite string `json:"prefixRewrite,omitempty"`
}

// HTTPDirectResponse is an answer of the proxy's own.
type HTTPDirectResponse struct {
	Status uint32    `json:"status,omitempty"`
	Body   *HTTPBody `json:"body,omitempty"`
}

// HTTPBody is a text, or bytes.
type HTTPBody struct {
	String *string `json:"string,omitempty"`
	Bytes  []byte  `json:"bytes,omitempty"`
}

// Delegate names a VirtualService without hosts that has the rules.
type Delegate struct {
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// HTTPRewrite changes what is asked for before it is forwarded.
type HTTPRewrite struct {
	URI             string        `json:"uri,omitempty"`
	Authority       string        `json:"authority,omitempty"`
	URIRegexRewrite *RegexRewrite `json:"uriRegexRewrite,omitempty"`
}

// RegexRewrite replaces what a regular expression matches.
type RegexRewrite struct {
	Match   string `json:"match,omitempty"`
	Rewrite string `json:"rewrite,omitempty"`
}

// HTTPRetry says when to try again.
type HTTPRetry struct {
	Attempts                 int32  `json:"attempts,omitempty"`
	PerTryTimeout            string `json:"perTryTimeout,omitempty"`
	RetryOn                  string `json:"retryOn,omitempty"`
	RetryRemoteLocalities    *bool  `json:"retryRemoteLocalities,omitempty"`
	RetryIgnorePreviousHosts *bool  `json:"retryIgnorePreviousHosts,omitempty"`
	Backoff                  string `json:"backoff,omitempty"`
}

// HTTPFaultInjection makes requests fail, or wait.
type HTTPFaultInjection struct {
	Delay *FaultDelay `json:"delay,omitempty"`
	Abort *FaultAbort `json:"abort,omitempty"`
}

// FaultDelay has requests wait.
type FaultDelay struct {
	Percent          int32    `json:"percent,omitempty"`
	FixedDelay       string   `json:"fixedDelay,omitempty"`
	ExponentialDelay string   `json:"exponentialDelay,omitempty"`
	Percentage       *Percent `json:"percentage,omitempty"`
}

// FaultAbort answers requests with an error.
type FaultAbort struct {
	HTTPStatus int32    `json:"httpStatus,omitempty"`
	GRPCStatus string   `json:"grpcStatus,omitempty"`
	HTTP2Error string   `json:"http2Error,omitempty"`
	Percentage *Percent `json:"percentage,omitempty"`
}

// HTTPMirrorPolicy sends a copy of requests to a destination.
type HTTPMirrorPolicy struct {
	Destination *Destination `json:"destination,omitempty"`
	Percentage  *Percent     `json:"percentage,omitempty"`
}

// CorsPolicy says what pages of other origins may do.
type CorsPolicy struct {
	AllowOrigin      []string      `json:"allowOrigin,omitempty"`
	AllowOrigins     []StringMatch `json:"allowOrigins,omitempty"`
	AllowMethods     []string      `json:"allowMethods,omitempty"`
	AllowHeaders     []string      `json:"allowHeaders,omitempty"`
	ExposeHeaders    []string      `json:"exposeHeaders,omitempty"`
	MaxAge           string        `json:"maxAge,omitempty"`
	AllowCredentials *bool         `json:"allowCredentials,omitempty"`
	// UnmatchedPreflights is FORWARD or IGNORE.
	UnmatchedPreflights string `json:"unmatchedPreflights,omitempty"`
}

// Headers are changes to headers.
type Headers struct {
	Request  *HeaderOperations `json:"request,omitempty"`
	Response *HeaderOperations `json:"response,omitempty"`
}

// HeaderOperations are changes to the headers of one direction.
type HeaderOperations struct {
	Set    map[string]string `json:"set,omitempty"`
	Add    map[string]string `json:"add,omitempty"`
	Remove []string          `json:"remove,omitempty"`
}

// TLSRoute is a rule of TLS that is passed on as it is.
type TLSRoute struct {
	Match []TLSMatchAttributes `json:"match,omitempty"`
	Route []RouteDestination   `json:"route,omitempty"`
}

// TLSMatchAttributes matches connections by server names.
type TLSMatchAttributes struct {
	SNIHosts           []string          `json:"sniHosts,omitempty"`
	DestinationSubnets []string          `json:"destinationSubnets,omitempty"`
	Port               uint32            `json:"port,omitempty"`
	SourceLabels       map[string]string `json:"sourceLabels,omitempty"`
	Gateways           []string          `json:"gateways,omitempty"`
	SourceNamespace    string            `json:"sourceNamespace,omitempty"`
}

// TCPRoute is a rule of bytes.
type TCPRoute struct {
	Match []L4MatchAttributes `json:"match,omitempty"`
	Route []RouteDestination  `json:"route,omitempty"`
}

// L4MatchAttributes matches connections.
type L4MatchAttributes struct {
	DestinationSubnets []string          `json:"destinationSubnets,omitempty"`
	Port               uint32            `json:"port,omitempty"`
	SourceSubnet       string            `json:"sourceSubnet,omitempty"`
	SourceLabels       map[string]string `json:"sourceLabels,omitempty"`
	Gateways           []string          `json:"gateways,omitempty"`
	SourceNamespace    string            `json:"sourceNamespace,omitempty"`
}

// RouteDestination is a share of connections.
type RouteDestination struct {
	Destination *Destination `json:"destination,omitempty"`
	Weight      int32        `json:"weight,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *VirtualService) DeepCopyObject() runtime.Object { return deep(o) }
