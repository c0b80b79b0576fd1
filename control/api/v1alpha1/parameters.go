// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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
}

// Resources are a container's, as quantities: cpu: 500m.
type Resources struct {
	Requests map[string]string `json:"requests,omitempty"`
	Limits   map[string]string `json:"limits,omitempty"`
}

// ServiceParameters say what leads to the proxies.
type ServiceParameters struct {
	// Type is LoadBalancer, the default, or ClusterIP.
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
	s.Resources = cmp.Or(s.Resources, base.Resources)
	s.Service = cmp.Or(s.Service, base.Service)
	s.DisruptionBudget = cmp.Or(s.DisruptionBudget, base.DisruptionBudget)
	if s.NodeSelector == nil {
		s.NodeSelector = base.NodeSelector
	}
	return s
}

// DeepCopyObject returns a copy that shares nothing.
func (p *GatewayParameters) DeepCopyObject() runtime.Object {
	out := &GatewayParameters{TypeMeta: p.TypeMeta, ObjectMeta: *p.ObjectMeta.DeepCopy(), Spec: p.Spec}
	s := &out.Spec
	s.Replicas, s.Image, s.LogLevel, s.DrainSeconds = clone(s.Replicas), clone(s.Image), clone(s.LogLevel), clone(s.DrainSeconds)
	s.NodeSelector, s.DisruptionBudget = maps.Clone(s.NodeSelector), clone(s.DisruptionBudget)
	if s.Resources != nil {
		s.Resources = &Resources{maps.Clone(s.Resources.Requests), maps.Clone(s.Resources.Limits)}
	}
	if v := s.Service; v != nil {
		s.Service = &ServiceParameters{clone(v.Type), maps.Clone(v.Annotations), clone(v.LoadBalancerClass), clone(v.ExternalTrafficPolicy)}
	}
	if a := s.Autoscaling; a != nil {
		s.Autoscaling = &AutoscalingParameters{clone(a.MinReplicas), a.MaxReplicas, clone(a.CPUPercent)}
	}
	return out
}
