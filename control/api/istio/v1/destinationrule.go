// SPDX-License-Identifier: Apache-2.0

package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// A DestinationRule says how a service is spoken to, and which subsets it has.
type DestinationRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   DestinationRuleSpec `json:"spec,omitempty"`
	Status Status              `json:"status,omitempty"`
}

// DestinationRuleSpec is about one host.
type DestinationRuleSpec struct {
	Host             string            `json:"host,omitempty"`
	TrafficPolicy    *TrafficPolicy    `json:"trafficPolicy,omitempty"`
	Subsets          []Subset          `json:"subsets,omitempty"`
	ExportTo         []string          `json:"exportTo,omitempty"`
	WorkloadSelector *WorkloadSelector `json:"workloadSelector,omitempty"`
}

// WorkloadSelector chooses proxies by the labels of their Pods.
type WorkloadSelector struct {
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
}

// Subset is those of a service's endpoints that have labels.
type Subset struct {
	Name          string            `json:"name,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	TrafficPolicy *TrafficPolicy    `json:"trafficPolicy,omitempty"`
}

// TrafficPolicy says how hosts are spoken to.
type TrafficPolicy struct {
	LoadBalancer      *LoadBalancer       `json:"loadBalancer,omitempty"`
	ConnectionPool    *ConnectionPool     `json:"connectionPool,omitempty"`
	OutlierDetection  *OutlierDetection   `json:"outlierDetection,omitempty"`
	TLS               *ClientTLS          `json:"tls,omitempty"`
	PortLevelSettings []PortTrafficPolicy `json:"portLevelSettings,omitempty"`
	Tunnel            *Tunnel             `json:"tunnel,omitempty"`
	ProxyProtocol     *ProxyProtocol      `json:"proxyProtocol,omitempty"`
	RetryBudget       *RetryBudget        `json:"retryBudget,omitempty"`
}

// PortTrafficPolicy is a policy for one port.
type PortTrafficPolicy struct {
	Port             *PortSelector     `json:"port,omitempty"`
	LoadBalancer     *LoadBalancer     `json:"loadBalancer,omitempty"`
	ConnectionPool   *ConnectionPool   `json:"connectionPool,omitempty"`
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`
	TLS              *ClientTLS        `json:"tls,omitempty"`
}

// Tunnel has connections go through another proxy.
type Tunnel struct {
	Protocol   string `json:"protocol,omitempty"`
	TargetHost string `json:"targetHost,omitempty"`
	TargetPort uint32 `json:"targetPort,omitempty"`
}

// ProxyProtocol begins connections with a header that tells of the client.
type ProxyProtocol struct {
	// Version is V1 or V2.
	Version string `json:"version,omitempty"`
}

// RetryBudget limits retries to a share of requests.
type RetryBudget struct {
	Percent             *float64 `json:"percent,omitempty"`
	MinRetryConcurrency *uint32  `json:"minRetryConcurrency,omitempty"`
	BudgetInterval      string   `json:"budgetInterval,omitempty"`
}

// LoadBalancer chooses hosts.
type LoadBalancer struct {
	// Simple is UNSPECIFIED, ROUND_ROBIN, LEAST_REQUEST, RANDOM, PASSTHROUGH or LEAST_CONN.
	Simple             string          `json:"simple,omitempty"`
	ConsistentHash     *ConsistentHash `json:"consistentHash,omitempty"`
	LocalityLbSetting  *LocalityLB     `json:"localityLbSetting,omitempty"`
	ZoneAwareLbSetting map[string]any  `json:"zoneAwareLbSetting,omitempty"`
	WarmupDurationSecs string          `json:"warmupDurationSecs,omitempty"`
	Warmup             *Warmup         `json:"warmup,omitempty"`
}

// ConsistentHash keeps alike requests at one host.
type ConsistentHash struct {
	HTTPHeaderName         string      `json:"httpHeaderName,omitempty"`
	HTTPCookie             *HTTPCookie `json:"httpCookie,omitempty"`
	UseSourceIP            bool        `json:"useSourceIp,omitempty"`
	HTTPQueryParameterName string      `json:"httpQueryParameterName,omitempty"`
	RingHash               *RingHash   `json:"ringHash,omitempty"`
	Maglev                 *Maglev     `json:"maglev,omitempty"`
	MinimumRingSize        *uint64     `json:"minimumRingSize,omitempty"`
}

// HTTPCookie is a cookie that is hashed, and made if TTL is there.
type HTTPCookie struct {
	Name       string            `json:"name,omitempty"`
	Path       string            `json:"path,omitempty"`
	TTL        *string           `json:"ttl,omitempty"`
	Attributes []CookieAttribute `json:"attributes,omitempty"`
}

// CookieAttribute is what else a cookie says.
type CookieAttribute struct {
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
}

// RingHash is a ring of at least so many places.
type RingHash struct {
	MinimumRingSize *uint64 `json:"minimumRingSize,omitempty"`
}

