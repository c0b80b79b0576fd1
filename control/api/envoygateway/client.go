// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"k8s.io/apimachinery/pkg/api/resource"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// ClientTrafficPolicySpec is what a ClientTrafficPolicy says.
type ClientTrafficPolicySpec struct {
	Targets `json:",inline"`

	TCPKeepalive *TCPKeepalive `json:"tcpKeepalive,omitempty"`
	// EnableProxyProtocol is the earlier form of ProxyProtocol.
	EnableProxyProtocol *bool                `json:"enableProxyProtocol,omitempty"`
	ProxyProtocol       *ClientProxyProtocol `json:"proxyProtocol,omitempty"`
	ClientIPDetection   *ClientIPDetection   `json:"clientIPDetection,omitempty"`
	TLS                 *ClientTLS           `json:"tls,omitempty"`
	Path                *PathSettings        `json:"path,omitempty"`
	Headers             *HeaderSettings      `json:"headers,omitempty"`
	Timeout             *ClientTimeout       `json:"timeout,omitempty"`
	Connection          *ClientConnection    `json:"connection,omitempty"`
	HTTP1               *HTTP1               `json:"http1,omitempty"`
	HTTP2               *HTTP2               `json:"http2,omitempty"`
	HTTP3               *HTTP3               `json:"http3,omitempty"`
	GRPC                *GRPC                `json:"grpc,omitempty"`
	HealthCheck         *ClientHealthCheck   `json:"healthCheck,omitempty"`
	Scheme              *string              `json:"scheme,omitempty"`
}

// ClientProxyProtocol reads a header of the PROXY protocol.
type ClientProxyProtocol struct {
	Optional *bool `json:"optional,omitempty"`
}

// ClientIPDetection says who the client is.
type ClientIPDetection struct {
	XForwardedFor  *XForwardedFor  `json:"xForwardedFor,omitempty"`
	CustomHeader   *CustomHeader   `json:"customHeader,omitempty"`
	DirectSourceIP *map[string]any `json:"directSourceIP,omitempty"`
}

// XForwardedFor says which of its entries are trusted.
type XForwardedFor struct {
	NumTrustedHops             *uint32  `json:"numTrustedHops,omitempty"`
	TrustedCIDRs               []string `json:"trustedCIDRs,omitempty"`
	DisableXForwardedForAppend *bool    `json:"disableXForwardedForAppend,omitempty"`
}

// CustomHeader has the client's address.
type CustomHeader struct {
	Name       string `json:"name"`
	FailClosed *bool  `json:"failClosed,omitempty"`
}

// ClientTLS is how TLS is terminated.
type ClientTLS struct {
	ClientValidation    *ClientValidation `json:"clientValidation,omitempty"`
	MinVersion          *string           `json:"minVersion,omitempty"`
	MaxVersion          *string           `json:"maxVersion,omitempty"`
	Ciphers             []string          `json:"ciphers,omitempty"`
	ECDHCurves          []string          `json:"ecdhCurves,omitempty"`
	SignatureAlgorithms []string          `json:"signatureAlgorithms,omitempty"`
	ALPNProtocols       []string          `json:"alpnProtocols,omitempty"`
	Fingerprints        []string          `json:"fingerprints,omitempty"`
	Session             *TLSSession       `json:"session,omitempty"`
}

// ClientValidation says which clients' certificates are taken. Mode is Request,
// RequireAny, VerifyIfGiven or RequireAndVerify.
type ClientValidation struct {
	// Optional is the earlier form of the mode VerifyIfGiven.
	Optional                bool                            `json:"optional,omitempty"`
	Mode                    *string                         `json:"mode,omitempty"`
	CACertificateRefs       []gwapiv1.SecretObjectReference `json:"caCertificateRefs,omitempty"`
	SPKIHashes              []string                        `json:"spkiHashes,omitempty"`
	CertificateHashes       []string                        `json:"certificateHashes,omitempty"`
	SubjectAltNames         *SubjectAltNames                `json:"subjectAltNames,omitempty"`
	CRL                     *CRL                            `json:"crl,omitempty"`
	AllowExpiredCertificate *bool                           `json:"allowExpiredCertificate,omitempty"`
}

// SubjectAltNames are those that certificates may have: one of them.
type SubjectAltNames struct {
	DNSNames       []StringMatch   `json:"dnsNames,omitempty"`
	EmailAddresses []StringMatch   `json:"emailAddresses,omitempty"`
	IPAddresses    []StringMatch   `json:"ipAddresses,omitempty"`
	URIs           []StringMatch   `json:"uris,omitempty"`
	OtherNames     []OtherSANMatch `json:"otherNames,omitempty"`
}

// OtherSANMatch matches a name of another kind.
type OtherSANMatch struct {
	OID   string  `json:"oid"`
	Type  *string `json:"type,omitempty"`
	Value string  `json:"value"`
}

// CRL are lists of certificates that are revoked, in Secrets and ConfigMaps.
type CRL struct {
	Refs                      []gwapiv1.SecretObjectReference `json:"refs"`
	OnlyVerifyLeafCertificate *bool                           `json:"onlyVerifyLeafCertificate,omitempty"`
}

// TLSSession is about sessions of TLS.
type TLSSession struct {
	Resumption *TLSResumption `json:"resumption,omitempty"`
}

// TLSResumption says by what sessions are resumed.
type TLSResumption struct {
	Stateless map[string]any `json:"stateless,omitempty"`
	Stateful  map[string]any `json:"stateful,omitempty"`
}

