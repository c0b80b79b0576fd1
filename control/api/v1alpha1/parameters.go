// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"weir.dev/weir/control/api/deep"
)

// GatewayParameters say how the proxies of Gateways are run that a control plane
// provisions. A GatewayClass or a Gateway refers to them by parametersRef; each field
// that the Gateway's leave out is as the class's have it.
type GatewayParameters struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec GatewayParametersSpec `json:"spec"`
}

// GatewayParametersSpec says how proxies are run.
type GatewayParametersSpec struct {
	// Replicas is the number of proxies; the default is 1. It excludes Autoscaling.
	Replicas *int32 `json:"replicas,omitempty"`
	// Image of the proxies; the default is the control plane's --proxy-image.
	Image *string `json:"image,omitempty"`
	// LogLevel of the proxies; the default is info.
	LogLevel *string `json:"logLevel,omitempty"`
	// DrainSeconds is how long a proxy that ends may finish requests; the default is 60.
	DrainSeconds *int32 `json:"drainSeconds,omitempty"`
	// PreStopSeconds is how long a proxy that is to end goes on as before, until the cluster sends
	// it no more; the default is 5.
	PreStopSeconds *int32 `json:"preStopSeconds,omitempty"`
	// Metrics are the statistics that each proxy tells Prometheus, at /stats/prometheus of port 19001.
	Metrics *MetricsParameters `json:"metrics,omitempty"`
	// Resources of the proxy's container.
	Resources *Resources `json:"resources,omitempty"`
	// NodeSelector of the proxies' Pods.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Service is what leads to the proxies.
	Service *ServiceParameters `json:"service,omitempty"`
	// Autoscaling has the number of proxies follow their load.
	Autoscaling *AutoscalingParameters `json:"autoscaling,omitempty"`
	// DisruptionBudget bounds how many proxies may be taken away at a time on purpose.
	DisruptionBudget *DisruptionBudgetParameters `json:"disruptionBudget,omitempty"`
	// Workload is what the proxies' Pods are of: Deployment, the default, or DaemonSet, which
	// has one on each node and excludes Replicas and Autoscaling.
	Workload *string `json:"workload,omitempty"`
	// Args follow Weir's own on the proxies' command line: see weir proxy --help.
	Args []string `json:"args,omitempty"`
	// Bootstrap changes what proxies start from.
	Bootstrap *BootstrapParameters `json:"bootstrap,omitempty"`
	// Names of objects by kind, such as Service: edge; by default all are called after the
	// Gateway and its class. That of the ServiceAccount is how the control plane knows
	// proxies, and stays.
	Names map[string]string `json:"names,omitempty"`
	// Patches of objects, each applied to what those before it made.
	Patches []ObjectPatch `json:"patches,omitempty"`
	// MergeGateways has all Gateways of a class share its proxies. It is for the parameters
	// of a GatewayClass; a Gateway's own cannot have it.
	MergeGateways *bool `json:"mergeGateways,omitempty"`
}

// MetricsParameters say which statistics proxies have, and how they tell them.
type MetricsParameters struct {
	// Disable has proxies tell none.
	Disable bool `json:"disable,omitempty"`
	// Compression of what is told to who takes it so: gzip, brotli or zstd; by default there is none.
	Compression *string `json:"compression,omitempty"`
	// MinCompressed is the smallest size, in bytes, that is compressed; the default is 30.
	MinCompressed *uint32 `json:"minCompressed,omitempty"`
	// Include are the names of those that are kept; none is all.
	Include []NameMatch `json:"include,omitempty"`
	// Sinks are sent them, as an EnvoyProxy says: each is a StatsSink of Envoy's bootstrap, in JSON.
	Sinks []string `json:"-"`
}

// A NameMatch matches names by one of its fields. Regex is RE2's, of whole names.
type NameMatch struct {
	Exact  *string `json:"exact,omitempty"`
	Prefix *string `json:"prefix,omitempty"`
	Suffix *string `json:"suffix,omitempty"`
	Regex  *string `json:"regex,omitempty"`
}