// Maglev is a table of so many places.
type Maglev struct {
	TableSize *uint64 `json:"tableSize,omitempty"`
}

// LocalityLB prefers hosts that are near.
type LocalityLB struct {
	Distribute       []LocalityDistribute `json:"distribute,omitempty"`
	Failover         []LocalityFailover   `json:"failover,omitempty"`
	FailoverPriority []string             `json:"failoverPriority,omitempty"`
	Enabled          *bool                `json:"enabled,omitempty"`
}

// LocalityDistribute says which shares of requests go where.
type LocalityDistribute struct {
	From string            `json:"from,omitempty"`
	To   map[string]uint32 `json:"to,omitempty"`
}

// LocalityFailover says where requests go if a region fails.
type LocalityFailover struct {
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Warmup gives new hosts fewer requests at first.
type Warmup struct {
	Duration       string   `json:"duration,omitempty"`
	MinimumPercent *float64 `json:"minimumPercent,omitempty"`
	Aggression     *float64 `json:"aggression,omitempty"`
}

// ConnectionPool limits connections and requests.
type ConnectionPool struct {
	TCP  *TCPSettings  `json:"tcp,omitempty"`
	HTTP *HTTPSettings `json:"http,omitempty"`
}

// TCPSettings are about connections.
type TCPSettings struct {
	MaxConnections        int32         `json:"maxConnections,omitempty"`
	ConnectTimeout        string        `json:"connectTimeout,omitempty"`
	TCPKeepalive          *TCPKeepalive `json:"tcpKeepalive,omitempty"`
	MaxConnectionDuration string        `json:"maxConnectionDuration,omitempty"`
	IdleTimeout           string        `json:"idleTimeout,omitempty"`
}

// TCPKeepalive finds connections whose other end is gone.
type TCPKeepalive struct {
	Probes   uint32 `json:"probes,omitempty"`
	Time     string `json:"time,omitempty"`
	Interval string `json:"interval,omitempty"`
}

// HTTPSettings are about requests.
type HTTPSettings struct {
	HTTP1MaxPendingRequests  int32           `json:"http1MaxPendingRequests,omitempty"`
	HTTP2MaxRequests         int32           `json:"http2MaxRequests,omitempty"`
	MaxRequestsPerConnection int32           `json:"maxRequestsPerConnection,omitempty"`
	MaxRetries               int32           `json:"maxRetries,omitempty"`
	IdleTimeout              string          `json:"idleTimeout,omitempty"`
	H2UpgradePolicy          string          `json:"h2UpgradePolicy,omitempty"`
	UseClientProtocol        bool            `json:"useClientProtocol,omitempty"`
	MaxConcurrentStreams     int32           `json:"maxConcurrentStreams,omitempty"`
	HTTP2KeepAlive           *HTTP2KeepAlive `json:"http2KeepAlive,omitempty"`
}

// HTTP2KeepAlive pings connections of HTTP/2.
type HTTP2KeepAlive struct {
	Interval string `json:"interval,omitempty"`
	Timeout  string `json:"timeout,omitempty"`
}

// OutlierDetection leaves hosts out that fail.
type OutlierDetection struct {
	ConsecutiveErrors              int32    `json:"consecutiveErrors,omitempty"`
	SplitExternalLocalOriginErrors bool     `json:"splitExternalLocalOriginErrors,omitempty"`
	ConsecutiveLocalOriginFailures *uint32  `json:"consecutiveLocalOriginFailures,omitempty"`
	ConsecutiveGatewayErrors       *uint32  `json:"consecutiveGatewayErrors,omitempty"`
	Consecutive5xxErrors           *uint32  `json:"consecutive5xxErrors,omitempty"`
	Interval                       string   `json:"interval,omitempty"`
	BaseEjectionTime               string   `json:"baseEjectionTime,omitempty"`
	MaxEjectionPercent             int32    `json:"maxEjectionPercent,omitempty"`
	MinHealthPercent               int32    `json:"minHealthPercent,omitempty"`
	OutlierDetectionHTTPErrorCodes []uint32 `json:"outlierDetectionHttpErrorCodes,omitempty"`
}

// ClientTLS is how TLS is begun.
type ClientTLS struct {
	// Mode is DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL.
	Mode               string   `json:"mode,omitempty"`
	ClientCertificate  string   `json:"clientCertificate,omitempty"`
	PrivateKey         string   `json:"privateKey,omitempty"`
	CACertificates     string   `json:"caCertificates,omitempty"`
	CredentialName     string   `json:"credentialName,omitempty"`
	SubjectAltNames    []string `json:"subjectAltNames,omitempty"`
	SNI                string   `json:"sni,omitempty"`
	InsecureSkipVerify *bool    `json:"insecureSkipVerify,omitempty"`
	CACrl              string   `json:"caCrl,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *DestinationRule) DeepCopyObject() runtime.Object { return deep(o) }
