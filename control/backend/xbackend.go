// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"net/netip"
	"strings"

	gwxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/policy/backendtls"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// readX reads an XBackend of the Gateway API's experimental channel: one host name
// outside the cluster.
func readX(c *memo.Ctx, key source.Key) *own {
	x, ok := source.Get[*gwxv1alpha1.XBackend](c, key.Kind, key.Name)
	if !ok {
		return nil
	}
	o := &own{names: true}
	s := &x.Spec
	if s.Type != gwxv1alpha1.BackendTypeExternalHostname || s.ExternalHostname == nil {
		o.bad("spec.type", "is %q: there is %s, with spec.externalHostname", s.Type, gwxv1alpha1.BackendTypeExternalHostname)
		return o
	}
	host := string(s.ExternalHostname.Hostname)
	if _, err := netip.ParseAddr(host); err == nil || strings.HasSuffix(strings.ToLower(host), ".cluster.local") || host == "" {
		o.bad("spec.externalHostname.hostname", "%q is not the name of a host outside the cluster: refer to a Service for one within", host)
	}
	o.endpoints = []build.Endpoint{{Address: build.Address(host, int32(s.Port.Port), false)}}
	if s.TLS != nil {
		o.readXTLS(c, key, s.TLS)
	}
	if s.Protocol != nil {
		o.protocol(*s.Protocol)
	}
	return o
}

func (o *own) readXTLS(c *memo.Ctx, key source.Key, s *gwxv1alpha1.BackendTLS) {
	switch s.Mode {
	case gwxv1alpha1.BackendTLSModeNone:
		return
	case gwxv1alpha1.BackendTLSModeServerOnly, gwxv1alpha1.BackendTLSModeClientAndServer:
	default:
		o.bad("spec.tls.mode", "is %q: there are None, ServerOnly and ClientAndServer", s.Mode)
		return
	}
	p := backendtls.Read(c, key.Namespace, "spec.tls.validation", &s.Validation)
	for _, r := range p.Refs {
		o.bad(r.Path, "%s", r.Message)
	}
	o.tls = &ownTLS{UpstreamTLS: p.TLS, trusts: p.Valid}
	switch wants := s.Mode == gwxv1alpha1.BackendTLSModeClientAndServer; {
	case wants != (s.ClientCertificateRef != nil):
		o.bad("spec.tls.clientCertificateRef", "is for the mode ClientAndServer, and no other")
	case wants:
		o.tls.Certificate = o.certificate(c, key, *s.ClientCertificateRef)
	}
}

// protocol reads what is spoken to the backend.
func (o *own) protocol(p gwxv1alpha1.BackendProtocol) {
	offer := func(protocols ...string) {
		if o.tls != nil {
			o.tls.Protocols = protocols
		}
	}
	switch p {
	case gwxv1alpha1.BackendProtocolHTTP:
		offer(protocolH2, protocolH1)
	case gwxv1alpha1.BackendProtocolHTTP11, gwxv1alpha1.BackendProtocolMCP:
		offer(protocolH1)
	case gwxv1alpha1.BackendProtocolHTTP2, gwxv1alpha1.BackendProtocolGRPC:
		o.app = appH2C
	case gwxv1alpha1.BackendProtocolH2C:
		o.app = appH2C
		if o.tls != nil {
			o.bad("spec.protocol", "is H2C, which is cleartext, and spec.tls asks for TLS: choose HTTP2, or leave tls out")
		}
	case gwxv1alpha1.BackendProtocolTCP:
		o.bytes = true
	default:
		o.bad("spec.protocol", "is %q: there are TCP, HTTP, HTTP11, HTTP2, H2C, GRPC and MCP", p)
	}
}
