// SPDX-License-Identifier: Apache-2.0

package grpchttp1bridge

import (
	"fmt"

	bridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_bridge/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.grpc_http1_bridge"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{Name: Name, Config: &bridgev3.Config{}, New: newFilter}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*bridgev3.Config)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a Config", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	return &Filter{slot: c.Slot, upgrade: m.GetUpgradeProtobufToGrpc(), dropQuery: m.GetIgnoreQueryParameters()}, nil
}
