// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"weir.dev/weir/control/api/deep"
	"weir.dev/weir/control/api/v1alpha1"
)

// A Backend is a set of endpoints outside of Kubernetes' Services, to which routes can
// refer as they do to a Service.
type Backend struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   BackendSpec            `json:"spec"`
	Status v1alpha1.BackendStatus `json:"status,omitzero"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *Backend) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// BackendSpec says where a Backend's endpoints are, as one of Weir's own does.
type BackendSpec struct {
	Type         *string                    `json:"type,omitempty"`
	Endpoints    []v1alpha1.BackendEndpoint `json:"endpoints,omitempty"`
	AppProtocols []string                   `json:"appProtocols,omitempty"`
	Fallback     *bool                      `json:"fallback,omitempty"`
	TLS          *BackendTLS                `json:"tls,omitempty"`
}

// BackendTLS has besides what Weir's own has.
type BackendTLS struct {
	v1alpha1.BackendTLS `json:",inline"`
	SignatureAlgorithms []string `json:"signatureAlgorithms,omitempty"`
	Fingerprints        []string `json:"fingerprints,omitempty"`
}
