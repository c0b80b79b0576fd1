// SPDX-License-Identifier: Apache-2.0

package grpc

import (
	_ "embed"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/upstream/health"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.health_checkers.grpc"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() health.Factory {
	return health.Factory{
		Name: Name, Kind: health.GRPC, Field: "grpc_health_check", Fields: supported, New: compile,
		Config: func(m *corev3.HealthCheck) proto.Message {
			if c := m.GetGrpcHealthCheck(); c != nil {
				return c
			}
			return nil
		},
	}
}

func compile(cfg proto.Message) (health.Checker, error) {
	m, ok := cfg.(*corev3.HealthCheck_GrpcHealthCheck)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	o := format.Options{OmitEmpty: true}
	metadata, err := route.CompileHeaders("initial_metadata", m.GetInitialMetadata(), route.Context{
		CompileFormat: func(s string) (route.Formatter, error) { return format.Compile(s, o) },
	})
	if err != nil {
		return nil, err
	}
	return &checker{authority: m.GetAuthority(), metadata: metadata, request: appendRequest(nil, m.GetServiceName())}, nil
}
