// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strconv"
	"strings"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
)

// The names of each object's attributes, as Envoy documents them.
var (
	requestNames = [...]string{"path", "url_path", "host", "scheme", "method", "headers", "referer", "useragent",
		"time", "id", "protocol", "query", "size", "total_size", "duration"}
	responseNames   = [...]string{"code", "code_details", "flags", "grpc_status", "headers", "trailers", "size", "total_size"}
	endNames        = [...]string{"address", "port"}
	connectionNames = [...]string{"id", "mtls", "requested_server_name", "tls_version", "subject_local_certificate",
		"subject_peer_certificate", "dns_san_local_certificate", "dns_san_peer_certificate", "uri_san_local_certificate",
		"uri_san_peer_certificate", "sha256_peer_certificate_digest", "termination_details", "transport_failure_reason"}
	upstreamNames = [...]string{"address", "port", "tls_version", "subject_local_certificate", "subject_peer_certificate",
		"dns_san_local_certificate", "dns_san_peer_certificate", "uri_san_local_certificate", "uri_san_peer_certificate",
		"sha256_peer_certificate_digest", "local_address", "transport_failure_reason", "request_attempt_count"}
	xdsNames = [...]string{"cluster_name", "cluster_metadata", "route_name", "route_metadata", "virtual_host_name",
		"upstream_host_metadata", "filter_chain_name", "listener_metadata", "listener_direction"}
)

func requestAttr(d match.Data, name string) (any, bool) {
	h := d.Request
	if h == nil && d.Stream != nil {
		h = d.Stream.Request
	}
	if h != nil {
		switch name {
		case "path":
			return headerText(h, header.Path)
		case "url_path":
			return string(match.TrimQuery(h.Get(header.Path))), h.Has(header.Path)
		case "query":
			p := string(h.Get(header.Path))
			_, q, _ := strings.Cut(p, "?")
			q, _, _ = strings.Cut(q, "#")
			return q, h.Has(header.Path)
		case "host":
			return headerText(h, header.Authority)
		case "scheme":
			return headerText(h, header.Scheme)
		case "method":
			return headerText(h, header.Method)
		case "referer":
			return headerText(h, header.Referer)
		case "useragent":
			return headerText(h, header.UserAgent)
		case "id":
			return headerText(h, header.XRequestID)
		case "headers":
			return headerObject(h), true
		}
	}
	s := d.Stream
	if s == nil {
		return nil, false
	}
	switch name {
	case "time":
		return s.Start, !s.Start.IsZero()
	case "protocol":
		return s.Protocol.String(), s.Protocol != streaminfo.NoProtocol
	case "size":
		return int64(s.BodyReceived), true
	case "total_size":
		return int64(s.BodyReceived + s.HeaderReceived), true
	case "duration":
		return s.Duration, s.Duration > 0
	}
	return nil, false
}

func headerText(h *header.Map, n header.Name) (any, bool) {
	v := h.Get(n)
	return string(v), v != nil
}

func responseAttr(d match.Data, name string) (any, bool) {
	s := d.Stream
	if s == nil {
		return nil, false
	}
	switch name {
	case "code":
		return int64(s.Status), s.Status != 0
	case "code_details":
		return s.StatusDetails, s.StatusDetails != ""
	case "flags":
		return int64(s.Flags), true
	case "grpc_status":
		return grpcStatus(s)
	case "headers":
		if s.Response != nil {
			return headerObject(s.Response), true
		}
	case "trailers":
		if s.ResponseTrailer != nil {
			return headerObject(s.ResponseTrailer), true
		}
	case "size":
		return int64(s.BodySent), true
	case "total_size":
		return int64(s.BodySent + s.HeaderSent), true
	}
	return nil, false
}

// grpcStatus is in the trailers, or in the head of a response without body.
func grpcStatus(s *streaminfo.Stream) (any, bool) {
	for _, h := range [...]*header.Map{s.ResponseTrailer, s.Response} {
		if h == nil {
			continue
		}
		if n, err := strconv.ParseInt(string(h.Get(header.GRPCStatus)), 10, 64); err == nil {
			return n, true
		}
	}
	return nil, false
}

func connOf(d match.Data) *streaminfo.Connection {
	if d.Conn == nil && d.Stream != nil {
		return d.Stream.Conn
	}
	return d.Conn
}

func sourceAttr(d match.Data, name string) (any, bool) {
	var a address.Addr
	if c := connOf(d); c != nil {
		a = c.Remote
	}
	if d.Stream != nil && d.Stream.Remote.IsValid() {
		a = d.Stream.Remote
	}
	return endAttr(a, name)
}

