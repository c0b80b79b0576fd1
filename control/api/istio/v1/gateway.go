// SPDX-License-Identifier: Apache-2.0

package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// A Gateway is ports of the proxies that its selector chooses.
type Gateway struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   GatewaySpec `json:"spec,omitempty"`
	Status Status      `json:"status,omitempty"`
}

// GatewaySpec says which ports.
type GatewaySpec struct {
	Servers  []Server          `json:"servers,omitempty"`
	Selector map[string]string `json:"selector,omitempty"`
}

// Server is a port, and hosts that it serves.
type Server struct {
	Port            *Port      `json:"port,omitempty"`
	Bind            string     `json:"bind,omitempty"`
	Hosts           []string   `json:"hosts,omitempty"`
	TLS             *ServerTLS `json:"tls,omitempty"`
	DefaultEndpoint string     `json:"defaultEndpoint,omitempty"`
	Name            string     `json:"name,omitempty"`
}

// Port is a port with its protocol: HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS.
type Port struct {
	Number     uint32 `json:"number,omitempty"`
	Protocol   string `json:"protocol,omitempty"`
	Name       string `json:"name,omitempty"`
	TargetPort uint32 `json:"targetPort,omitempty"`
}

// ServerTLS is how TLS is terminated, or not.
type ServerTLS struct {
	HTTPSRedirect bool `json:"httpsRedirect,omitempty"`
	// Mode is PASSTHROUGH, SIMPLE, MUTUAL, AUTO_PASSTHROUGH, ISTIO_MUTUAL or OPTIONAL_MUTUAL.
	Mode                  string           `json:"mode,omitempty"`
	ServerCertificate     string           `json:"serverCertificate,omitempty"`
	PrivateKey            string           `json:"privateKey,omitempty"`
	CACertificates        string           `json:"caCertificates,omitempty"`
	CACrl                 string           `json:"caCrl,omitempty"`
	CredentialName        string           `json:"credentialName,omitempty"`
	CredentialNames       []string         `json:"credentialNames,omitempty"`
	CACertCredentialName  string           `json:"caCertCredentialName,omitempty"`
	TLSCertificates       []TLSCertificate `json:"tlsCertificates,omitempty"`
	SubjectAltNames       []string         `json:"subjectAltNames,omitempty"`
	VerifyCertificateSpki []string         `json:"verifyCertificateSpki,omitempty"`
	VerifyCertificateHash []string         `json:"verifyCertificateHash,omitempty"`
	// The versions are TLS_AUTO, TLSV1_0, TLSV1_1, TLSV1_2 and TLSV1_3.
	MinProtocolVersion string   `json:"minProtocolVersion,omitempty"`
	MaxProtocolVersion string   `json:"maxProtocolVersion,omitempty"`
	CipherSuites       []string `json:"cipherSuites,omitempty"`
	InsecureSkipVerify *bool    `json:"insecureSkipVerify,omitempty"`
}

// TLSCertificate is a certificate in files of the proxy.
type TLSCertificate struct {
	ServerCertificate string `json:"serverCertificate,omitempty"`
	PrivateKey        string `json:"privateKey,omitempty"`
	CACertificates    string `json:"caCertificates,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *Gateway) DeepCopyObject() runtime.Object { return deep(o) }

// A ServiceEntry is a service that Kubernetes does not know.
type ServiceEntry struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ServiceEntrySpec `json:"spec,omitempty"`
	Status Status           `json:"status,omitempty"`
}

// ServiceEntrySpec says under which names, and where.
type ServiceEntrySpec struct {
	Hosts     []string      `json:"hosts,omitempty"`
	Addresses []string      `json:"addresses,omitempty"`
	Ports     []ServicePort `json:"ports,omitempty"`
	// Location is MESH_EXTERNAL or MESH_INTERNAL.
	Location string `json:"location,omitempty"`
	// Resolution is NONE, STATIC, DNS, DNS_ROUND_ROBIN or DYNAMIC_DNS.
	Resolution       string              `json:"resolution,omitempty"`
	Endpoints        []WorkloadEntrySpec `json:"endpoints,omitempty"`
	WorkloadSelector *LabelsSelector     `json:"workloadSelector,omitempty"`
	ExportTo         []string            `json:"exportTo,omitempty"`
	SubjectAltNames  []string            `json:"subjectAltNames,omitempty"`
}

// LabelsSelector chooses workloads by their labels.
type LabelsSelector struct {
	Labels map[string]string `json:"labels,omitempty"`
}

// ServicePort is a port of a service.
type ServicePort struct {
	Number     uint32 `json:"number,omitempty"`
	Protocol   string `json:"protocol,omitempty"`
	Name       string `json:"name,omitempty"`
	TargetPort uint32 `json:"targetPort,omitempty"`
}

// WorkloadEntrySpec is one endpoint.
type WorkloadEntrySpec struct {
	Address        string            `json:"address,omitempty"`
	Ports          map[string]uint32 `json:"ports,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	Network        string            `json:"network,omitempty"`
	Locality       string            `json:"locality,omitempty"`
	Weight         uint32            `json:"weight,omitempty"`
	ServiceAccount string            `json:"serviceAccount,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *ServiceEntry) DeepCopyObject() runtime.Object { return deep(o) }

// A WorkloadEntry is an endpoint that ServiceEntries choose.
type WorkloadEntry struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   WorkloadEntrySpec `json:"spec,omitempty"`
	Status Status            `json:"status,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *WorkloadEntry) DeepCopyObject() runtime.Object { return deep(o) }
