// SPDX-License-Identifier: Apache-2.0

// Package v1alpha2 has the types of Istio's objects of the group config.istio.io, as they
// were until 0.8, in 2018. Names of fields may be written either way: httpReqTimeout, as in
// Istio's samples, or http_req_timeout, as in its tests.
package v1alpha2

import (
	"bytes"
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	istiov1 "weir.dev/weir/control/api/istio/v1"
)

// Group of the objects.
const Group = "config.istio.io"

// A RouteRule says where the requests of one service go.
type RouteRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec RouteRuleSpec `json:"spec,omitempty"`
}

// RouteRuleSpec is one rule. Of those of a service the one with the highest precedence
// comes first.
type RouteRuleSpec struct {
	Destination      *IstioService       `json:"destination,omitempty"`
	Precedence       int32               `json:"precedence,omitempty"`
	Match            *MatchCondition     `json:"match,omitempty"`
	Route            []DestinationWeight `json:"route,omitempty"`
	Redirect         *HTTPRedirect       `json:"redirect,omitempty"`
	Rewrite          *HTTPRewrite        `json:"rewrite,omitempty"`
	WebsocketUpgrade bool                `json:"websocketUpgrade,omitempty"`
	HTTPReqTimeout   *HTTPTimeout        `json:"httpReqTimeout,omitempty"`
	HTTPReqRetries   *HTTPRetry          `json:"httpReqRetries,omitempty"`
	HTTPFault        *HTTPFault          `json:"httpFault,omitempty"`
	L4Fault          map[string]any      `json:"l4Fault,omitempty"`
	Mirror           *IstioService       `json:"mirror,omitempty"`
	CorsPolicy       *CorsPolicy         `json:"corsPolicy,omitempty"`
	AppendHeaders    map[string]string   `json:"appendHeaders,omitempty"`
}

// UnmarshalJSON reads either way of writing names.
func (s *RouteRuleSpec) UnmarshalJSON(data []byte) error {
	type plain RouteRuleSpec
	return either(data, (*plain)(s))
}

// IstioService names a service, by its name or as the whole of its domain name.
type IstioService struct {
	Name      string            `json:"name,omitempty"`
	Namespace string            `json:"namespace,omitempty"`
	Domain    string            `json:"domain,omitempty"`
	Service   string            `json:"service,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// MatchCondition matches requests.
type MatchCondition struct {
	Source  *IstioService `json:"source,omitempty"`
	TCP     *L4Match      `json:"tcp,omitempty"`
	UDP     *L4Match      `json:"udp,omitempty"`
	Request *MatchRequest `json:"request,omitempty"`
}

// L4Match matches connections.
type L4Match struct {
	SourceSubnet      []string `json:"sourceSubnet,omitempty"`
	DestinationSubnet []string `json:"destinationSubnet,omitempty"`
}

// MatchRequest matches headers; uri, scheme, method and authority count as such.
type MatchRequest struct {
	Headers map[string]Text `json:"headers,omitempty"`
}

// Text is a match, or a text that is to be exactly so.
type Text istiov1.StringMatch

// UnmarshalJSON reads either form.
func (t *Text) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &t.Exact)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode((*istiov1.StringMatch)(t))
}

// DestinationWeight is a share of requests: of the rule's own destination, or of another.
type DestinationWeight struct {
	Destination *IstioService     `json:"destination,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Weight      int32             `json:"weight,omitempty"`
}

// HTTPRedirect answers with another place.
type HTTPRedirect struct {
	URI       string `json:"uri,omitempty"`
	Authority string `json:"authority,omitempty"`
}

// HTTPRewrite changes what is asked for before it is forwarded.
type HTTPRewrite struct {
	URI       string `json:"uri,omitempty"`
	Authority string `json:"authority,omitempty"`
}

// HTTPTimeout limits a request.
type HTTPTimeout struct {
	SimpleTimeout *SimpleTimeout `json:"simpleTimeout,omitempty"`
	Custom        map[string]any `json:"custom,omitempty"`
}

// SimpleTimeout is a duration.
type SimpleTimeout struct {
	Timeout            string `json:"timeout,omitempty"`
	OverrideHeaderName string `json:"overrideHeaderName,omitempty"`
}

// HTTPRetry says how often to try again.
type HTTPRetry struct {
	SimpleRetry *SimpleRetry   `json:"simpleRetry,omitempty"`
	Custom      map[string]any `json:"custom,omitempty"`
}

// SimpleRetry is a number of attempts.
type SimpleRetry struct {
	Attempts           int32  `json:"attempts,omitempty"`
	PerTryTimeout      string `json:"perTryTimeout,omitempty"`
	OverrideHeaderName string `json:"overrideHeaderName,omitempty"`
}