func destinationAttr(d match.Data, name string) (any, bool) {
	c := connOf(d)
	if c == nil {
		return nil, false
	}
	return endAttr(c.Local, name)
}

func endAttr(a address.Addr, name string) (any, bool) {
	switch name {
	case "address":
		return a.String(), a.IsValid()
	case "port":
		return int64(a.Port()), a.AddrPort().IsValid()
	}
	return nil, false
}

func connectionAttr(d match.Data, name string) (any, bool) {
	c := connOf(d)
	if c == nil {
		return nil, false
	}
	switch name {
	case "id":
		return c.ID, true
	case "mtls":
		return c.TLS != nil && len(c.TLS.PeerCerts) > 0, true
	case "requested_server_name":
		return c.ServerName, c.ServerName != ""
	case "termination_details":
		return c.Termination, c.Termination != ""
	case "transport_failure_reason":
		return c.TransportFailure, c.TransportFailure != ""
	}
	return tlsAttr(c.TLS, name)
}

func tlsAttr(t *streaminfo.TLS, name string) (any, bool) {
	if t == nil {
		return nil, false
	}
	if name == "tls_version" {
		return t.Version, t.Version != ""
	}
	cert := t.LocalCert
	base, local := strings.CutSuffix(name, "_local_certificate")
	if !local {
		cert = nil
		if len(t.PeerCerts) > 0 {
			cert = t.PeerCerts[0]
		}
		base = strings.TrimSuffix(name, "_peer_certificate")
	}
	if cert == nil {
		return nil, false
	}
	return certAttr(cert, base)
}

func certAttr(cert *x509.Certificate, name string) (any, bool) {
	switch name {
	case "subject":
		return cert.Subject.String(), true
	case "dns_san":
		if len(cert.DNSNames) > 0 {
			return cert.DNSNames[0], true
		}
	case "uri_san":
		if len(cert.URIs) > 0 {
			return cert.URIs[0].String(), true
		}
	case "sha256_peer_certificate_digest":
		sum := sha256.Sum256(cert.Raw)
		return hex.EncodeToString(sum[:]), true
	}
	return nil, false
}

func upstreamAttr(d match.Data, name string) (any, bool) {
	if d.Stream == nil {
		return nil, false
	}
	u := &d.Stream.Upstream
	switch name {
	case "address", "port":
		a := u.Remote
		if !a.IsValid() {
			a = u.HostAddress
		}
		return endAttr(a, name)
	case "local_address":
		return u.Local.String(), u.Local.IsValid()
	case "transport_failure_reason":
		return u.FailureReason, u.FailureReason != ""
	case "request_attempt_count":
		return int64(d.Stream.Attempts), true
	}
	return tlsAttr(u.TLS, name)
}

func xdsAttr(d match.Data, name string) (any, bool) {
	if c := connOf(d); c != nil {
		switch name {
		case "filter_chain_name":
			return c.FilterChainName, true
		case "listener_direction":
			return c.TrafficDirection.String(), true
		case "listener_metadata":
			return metadata(c.ListenerMetadata), true
		}
	}
	s := d.Stream
	if s == nil {
		return nil, false
	}
	switch name {
	case "cluster_name":
		return s.ClusterName, s.ClusterName != ""
	case "cluster_metadata":
		return metadata(s.ClusterMetadata), true
	case "route_name":
		return s.RouteName, true
	case "route_metadata":
		return metadata(s.RouteMetadata), true
	case "virtual_host_name":
		return s.VirtualHostName, true
	case "upstream_host_metadata":
		return metadata(s.Upstream.HostMetadata), true
	}
	return nil, false
}

// metadata gives static metadata the shape of Envoy's message.
func metadata(m streaminfo.Metadata) any {
	return map[string]any{"filter_metadata": nonNil(m)}
}

func nonNil(m streaminfo.Metadata) map[string]map[string]any {
	if m == nil {
		return map[string]map[string]any{}
	}
	return m
}

// dynamicMetadata is the stream's, or the connection's if there is no stream.
func dynamicMetadata(d match.Data) map[string]map[string]any {
	if d.Stream != nil {
		return nonNil(d.Stream.Metadata)
	}
	if c := connOf(d); c != nil {
		return nonNil(c.Metadata)
	}
	return nonNil(nil)
}

// filterState has the text of each object, the stream's before the
// connection's.
func filterState(d match.Data) map[string]string {
	out := map[string]string{}
	if c := connOf(d); c != nil {
		for k, o := range c.FilterState {
			out[k] = o.Text
		}
	}
	if d.Stream != nil {
		for k, o := range d.Stream.FilterState {
			out[k] = o.Text
		}
	}
	return out
}
