// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"weir.dev/weir/control/api/deep"
)

// A Backend is a set of endpoints outside of Kubernetes' Services, to which routes can
// refer as they do to a Service.
type Backend struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BackendSpec `json:"spec"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *Backend) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// BackendSpec says where a Backend's endpoints are. Type is Endpoints, the default, or
// DynamicResolver: whatever host a request names.
type BackendSpec struct {
	Type         *string           `json:"type,omitempty"`
	Endpoints    []BackendEndpoint `json:"endpoints,omitempty"`
	AppProtocols []string          `json:"appProtocols,omitempty"`
	Fallback     *bool             `json:"fallback,omitempty"`
	TLS          map[string]any    `json:"tls,omitempty"`
}

// A BackendEndpoint has exactly one of fqdn, ip and unix.
type BackendEndpoint struct {
	Hostname *string       `json:"hostname,omitempty"`
	FQDN     *FQDNEndpoint `json:"fqdn,omitempty"`
	IP       *IPEndpoint   `json:"ip,omitempty"`
	Unix     *UnixSocket   `json:"unix,omitempty"`
	Zone     *string       `json:"zone,omitempty"`
}

// FQDNEndpoint is a host name and a port.
type FQDNEndpoint struct {
	Hostname string `json:"hostname"`
	Port     int32  `json:"port"`
}

// IPEndpoint is an address and a port.
type IPEndpoint struct {
	Address string `json:"address"`
	Port    int32  `json:"port"`
}

// UnixSocket is a socket on the proxy's own machine.
type UnixSocket struct {
	Path string `json:"path"`
}
