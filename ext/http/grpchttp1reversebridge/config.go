// SPDX-License-Identifier: Apache-2.0

package grpchttp1reversebridge

import (
	"fmt"

	bridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_reverse_bridge/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.grpc_http1_reverse_bridge"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:     Name,
		Config:   &bridgev3.FilterConfig{},
		New:      newFilter,
		Route:    &bridgev3.FilterConfigPerRoute{},
		NewRoute: newRoute,
	}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*bridgev3.FilterConfig)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a FilterConfig", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if m.GetContentType() == "" {
		return nil, fmt.Errorf("content_type is empty: say what the upstream takes and gives, such as application/x-protobuf")
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	f := &Filter{name: c.Name, slot: c.Slot, contentType: m.GetContentType(), withhold: m.GetWithholdGrpcFrames()}
	if n := m.GetResponseSizeHeader(); n != "" {
		f.size = header.NewName(n)
	}
	return f, nil
}

func newRoute(cfg proto.Message, _ *extension.Services) (any, error) {
	m, ok := cfg.(*bridgev3.FilterConfigPerRoute)
	if !ok {
		return nil, fmt.Errorf("%s: per-route configuration is a %s, not a FilterConfigPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	return &Override{disabled: m.GetDisabled()}, nil
}
