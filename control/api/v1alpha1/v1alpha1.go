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

// A Backend is a set of endpoints outside of Kubernetes' Services, to which routes
// can refer as they do to a Service.
type Backend struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BackendSpec `json:"spec"`
}

// BackendSpec says where a Backend's endpoints are.
type BackendSpec struct {
	// Endpoints share the requests. All are of one form: host names, or addresses.
	// There is at least one.
	Endpoints []BackendEndpoint `json:"endpoints"`
	// AppProtocol is spoken to the endpoints: one of kubernetes.io/h2c,
	// kubernetes.io/ws and kubernetes.io/wss. The default is HTTP/1.1.
	AppProtocol *string `json:"appProtocol,omitempty"`
}

// A BackendEndpoint has exactly one of its fields.
type BackendEndpoint struct {
	// FQDN is a host name, which is resolved as its records live.
	FQDN *FQDNEndpoint `json:"fqdn,omitempty"`
	// IP is an address.
	IP *IPEndpoint `json:"ip,omitempty"`
	// Unix is a socket on the proxy's own machine.
	Unix *UnixEndpoint `json:"unix,omitempty"`
	// Zone is where the endpoint is, as in EndpointSlices.
	Zone *string `json:"zone,omitempty"`
}

// FQDNEndpoint is a host name and a port.
type FQDNEndpoint struct {
	Hostname string `json:"hostname"`
	Port     int32  `json:"port"`
}

// IPEndpoint is an IPv4 or IPv6 address and a port.
type IPEndpoint struct {
	Address string `json:"address"`
	Port    int32  `json:"port"`
}

// UnixEndpoint is the path of a socket.
type UnixEndpoint struct {
	Path string `json:"path"`
}

// DeepCopyObject returns a copy that shares nothing.
func (b *Backend) DeepCopyObject() runtime.Object {
	out := &Backend{TypeMeta: b.TypeMeta, ObjectMeta: *b.ObjectMeta.DeepCopy()}
	out.Spec.AppProtocol = clone(b.Spec.AppProtocol)
	for _, e := range b.Spec.Endpoints {
		out.Spec.Endpoints = append(out.Spec.Endpoints, BackendEndpoint{
			FQDN: clone(e.FQDN), IP: clone(e.IP), Unix: clone(e.Unix), Zone: clone(e.Zone),
		})
	}
	return out
}

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
