// SPDX-License-Identifier: Apache-2.0

// Package envoygateway has the types of Envoy Gateway's objects, in the groups
// gateway.envoyproxy.io and, as it was until v0.5, config.gateway.envoyproxy.io. They
// are written by the schemas of its CRDs, of the current version and of the old ones
// that people still have: a field that only an old one has says so.
//
// The types hold what Weir reads. They do not convert, default or validate: which
// fields are honoured is in the fields.txt of the packages that read them.
package envoygateway

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/deep"
)

// The groups of the objects.
const (
	Group = "gateway.envoyproxy.io"
	// OldGroup had EnvoyProxy and the file EnvoyGateway until v0.5.
	OldGroup = "config.gateway.envoyproxy.io"
)

// Version of the objects in both groups.
const Version = "v1alpha1"

// DefaultController is the controllerName that Envoy Gateway has by default.
const DefaultController = "gateway.envoyproxy.io/gatewayclass-controller"

// Targets are what a policy is attached to.
type Targets struct {
	// TargetRef is the only one there was until v1.1.
	TargetRef  *TargetRef  `json:"targetRef,omitempty"`
	TargetRefs []TargetRef `json:"targetRefs,omitempty"`
	// TargetSelectors find targets by their labels.
	TargetSelectors []TargetSelector `json:"targetSelectors,omitempty"`
}

// A TargetRef names an object, or a section of it: a listener, or a rule of a route.
type TargetRef struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	// Namespace was possible until v1.0, and had to be the policy's own.
	Namespace   *string `json:"namespace,omitempty"`
	SectionName *string `json:"sectionName,omitempty"`
}

// A TargetSelector finds objects of a kind.
type TargetSelector struct {
	// Group is gateway.networking.k8s.io by default.
	Group            *string                           `json:"group,omitempty"`
	Kind             string                            `json:"kind"`
	Namespaces       *TargetNamespaces                 `json:"namespaces,omitempty"`
	MatchLabels      map[string]string                 `json:"matchLabels,omitempty"`
	MatchExpressions []metav1.LabelSelectorRequirement `json:"matchExpressions,omitempty"`
}

// TargetNamespaces says where objects are looked for: From is Same, All or Selector.
type TargetNamespaces struct {
	From     string                `json:"from"`
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// A BackendTrafficPolicy says how requests get to backends.
type BackendTrafficPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   BackendTrafficPolicySpec `json:"spec"`
	Status gwapiv1.PolicyStatus     `json:"status,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *BackendTrafficPolicy) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// A SecurityPolicy says who may send requests.
type SecurityPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   SecurityPolicySpec   `json:"spec"`
	Status gwapiv1.PolicyStatus `json:"status,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *SecurityPolicy) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// A ClientTrafficPolicy says how clients are spoken to.
type ClientTrafficPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ClientTrafficPolicySpec `json:"spec"`
	Status gwapiv1.PolicyStatus    `json:"status,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *ClientTrafficPolicy) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// A Foreign is a policy of a kind that is known, and of which only the targets are
// read: EnvoyPatchPolicy.
type Foreign struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   map[string]any       `json:"spec,omitempty"`
	Status gwapiv1.PolicyStatus `json:"status,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *Foreign) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// An HTTPRouteFilter is what routes refer to by filters of type ExtensionRef.
type HTTPRouteFilter struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec HTTPRouteFilterSpec `json:"spec"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *HTTPRouteFilter) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// A RateLimitFilter limits requests of the rules that refer to it. It was until v0.5.
type RateLimitFilter struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec RateLimit `json:"spec"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *RateLimitFilter) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// An AuthenticationFilter authenticates requests of the rules that refer to it. It was
// until v0.5.
type AuthenticationFilter struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AuthenticationFilterSpec `json:"spec"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *AuthenticationFilter) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// AuthenticationFilterSpec says which tokens are taken. Type is JWT.
type AuthenticationFilterSpec struct {
	Type         string        `json:"type"`
	JWTProviders []JWTProvider `json:"jwtProviders,omitempty"`
}

// An EnvoyProxy says how proxies are run, and what they tell.
type EnvoyProxy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   EnvoyProxySpec `json:"spec,omitempty"`
	Status map[string]any `json:"status,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *EnvoyProxy) DeepCopyObject() runtime.Object { return deep.Copy(o) }
