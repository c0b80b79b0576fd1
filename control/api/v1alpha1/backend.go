// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/deep"
)

// A Backend is a set of endpoints outside of Kubernetes' Services, to which routes
// can refer as they do to a Service.
type Backend struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   BackendSpec   `json:"spec"`
	Status BackendStatus `json:"status,omitzero"`
}

// DeepCopyObject returns a copy that shares nothing.
func (b *Backend) DeepCopyObject() runtime.Object { return deep.Copy(b) }

// The types of Backends.
const (
	// BackendEndpoints lists where the requests go. It is the default.
	BackendEndpoints = "Endpoints"
	// BackendDynamicResolver looks up whatever host a request names: it can lead anywhere
	// that proxies can reach.
	BackendDynamicResolver = "DynamicResolver"
)

// BackendSpec says where a Backend's endpoints are.
type BackendSpec struct {
	// Type is BackendEndpoints or BackendDynamicResolver.
	Type *string `json:"type,omitempty"`
	// Endpoints share the requests. All are of one form: host names, or addresses.
	// There is at least one, unless Type is BackendDynamicResolver.
	Endpoints []BackendEndpoint `json:"endpoints,omitempty"`
	// AppProtocol is spoken to the endpoints: one of kubernetes.io/h2c,
	// kubernetes.io/ws and kubernetes.io/wss. The default is HTTP/1.1.
	AppProtocol *string `json:"appProtocol,omitempty"`
	// Fallback has the Backend used only while the other backends of a rule have no
	// healthy endpoint.
	Fallback *bool `json:"fallback,omitempty"`
	// TLS is spoken to the endpoints if it is there.
	TLS *BackendTLS `json:"tls,omitempty"`
}

// BackendTLS says how TLS is spoken. A BackendTLSPolicy for the Backend wins, field by
// field, in what both say of whom to trust.
type BackendTLS struct {
	// CACertificateRefs are ConfigMaps or Secrets whose ca.crt signs the certificates.
	CACertificateRefs []gwapiv1.LocalObjectReference `json:"caCertificateRefs,omitempty"`
	// WellKnownCACertificates is System, or not there.
	WellKnownCACertificates *string `json:"wellKnownCACertificates,omitempty"`
	// InsecureSkipVerify trusts everybody.
	InsecureSkipVerify *bool `json:"insecureSkipVerify,omitempty"`
	// SNI is the server name that is asked for; the default is the host that a request is
	// for. It must be in the certificate.
	SNI *string `json:"sni,omitempty"`
	// AutoSNIFromEndpointHostname takes the name of the endpoint instead.
	AutoSNIFromEndpointHostname *bool `json:"autoSNIFromEndpointHostname,omitempty"`
	// ClientCertificateRef is a Secret with the certificate that is shown.
	ClientCertificateRef *gwapiv1.SecretObjectReference `json:"clientCertificateRef,omitempty"`
	// MinVersion and MaxVersion are Auto, 1.0, 1.1, 1.2 or 1.3.
	MinVersion *string `json:"minVersion,omitempty"`
	MaxVersion *string `json:"maxVersion,omitempty"`
	// Ciphers are for versions up to 1.2, in OpenSSL's names.
	Ciphers    []string `json:"ciphers,omitempty"`
	ECDHCurves []string `json:"ecdhCurves,omitempty"`
	// ALPNProtocols are offered: with both h2 and http/1.1, the backend chooses.
	ALPNProtocols []string `json:"alpnProtocols,omitempty"`
}

// A BackendEndpoint has exactly one of its fields FQDN, IP and Unix.
type BackendEndpoint struct {
	// Hostname is what TLS asks for by autoSNIFromEndpointHostname, and health checks name;
	// the default is the name in FQDN.
	Hostname *string `json:"hostname,omitempty"`
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

// BackendStatus says whether a Backend can be used.
type BackendStatus struct {
	// Conditions are Accepted, with the reason Accepted or Invalid.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The reasons of a Backend's condition Accepted.
const (
	BackendAccepted = "Accepted"
	BackendInvalid  = "Invalid"
)
