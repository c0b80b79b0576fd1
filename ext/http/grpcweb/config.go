// SPDX-License-Identifier: Apache-2.0

package grpcweb

import (
	"fmt"

	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/grpcstat"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.grpc_web"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{Name: Name, Config: &grpcwebv3.GrpcWeb{}, New: newFilter}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	if _, ok := cfg.(*grpcwebv3.GrpcWeb); !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a GrpcWeb", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	f := &Filter{slot: c.Slot, set: grpcstat.New(c.Stats, c.Clusters, grpcstat.Options{Protocol: "grpc-web", All: true})}
	if c.Own != nil {
		c.Own(f.set.Close)
	}
	return f, nil
}
