// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"bytes"
	"encoding/json"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// EnvoyProxySpec is what an EnvoyProxy says.
type EnvoyProxySpec struct {
	Provider           *ProxyProvider   `json:"provider,omitempty"`
	Logging            *ProxyLogging    `json:"logging,omitempty"`
	Telemetry          *ProxyTelemetry  `json:"telemetry,omitempty"`
	Bootstrap          *ProxyBootstrap  `json:"bootstrap,omitempty"`
	Concurrency        *int32           `json:"concurrency,omitempty"`
	RoutingType        *string          `json:"routingType,omitempty"`
	ExtraArgs          []string         `json:"extraArgs,omitempty"`
	MergeGateways      *bool            `json:"mergeGateways,omitempty"`
	MergeBackends      map[string]any   `json:"mergeBackends,omitempty"`
	Shutdown           *Shutdown        `json:"shutdown,omitempty"`
	FilterOrder        []FilterPosition `json:"filterOrder,omitempty"`
	BackendTLS         *ProxyBackendTLS `json:"backendTLS,omitempty"`
	IPFamily           *string          `json:"ipFamily,omitempty"`
	PreserveRouteOrder *bool            `json:"preserveRouteOrder,omitempty"`
	LuaValidation      *string          `json:"luaValidation,omitempty"`
	Lua                map[string]any   `json:"lua,omitempty"`
	DynamicModules     []map[string]any `json:"dynamicModules,omitempty"`
	GeoIP              map[string]any   `json:"geoIP,omitempty"`
	MergeType          *string          `json:"mergeType,omitempty"`
}

// FilterPosition puts the filters of a name before those of another, or after them.
type FilterPosition struct {
	Name   string  `json:"name"`
	Before *string `json:"before,omitempty"`
	After  *string `json:"after,omitempty"`
}

// ProxyBackendTLS is how backends are spoken to in TLS.
type ProxyBackendTLS struct {
	ClientCertificateRef *gwapiv1.SecretObjectReference `json:"clientCertificateRef,omitempty"`
	MinVersion           *string                        `json:"minVersion,omitempty"`
	MaxVersion           *string                        `json:"maxVersion,omitempty"`
	Ciphers              []string                       `json:"ciphers,omitempty"`
	ECDHCurves           []string                       `json:"ecdhCurves,omitempty"`
	SignatureAlgorithms  []string                       `json:"signatureAlgorithms,omitempty"`
	ALPNProtocols        []string                       `json:"alpnProtocols,omitempty"`
	Fingerprints         []string                       `json:"fingerprints,omitempty"`
}

// ProxyProvider is who runs proxies. Type is Kubernetes or Host.
type ProxyProvider struct {
	Type       string              `json:"type"`
	Kubernetes *KubernetesProvider `json:"kubernetes,omitempty"`
	Host       map[string]any      `json:"host,omitempty"`
}

// KubernetesProvider runs them in a cluster.
type KubernetesProvider struct {
	EnvoyDeployment                *DeploymentSpec `json:"envoyDeployment,omitempty"`
	EnvoyDaemonSet                 *DaemonSetSpec  `json:"envoyDaemonSet,omitempty"`
	EnvoyService                   *ServiceSpec    `json:"envoyService,omitempty"`
	EnvoyHpa                       *HpaSpec        `json:"envoyHpa,omitempty"`
	UseListenerPortAsContainerPort *bool           `json:"useListenerPortAsContainerPort,omitempty"`
	EnvoyPDB                       *PDBSpec        `json:"envoyPDB,omitempty"`
	EnvoyServiceAccount            *AccountSpec    `json:"envoyServiceAccount,omitempty"`
}

// DeploymentSpec is of the proxies' Deployment.
type DeploymentSpec struct {
	Patch          *Patch           `json:"patch,omitempty"`
	Replicas       *int32           `json:"replicas,omitempty"`
	Strategy       map[string]any   `json:"strategy,omitempty"`
	Pod            *PodSpec         `json:"pod,omitempty"`
	Container      *ContainerSpec   `json:"container,omitempty"`
	InitContainers []map[string]any `json:"initContainers,omitempty"`
	Name           *string          `json:"name,omitempty"`
}

