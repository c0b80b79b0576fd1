// SPDX-License-Identifier: Apache-2.0

// Package tls is the TLS transport socket of listeners and clusters
// (envoy.transport_sockets.tls).
package tls

import (
	_ "embed"
	"fmt"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/tls"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is the extension's canonical name.
const Name = "envoy.transport_sockets.tls"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the transport socket of listeners.
func Extension() extension.Transport {
	return extension.Transport{
		Name: Name, Config: &tlsv3.DownstreamTlsContext{},
		New: func(cfg proto.Message, s *extension.Services) (listener.TransportFactory, error) {
			p, ok := cfg.(*tlsv3.DownstreamTlsContext)
			if !ok {
				return nil, fmt.Errorf("is a %T", cfg)
			}
			if err := check(p, s); err != nil {
				return nil, err
			}
			return tls.CompileServer(p, s.Secrets, s.Log("secret"))
		},
	}
}

// Upstream describes the transport socket of clusters.
func Upstream() extension.UpstreamTransport {
	return extension.UpstreamTransport{
		Name: Name, Config: &tlsv3.UpstreamTlsContext{},
		New: func(cfg proto.Message, s *extension.Services) (upstream.Transport, error) {
			p, ok := cfg.(*tlsv3.UpstreamTlsContext)
			if !ok {
				return nil, fmt.Errorf("is a %T", cfg)
			}
			if err := check(p, s); err != nil {
				return nil, err
			}
			c, verified, err := tls.CompileClient(p, s.Secrets, s.Log("upstream"))
			if err != nil {
				return nil, err
			}
			if !verified {
				err = xds.Problem{
					Severity: xds.Warning, Path: "common_tls_context.validation_context",
					Reason: "has no trusted CA, so hosts are not verified: whoever answers at their addresses is believed",
					Remedy: "add trusted_ca, and match_typed_subject_alt_names or auto_sni_san_validation",
				}
			}
			return c, err
		},
	}
}

// check tells what is not supported, and warns of what has no effect.
func check(p interface {
	proto.Message
	ValidateAll() error
}, s *extension.Services) error {
	if err := supported.Apply(p, "", s.Warn("TLS context")); err != nil {
		return err
	}
	return p.ValidateAll()
}