// HTTPFault makes requests fail, or wait.
type HTTPFault struct {
	Delay *Delay `json:"delay,omitempty"`
	Abort *Abort `json:"abort,omitempty"`
}

// Delay has requests wait.
type Delay struct {
	Percent            float64 `json:"percent,omitempty"`
	FixedDelay         string  `json:"fixedDelay,omitempty"`
	ExponentialDelay   string  `json:"exponentialDelay,omitempty"`
	OverrideHeaderName string  `json:"overrideHeaderName,omitempty"`
}

// Abort answers requests with an error.
type Abort struct {
	Percent            float64 `json:"percent,omitempty"`
	HTTPStatus         int32   `json:"httpStatus,omitempty"`
	GRPCStatus         string  `json:"grpcStatus,omitempty"`
	HTTP2Error         string  `json:"http2Error,omitempty"`
	OverrideHeaderName string  `json:"overrideHeaderName,omitempty"`
}

// CorsPolicy says what pages of other origins may do.
type CorsPolicy struct {
	AllowOrigin      []string `json:"allowOrigin,omitempty"`
	AllowMethods     []string `json:"allowMethods,omitempty"`
	AllowHeaders     []string `json:"allowHeaders,omitempty"`
	ExposeHeaders    []string `json:"exposeHeaders,omitempty"`
	MaxAge           string   `json:"maxAge,omitempty"`
	AllowCredentials *bool    `json:"allowCredentials,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *RouteRule) DeepCopyObject() runtime.Object { return deep(o) }

// A DestinationPolicy says how a service is spoken to.
type DestinationPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec DestinationPolicySpec `json:"spec,omitempty"`
}

// DestinationPolicySpec is about one service, or those of its endpoints that have labels.
type DestinationPolicySpec struct {
	Source         *IstioService   `json:"source,omitempty"`
	Destination    *IstioService   `json:"destination,omitempty"`
	LoadBalancing  *LoadBalancing  `json:"loadBalancing,omitempty"`
	CircuitBreaker *CircuitBreaker `json:"circuitBreaker,omitempty"`
	Custom         map[string]any  `json:"custom,omitempty"`
}

// UnmarshalJSON reads either way of writing names.
func (s *DestinationPolicySpec) UnmarshalJSON(data []byte) error {
	type plain DestinationPolicySpec
	return either(data, (*plain)(s))
}

// LoadBalancing chooses hosts: ROUND_ROBIN, LEAST_CONN or RANDOM.
type LoadBalancing struct {
	Name   string         `json:"name,omitempty"`
	Custom map[string]any `json:"custom,omitempty"`
}

// CircuitBreaker limits connections and requests.
type CircuitBreaker struct {
	SimpleCb *SimpleBreaker `json:"simpleCb,omitempty"`
	Custom   map[string]any `json:"custom,omitempty"`
}

// SimpleBreaker is limits.
type SimpleBreaker struct {
	MaxConnections               int32  `json:"maxConnections,omitempty"`
	HTTPMaxPendingRequests       int32  `json:"httpMaxPendingRequests,omitempty"`
	HTTPMaxRequests              int32  `json:"httpMaxRequests,omitempty"`
	SleepWindow                  string `json:"sleepWindow,omitempty"`
	HTTPConsecutiveErrors        int32  `json:"httpConsecutiveErrors,omitempty"`
	HTTPDetectionInterval        string `json:"httpDetectionInterval,omitempty"`
	HTTPMaxRequestsPerConnection int32  `json:"httpMaxRequestsPerConnection,omitempty"`
	HTTPMaxEjectionPercent       int32  `json:"httpMaxEjectionPercent,omitempty"`
	HTTPMaxRetries               int32  `json:"httpMaxRetries,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *DestinationPolicy) DeepCopyObject() runtime.Object { return deep(o) }

func deep[T any](o *T) *T {
	data, err := json.Marshal(o)
	out := new(T)
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		panic("BUG: an object that was decoded cannot be encoded: " + err.Error())
	}
	return out
}

// either reads fields whose names are written as in Go or with lines between their
// words, strictly.
func either(data []byte, to any) error {
	var tree any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return err
	}
	data, err := json.Marshal(camel(tree, ""))
	if err != nil {
		return err
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	return strict.Decode(to)
}

// camel changes the names of fields. The keys of headers and labels are not names.
func camel(v any, name string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			if name != "headers" && name != "labels" && name != "appendHeaders" && name != "custom" {
				k = camelName(k)
			}
			out[k] = camel(x, k)
		}
		return out
	case []any:
		for i := range v {
			v[i] = camel(v[i], name)
		}
	}
	return v
}

func camelName(k string) string {
	parts := strings.Split(k, "_")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}