// DaemonSetSpec is of the proxies' DaemonSet.
type DaemonSetSpec struct {
	Patch     *Patch         `json:"patch,omitempty"`
	Strategy  map[string]any `json:"strategy,omitempty"`
	Pod       *PodSpec       `json:"pod,omitempty"`
	Container *ContainerSpec `json:"container,omitempty"`
	Name      *string        `json:"name,omitempty"`
}

// AccountSpec is of the proxies' service account.
type AccountSpec struct {
	Name *string `json:"name,omitempty"`
}

// PodSpec is of the proxies' Pods.
type PodSpec struct {
	Annotations               map[string]string `json:"annotations,omitempty"`
	Labels                    map[string]string `json:"labels,omitempty"`
	SecurityContext           map[string]any    `json:"securityContext,omitempty"`
	Affinity                  map[string]any    `json:"affinity,omitempty"`
	Tolerations               []map[string]any  `json:"tolerations,omitempty"`
	Volumes                   []map[string]any  `json:"volumes,omitempty"`
	ImagePullSecrets          []map[string]any  `json:"imagePullSecrets,omitempty"`
	NodeSelector              map[string]string `json:"nodeSelector,omitempty"`
	TopologySpreadConstraints []map[string]any  `json:"topologySpreadConstraints,omitempty"`
	PriorityClassName         *string           `json:"priorityClassName,omitempty"`
}

// ContainerSpec is of the proxies' container.
type ContainerSpec struct {
	Env             []map[string]any `json:"env,omitempty"`
	Resources       *Resources       `json:"resources,omitempty"`
	SecurityContext map[string]any   `json:"securityContext,omitempty"`
	Image           *string          `json:"image,omitempty"`
	ImageRepository *string          `json:"imageRepository,omitempty"`
	VolumeMounts    []map[string]any `json:"volumeMounts,omitempty"`
}

// Resources of a container, as quantities.
type Resources struct {
	Requests map[string]Quantity `json:"requests,omitempty"`
	Limits   map[string]Quantity `json:"limits,omitempty"`
	Claims   []map[string]any    `json:"claims,omitempty"`
}

// A Quantity is a text or a number, such as 500m or 1. It is a struct, as of a kind of text
// the conversion of objects takes no number.
type Quantity struct{ text string }

// String is the text, or the number as one.
func (q Quantity) String() string { return q.text }

// MarshalJSON writes a text.
func (q Quantity) MarshalJSON() ([]byte, error) { return json.Marshal(q.text) }

// UnmarshalJSON reads either form.
func (q *Quantity) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &q.text) != nil {
		q.text = string(bytes.TrimSpace(data))
	}
	return nil
}

// ServiceSpec is of what leads to the proxies.
type ServiceSpec struct {
	Annotations                   map[string]string `json:"annotations,omitempty"`
	Labels                        map[string]string `json:"labels,omitempty"`
	Type                          *string           `json:"type,omitempty"`
	LoadBalancerClass             *string           `json:"loadBalancerClass,omitempty"`
	AllocateLoadBalancerNodePorts *bool             `json:"allocateLoadBalancerNodePorts,omitempty"`
	LoadBalancerSourceRanges      []string          `json:"loadBalancerSourceRanges,omitempty"`
	LoadBalancerIP                *string           `json:"loadBalancerIP,omitempty"`
	ExternalTrafficPolicy         *string           `json:"externalTrafficPolicy,omitempty"`
	Patch                         *Patch            `json:"patch,omitempty"`
	Name                          *string           `json:"name,omitempty"`
}

// HpaSpec has the number of proxies follow their load.
type HpaSpec struct {
	MinReplicas *int32           `json:"minReplicas,omitempty"`
	MaxReplicas *int32           `json:"maxReplicas,omitempty"`
	Metrics     []map[string]any `json:"metrics,omitempty"`
	Behavior    map[string]any   `json:"behavior,omitempty"`
	Patch       *Patch           `json:"patch,omitempty"`
	Name        *string          `json:"name,omitempty"`
}

// PDBSpec bounds how many proxies may be taken away; numbers, or percentages.
type PDBSpec struct {
	MinAvailable   *Quantity `json:"minAvailable,omitempty"`
	MaxUnavailable *Quantity `json:"maxUnavailable,omitempty"`
	Patch          *Patch    `json:"patch,omitempty"`
	Name           *string   `json:"name,omitempty"`
}

