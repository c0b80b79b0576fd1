// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 has the types of objects that Weir defines itself, in the group
// weir.dev, and of those whose own modules bring more than they are worth:
// ServiceImport of the multi-cluster services API.
//
// The types hold what Weir reads. They do not convert, default or validate.
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// The groups of the objects here.
const (
	Group             = "weir.dev"
	MulticlusterGroup = "multicluster.x-k8s.io"
)

// A ServiceImport is a Service of a set of clusters. Its endpoints are those of the
// EndpointSlices labelled multicluster.kubernetes.io/service-name.
type ServiceImport struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ServiceImportSpec `json:"spec"`
}

// ServiceImportSpec says what ports a ServiceImport has.
type ServiceImportSpec struct {
	Ports []ServiceImportPort `json:"ports"`
	// Type is ClusterSetIP or Headless.
	Type string `json:"type"`
	// IPs of the import, if it has any.
	IPs []string `json:"ips,omitempty"`
}

// ServiceImportPort is a port of a ServiceImport.
type ServiceImportPort struct {
	Name        string  `json:"name,omitempty"`
	Protocol    string  `json:"protocol,omitempty"`
	AppProtocol *string `json:"appProtocol,omitempty"`
	Port        int32   `json:"port"`
}

// DeepCopyObject returns a copy that shares nothing.
func (s *ServiceImport) DeepCopyObject() runtime.Object {
	out := &ServiceImport{TypeMeta: s.TypeMeta, ObjectMeta: *s.ObjectMeta.DeepCopy(), Spec: s.Spec}
	out.Spec.IPs = append([]string(nil), s.Spec.IPs...)
	out.Spec.Ports = nil
	for _, p := range s.Spec.Ports {
		p.AppProtocol = clone(p.AppProtocol)
		out.Spec.Ports = append(out.Spec.Ports, p)
	}
	return out
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