// BootstrapParameters change what proxies start from, which is in terms of Envoy's
// bootstrap. How they reach the control plane, and where their admin is, stays.
type BootstrapParameters struct {
	// Type is Merge, the default, which merges Value over Weir's: lists have both; Replace,
	// which takes Value in its place; or JSONPatch.
	Type *string `json:"type,omitempty"`
	// Value is YAML.
	Value *string `json:"value,omitempty"`
	// JSONPatches are operations of RFC 6902.
	JSONPatches []JSONPatchOperation `json:"jsonPatches,omitempty"`
}

// A JSONPatchOperation is one of RFC 6902.
type JSONPatchOperation struct {
	Op   string  `json:"op"`
	Path string  `json:"path"`
	From *string `json:"from,omitempty"`
	// Value is any JSON.
	Value any `json:"value,omitempty"`
}

// An ObjectPatch changes one of the objects that the proxies of a Gateway are.
type ObjectPatch struct {
	// Kind is Deployment, DaemonSet, Service, ServiceAccount, HorizontalPodAutoscaler or
	// PodDisruptionBudget.
	Kind string `json:"kind"`
	// Type is StrategicMerge, the default, as kubectl patch has it, or JSONMerge (RFC 7386).
	Type *string `json:"type,omitempty"`
	// Value is a part of the object. The proxy's container is called proxy.
	Value map[string]any `json:"value"`
}

// Resources are a container's, as quantities: cpu: 500m.
type Resources struct {
	Requests map[string]string `json:"requests,omitempty"`
	Limits   map[string]string `json:"limits,omitempty"`
}

// ServiceParameters say what leads to the proxies.
type ServiceParameters struct {
	// Type is LoadBalancer, the default, NodePort or ClusterIP.
	Type *string `json:"type,omitempty"`
	// Annotations, for who gives addresses; those of the Gateway win.
	Annotations map[string]string `json:"annotations,omitempty"`
	// LoadBalancerClass is who gives addresses.
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`
	// ExternalTrafficPolicy is Cluster or Local, of a LoadBalancer; Local keeps the
	// client's address.
	ExternalTrafficPolicy *string `json:"externalTrafficPolicy,omitempty"`
}

// AutoscalingParameters bound the number of proxies.
type AutoscalingParameters struct {
	// MinReplicas is 1 by default.
	MinReplicas *int32 `json:"minReplicas,omitempty"`
	MaxReplicas int32  `json:"maxReplicas"`
	// CPUPercent of the CPU requested is what proxies are to use on average; 80 by default.
	CPUPercent *int32 `json:"cpuPercent,omitempty"`
}

// DisruptionBudgetParameters bound how many proxies may be taken away at a time.
type DisruptionBudgetParameters struct {
	MaxUnavailable int32 `json:"maxUnavailable"`
}

// Over returns s, and the fields of base that s leaves out.
func (s GatewayParametersSpec) Over(base GatewayParametersSpec) GatewayParametersSpec {
	if s.Replicas == nil && s.Autoscaling == nil {
		// They exclude each other: who sets one leaves the other out on purpose.
		s.Replicas, s.Autoscaling = base.Replicas, base.Autoscaling
	}
	s.Image = cmp.Or(s.Image, base.Image)
	s.LogLevel = cmp.Or(s.LogLevel, base.LogLevel)
	s.DrainSeconds = cmp.Or(s.DrainSeconds, base.DrainSeconds)
	s.PreStopSeconds = cmp.Or(s.PreStopSeconds, base.PreStopSeconds)
	s.Metrics = cmp.Or(s.Metrics, base.Metrics)
	s.Resources = cmp.Or(s.Resources, base.Resources)
	s.Service = cmp.Or(s.Service, base.Service)
	s.DisruptionBudget = cmp.Or(s.DisruptionBudget, base.DisruptionBudget)
	s.Workload = cmp.Or(s.Workload, base.Workload)
	s.Bootstrap = cmp.Or(s.Bootstrap, base.Bootstrap)
	s.MergeGateways = cmp.Or(s.MergeGateways, base.MergeGateways)
	if s.NodeSelector == nil {
		s.NodeSelector = base.NodeSelector
	}
	if s.Args == nil {
		s.Args = base.Args
	}
	if s.Names == nil {
		s.Names = base.Names
	}
	if s.Patches == nil {
		s.Patches = base.Patches
	}
	return s
}

// DeepCopyObject returns a copy that shares nothing.
func (p *GatewayParameters) DeepCopyObject() runtime.Object { return deep.Copy(p) }