// A Patch of an object. Type is StrategicMerge or JSONMerge.
type Patch struct {
	Type  *string        `json:"type,omitempty"`
	Value map[string]any `json:"value"`
}

// ProxyLogging says how much proxies tell, by component.
type ProxyLogging struct {
	Level map[string]string `json:"level,omitempty"`
}

// ProxyBootstrap changes what proxies start with: its value, or until v0.5 a text. Type is
// Replace, the default, Merge or JSONPatch.
type ProxyBootstrap struct {
	Type        *string     `json:"type,omitempty"`
	Value       *string     `json:"value,omitempty"`
	JSONPatches []JSONPatch `json:"jsonPatches,omitempty"`
}

// A JSONPatch is an operation of RFC 6902, at Path or at what JSONPath finds.
type JSONPatch struct {
	Op       string  `json:"op"`
	Path     *string `json:"path,omitempty"`
	JSONPath *string `json:"jsonPath,omitempty"`
	From     *string `json:"from,omitempty"`
	Value    any     `json:"value,omitempty"`
}

// UnmarshalJSON reads either form.
func (b *ProxyBootstrap) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*b = ProxyBootstrap{Value: &text}
		return nil
	}
	type plain ProxyBootstrap
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode((*plain)(b))
}

// Shutdown is how proxies end.
type Shutdown struct {
	HealthCheckFailureDelay *gwapiv1.Duration `json:"healthCheckFailureDelay,omitempty"`
	DrainTimeout            *gwapiv1.Duration `json:"drainTimeout,omitempty"`
	MinDrainDuration        *gwapiv1.Duration `json:"minDrainDuration,omitempty"`
}

// ProxyTelemetry is what proxies tell of requests.
type ProxyTelemetry struct {
	AccessLog      *ProxyAccessLog `json:"accessLog,omitempty"`
	Tracing        *ProxyTracing   `json:"tracing,omitempty"`
	Metrics        *ProxyMetrics   `json:"metrics,omitempty"`
	RequestID      *RequestID      `json:"requestID,omitempty"`
	HealthCheckLog map[string]any  `json:"healthCheckLog,omitempty"`
}

// RequestID says what the id of a request tells of its trace.
type RequestID struct {
	Tracing *string `json:"tracing,omitempty"`
}

// ProxyAccessLog is what is logged.
type ProxyAccessLog struct {
	Disable  *bool              `json:"disable,omitempty"`
	Settings []AccessLogSetting `json:"settings,omitempty"`
}

// An AccessLogSetting is one format and where it goes. Type is Listener, Route or
// Upstream; without it, both of the first.
type AccessLogSetting struct {
	Format  *AccessLogFormat `json:"format,omitempty"`
	Matches []string         `json:"matches,omitempty"`
	Sinks   []AccessLogSink  `json:"sinks"`
	Type    *string          `json:"type,omitempty"`
}

// AccessLogFormat is how a record is written. Type is Text or JSON.
type AccessLogFormat struct {
	Type *string           `json:"type,omitempty"`
	Text *string           `json:"text,omitempty"`
	JSON map[string]string `json:"json,omitempty"`
}

// An AccessLogSink is where records go. Type is File, ALS or OpenTelemetry.
type AccessLogSink struct {
	Type          string                  `json:"type,omitempty"`
	ALS           *ALSSink                `json:"als,omitempty"`
	File          *FileSink               `json:"file,omitempty"`
	OpenTelemetry *OpenTelemetryAccessLog `json:"openTelemetry,omitempty"`
}

// FileSink is a path.
type FileSink struct {
	Path string `json:"path,omitempty"`
}

// ALSSink is a service of Envoy's access log protocol. Type is HTTP or TCP.
type ALSSink struct {
	BackendCluster `json:",inline"`

	LogName *string  `json:"logName,omitempty"`
	Type    string   `json:"type"`
	HTTP    *ALSHTTP `json:"http,omitempty"`
}

// ALSHTTP are headers that records have.
type ALSHTTP struct {
	RequestHeaders   []string `json:"requestHeaders,omitempty"`
	ResponseHeaders  []string `json:"responseHeaders,omitempty"`
	ResponseTrailers []string `json:"responseTrailers,omitempty"`
}

