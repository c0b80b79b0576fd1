// SPDX-License-Identifier: Apache-2.0

// Package v3alpha1 has the types of Emissary-ingress' objects, in the group
// getambassador.io, written by the schemas of its CRDs. Versions v2 and v3alpha1 are
// read into the same types: a field that only one of them has says so, and one that
// has several forms takes all of them.
//
// The types hold what Weir reads. They do not convert, default or validate.
package v3alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"weir.dev/weir/control/api/deep"
)

// Group of the objects.
const Group = "getambassador.io"

// IDs are the installs that an object is for; none is "default", and "_automatic_"
// is all.
type IDs struct {
	AmbassadorID Strings `json:"ambassador_id,omitempty"`
}

// A Listener is a port.
type Listener struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ListenerSpec `json:"spec,omitempty"`
}

// ListenerSpec says what a port speaks, and which Hosts it serves.
type ListenerSpec struct {
	IDs  `json:",inline"`
	Port int32 `json:"port"`
	// Protocol is a short word for a ProtocolStack: HTTP, HTTPS, HTTPPROXY, HTTPSPROXY,
	// TCP or TLS.
	Protocol      string   `json:"protocol,omitempty"`
	ProtocolStack []string `json:"protocolStack,omitempty"`
	// SecurityModel tells which requests are secure: XFP, SECURE or INSECURE.
	SecurityModel string `json:"securityModel"`
	StatsPrefix   string `json:"statsPrefix,omitempty"`
	// L7Depth is how many proxies of HTTP in front are trusted.
	L7Depth                   int32       `json:"l7Depth,omitempty"`
	HTTP2MaxConcurrentStreams *uint32     `json:"http2MaxConcurrentStreams,omitempty"`
	HostBinding               HostBinding `json:"hostBinding"`
}

// HostBinding chooses Hosts.
type HostBinding struct {
	Namespace struct {
		// From is SELF or ALL.
		From string `json:"from,omitempty"`
	} `json:"namespace"`
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *Listener) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// A Host is a host name, and how it is served.
type Host struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   HostSpec   `json:"spec,omitempty"`
	Status HostStatus `json:"status,omitempty"`
}

// HostSpec says what a Host is.
type HostSpec struct {
	IDs      `json:",inline"`
	Hostname string `json:"hostname,omitempty"`
	// Selector is what v2 calls MappingSelector.
	Selector        *metav1.LabelSelector `json:"selector,omitempty"`
	MappingSelector *metav1.LabelSelector `json:"mappingSelector,omitempty"`
	AcmeProvider    *ACMEProvider         `json:"acmeProvider,omitempty"`
	TLSSecret       *SecretReference      `json:"tlsSecret,omitempty"`
	RequestPolicy   *RequestPolicy        `json:"requestPolicy,omitempty"`
	PreviewURL      map[string]any        `json:"previewUrl,omitempty"`
	TLSContext      *Reference            `json:"tlsContext,omitempty"`
	TLS             *TLS                  `json:"tls,omitempty"`
	// AmbassadorIDs of Edge Stack, as v2 also spells them.
	AmbassadorIDCamel Strings `json:"ambassadorId,omitempty"`
}

// A Reference names an object.
type Reference struct {
	Name string `json:"name,omitempty"`
}