// PathSettings say what paths mean.
type PathSettings struct {
	EscapedSlashesAction *string `json:"escapedSlashesAction,omitempty"`
	DisableMergeSlashes  *bool   `json:"disableMergeSlashes,omitempty"`
}

// HeaderSettings are about headers.
type HeaderSettings struct {
	EnableEnvoyHeaders      *bool                 `json:"enableEnvoyHeaders,omitempty"`
	DisableRateLimitHeaders *bool                 `json:"disableRateLimitHeaders,omitempty"`
	XForwardedClientCert    *XForwardedClientCert `json:"xForwardedClientCert,omitempty"`
	WithUnderscoresAction   *string               `json:"withUnderscoresAction,omitempty"`
	// PreserveXRequestID is the earlier form of RequestID.
	PreserveXRequestID    *bool              `json:"preserveXRequestID,omitempty"`
	RequestID             *string            `json:"requestID,omitempty"`
	EarlyRequestHeaders   *HeaderFilter      `json:"earlyRequestHeaders,omitempty"`
	LateResponseHeaders   *HeaderFilter      `json:"lateResponseHeaders,omitempty"`
	Host                  *HostSettings      `json:"host,omitempty"`
	MaxRequestHeaderLimit *resource.Quantity `json:"maxRequestHeaderLimit,omitempty"`
}

// XForwardedClientCert tells backends of the client's certificate.
type XForwardedClientCert struct {
	Mode             *string  `json:"mode,omitempty"`
	CertDetailsToAdd []string `json:"certDetailsToAdd,omitempty"`
}

// HeaderFilter changes headers.
type HeaderFilter struct {
	Set           []gwapiv1.HTTPHeader `json:"set,omitempty"`
	Add           []gwapiv1.HTTPHeader `json:"add,omitempty"`
	AddIfAbsent   []gwapiv1.HTTPHeader `json:"addIfAbsent,omitempty"`
	Remove        []string             `json:"remove,omitempty"`
	RemoveOnMatch []StringMatch        `json:"removeOnMatch,omitempty"`
}

// HostSettings are about the host that is asked for.
type HostSettings struct {
	StripTrailingHostDot *bool `json:"stripTrailingHostDot,omitempty"`
}

// ClientTimeout is of clients' connections and requests.
type ClientTimeout struct {
	TCP  *ClientTCPTimeout  `json:"tcp,omitempty"`
	HTTP *ClientHTTPTimeout `json:"http,omitempty"`
}

// ClientTCPTimeout is of connections.
type ClientTCPTimeout struct {
	IdleTimeout                 *gwapiv1.Duration `json:"idleTimeout,omitempty"`
	TLSHandshakeTimeout         *gwapiv1.Duration `json:"tlsHandshakeTimeout,omitempty"`
	ConnectionInspectionTimeout *gwapiv1.Duration `json:"connectionInspectionTimeout,omitempty"`
}

// ClientHTTPTimeout is of requests.
type ClientHTTPTimeout struct {
	RequestReceivedTimeout        *gwapiv1.Duration `json:"requestReceivedTimeout,omitempty"`
	RequestHeadersReceivedTimeout *gwapiv1.Duration `json:"requestHeadersReceivedTimeout,omitempty"`
	IdleTimeout                   *gwapiv1.Duration `json:"idleTimeout,omitempty"`
	StreamIdleTimeout             *gwapiv1.Duration `json:"streamIdleTimeout,omitempty"`
}

// ClientConnection is about clients' connections.
type ClientConnection struct {
	ConnectionLimit         *ConnectionLimit   `json:"connectionLimit,omitempty"`
	BufferLimit             *resource.Quantity `json:"bufferLimit,omitempty"`
	SocketBufferLimit       *resource.Quantity `json:"socketBufferLimit,omitempty"`
	MaxAcceptPerSocketEvent *uint32            `json:"maxAcceptPerSocketEvent,omitempty"`
}

// ConnectionLimit bounds connections.
type ConnectionLimit struct {
	Value                    *int64            `json:"value,omitempty"`
	CloseDelay               *gwapiv1.Duration `json:"closeDelay,omitempty"`
	MaxConnectionDuration    *gwapiv1.Duration `json:"maxConnectionDuration,omitempty"`
	MaxRequestsPerConnection *uint32           `json:"maxRequestsPerConnection,omitempty"`
	MaxStreamDuration        *gwapiv1.Duration `json:"maxStreamDuration,omitempty"`
}

// HTTP1 is how HTTP/1 is spoken.
type HTTP1 struct {
	EnableTrailers                   *bool         `json:"enableTrailers,omitempty"`
	PreserveHeaderCase               *bool         `json:"preserveHeaderCase,omitempty"`
	HTTP10                           *HTTP10       `json:"http10,omitempty"`
	DisableSafeMaxConnectionDuration *bool         `json:"disableSafeMaxConnectionDuration,omitempty"`
	IgnoredUpgradeTypes              []StringMatch `json:"ignoredUpgradeTypes,omitempty"`
}

// HTTP10 takes HTTP/1.0.
type HTTP10 struct {
	UseDefaultHost *bool `json:"useDefaultHost,omitempty"`
}

// HTTP3 offers HTTP/3.
type HTTP3 map[string]any

// GRPC is about gRPC.
type GRPC struct {
	EnableWeb *bool `json:"enableWeb,omitempty"`
}

// ClientHealthCheck is a path that the proxy itself answers.
type ClientHealthCheck struct {
	Path string `json:"path"`
}