// OpenTelemetryAccessLog is a collector. Host and Port are the earlier form of the
// BackendCluster, Resources of ResourceAttributes.
type OpenTelemetryAccessLog struct {
	BackendCluster `json:",inline"`

	Host               *string              `json:"host,omitempty"`
	Port               *int32               `json:"port,omitempty"`
	Resources          map[string]string    `json:"resources,omitempty"`
	ResourceAttributes map[string]string    `json:"resourceAttributes,omitempty"`
	Headers            []gwapiv1.HTTPHeader `json:"headers,omitempty"`
}

// ProxyTracing says which requests are traced, and where it is told.
type ProxyTracing struct {
	Tracing `json:",inline"`

	// SamplingRate in percent is the earlier form of SamplingFraction.
	SamplingRate *uint32         `json:"samplingRate,omitempty"`
	Provider     TracingProvider `json:"provider"`
}

// TracingProvider is who is told. Type is OpenTelemetry, Zipkin or Datadog; until v0.5
// it could be left out, and was OpenTelemetry.
type TracingProvider struct {
	BackendCluster `json:",inline"`

	Type          string         `json:"type,omitempty"`
	Host          *string        `json:"host,omitempty"`
	Port          *int32         `json:"port,omitempty"`
	ServiceName   *string        `json:"serviceName,omitempty"`
	Zipkin        *TracingZipkin `json:"zipkin,omitempty"`
	OpenTelemetry *TracingOTel   `json:"openTelemetry,omitempty"`
}

// TracingOTel is what a collector is told besides.
type TracingOTel struct {
	Headers            []gwapiv1.HTTPHeader `json:"headers,omitempty"`
	ResourceAttributes map[string]string    `json:"resourceAttributes,omitempty"`
	Sampler            *TracingSampler      `json:"sampler,omitempty"`
}

// TracingSampler decides which traces are told. Type is AlwaysOn, AlwaysOff, TraceIdRatio,
// or one of these after ParentBased.
type TracingSampler struct {
	Type               string            `json:"type"`
	SamplingPercentage *gwapiv1.Fraction `json:"samplingPercentage,omitempty"`
}

// TracingZipkin is how spans are told to Zipkin's collector.
type TracingZipkin struct {
	Enable128BitTraceID      *bool `json:"enable128BitTraceId,omitempty"`
	DisableSharedSpanContext *bool `json:"disableSharedSpanContext,omitempty"`
}

// ProxyMetrics is what proxies count, and who is told.
type ProxyMetrics struct {
	Prometheus                      *Prometheus   `json:"prometheus,omitempty"`
	Sinks                           []MetricSink  `json:"sinks,omitempty"`
	Matches                         []StringMatch `json:"matches,omitempty"`
	EnableVirtualHostStats          *bool         `json:"enableVirtualHostStats,omitempty"`
	EnablePerEndpointStats          *bool         `json:"enablePerEndpointStats,omitempty"`
	EnableRequestResponseSizesStats *bool         `json:"enableRequestResponseSizesStats,omitempty"`
	EnableGRPCStats                 *bool         `json:"enableGRPCStats,omitempty"`
	ClusterStatName                 *string       `json:"clusterStatName,omitempty"`
}

// A MetricSink is sent statistics. Type is OpenTelemetry.
type MetricSink struct {
	Type          string             `json:"type,omitempty"`
	OpenTelemetry *OpenTelemetrySink `json:"openTelemetry,omitempty"`
}

// OpenTelemetrySink is a collector. Host and Port are the earlier form of the BackendCluster.
type OpenTelemetrySink struct {
	BackendCluster `json:",inline"`

	Host                     *string              `json:"host,omitempty"`
	Port                     *int32               `json:"port,omitempty"`
	ReportCountersAsDeltas   *bool                `json:"reportCountersAsDeltas,omitempty"`
	ReportHistogramsAsDeltas *bool                `json:"reportHistogramsAsDeltas,omitempty"`
	Headers                  []gwapiv1.HTTPHeader `json:"headers,omitempty"`
	ResourceAttributes       map[string]string    `json:"resourceAttributes,omitempty"`
}

// Prometheus is how it asks.
type Prometheus struct {
	Disable     bool         `json:"disable,omitempty"`
	Compression *Compression `json:"compression,omitempty"`
}