// A SecretReference names a Secret, of the object's own namespace if it does not say.
type SecretReference struct {
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// ACMEProvider says who gives certificates.
type ACMEProvider struct {
	Authority        string     `json:"authority,omitempty"`
	Email            string     `json:"email,omitempty"`
	PrivateKeySecret *Reference `json:"privateKeySecret,omitempty"`
	Registration     string     `json:"registration,omitempty"`
}

// RequestPolicy says what becomes of requests that are not secure.
type RequestPolicy struct {
	Insecure struct {
		// Action is Redirect, Reject or Route.
		Action         string `json:"action,omitempty"`
		AdditionalPort *int32 `json:"additionalPort,omitempty"`
	} `json:"insecure,omitempty"`
}

// HostStatus is what became of a Host.
type HostStatus struct {
	TLSCertificateSource string `json:"tlsCertificateSource,omitempty"`
	// State is Ready or Error.
	State       string `json:"state,omitempty"`
	ErrorReason string `json:"errorReason,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *Host) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// TLS is how TLS is terminated or begun, but for the certificate.
type TLS struct {
	CertChainFile         string   `json:"cert_chain_file,omitempty"`
	PrivateKeyFile        string   `json:"private_key_file,omitempty"`
	CASecret              string   `json:"ca_secret,omitempty"`
	CACertChainFile       string   `json:"cacert_chain_file,omitempty"`
	CRLSecret             string   `json:"crl_secret,omitempty"`
	ALPNProtocols         string   `json:"alpn_protocols,omitempty"`
	CertRequired          *bool    `json:"cert_required,omitempty"`
	MinTLSVersion         string   `json:"min_tls_version,omitempty"`
	MaxTLSVersion         string   `json:"max_tls_version,omitempty"`
	CipherSuites          []string `json:"cipher_suites,omitempty"`
	ECDHCurves            []string `json:"ecdh_curves,omitempty"`
	RedirectCleartextFrom *int32   `json:"redirect_cleartext_from,omitempty"`
	SNI                   string   `json:"sni,omitempty"`
}

// A TLSContext is how TLS is terminated for hosts, or begun to services.
type TLSContext struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec TLSContextSpec `json:"spec,omitempty"`
}

// TLSContextSpec says what a TLSContext is.
type TLSContextSpec struct {
	IDs   `json:",inline"`
	Hosts []string `json:"hosts,omitempty"`
	// Secret is "name", or "name.namespace" unless SecretNamespacing is false.
	Secret            string `json:"secret,omitempty"`
	SecretNamespacing *bool  `json:"secret_namespacing,omitempty"`
	TLS               `json:",inline"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *TLSContext) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// A TCPMapping leads connections to a service.
type TCPMapping struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec TCPMappingSpec `json:"spec,omitempty"`
}

// TCPMappingSpec says which connections, and where to.
type TCPMappingSpec struct {
	IDs             `json:",inline"`
	Port            int32            `json:"port,omitempty"`
	Host            string           `json:"host,omitempty"`
	Address         string           `json:"address,omitempty"`
	Service         string           `json:"service,omitempty"`
	EnableIPv4      *bool            `json:"enable_ipv4,omitempty"`
	EnableIPv6      *bool            `json:"enable_ipv6,omitempty"`
	CircuitBreakers []CircuitBreaker `json:"circuit_breakers,omitempty"`
	// IdleTimeoutMs is a number of milliseconds, as a text.
	IdleTimeoutMs Text      `json:"idle_timeout_ms,omitempty"`
	Resolver      string    `json:"resolver,omitempty"`
	TLS           Text      `json:"tls,omitempty"`
	Weight        *int      `json:"weight,omitempty"`
	ClusterTag    string    `json:"cluster_tag,omitempty"`
	StatsName     string    `json:"stats_name,omitempty"`
	V3StatsName   string    `json:"v3StatsName,omitempty"`
	V2ExplicitTLS *Explicit `json:"v2ExplicitTLS,omitempty"`
}

// Explicit keeps what a v2 object said, for those who write it back. Nothing depends on it.
type Explicit struct {
	TLS           string  `json:"tls,omitempty"`
	ServiceScheme *string `json:"serviceScheme,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *TCPMapping) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// A Module is configuration of an install as a whole.
type Module struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ModuleSpec `json:"spec,omitempty"`
}

// ModuleSpec has what the module of that name takes.
type ModuleSpec struct {
	IDs    `json:",inline"`
	Config map[string]any `json:"config,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *Module) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// A Resolver says how services are found: a KubernetesServiceResolver or a
// KubernetesEndpointResolver.
type Resolver struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IDs `json:"spec,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *Resolver) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// A Foreign is an object whose spec is read later or not at all, but for the installs that
// it is for: AuthService, RateLimitService, TracingService and LogService, of which one that
// is wrong must not be as if it were not there; ConsulResolver and DevPortal.
type Foreign struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec map[string]any `json:"spec,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *Foreign) DeepCopyObject() runtime.Object { return deep.Copy(o) }
