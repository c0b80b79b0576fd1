// SPDX-License-Identifier: Apache-2.0

package buffer

import (
	"errors"
	"fmt"

	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.buffer"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:     Name,
		Config:   &bufferv3.Buffer{},
		New:      newFilter,
		Route:    &bufferv3.BufferPerRoute{},
		NewRoute: newRoute,
		Place:    extension.Anywhere,
	}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*bufferv3.Buffer)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a Buffer", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	max, err := limit(m)
	if err != nil {
		return nil, err
	}
	return &Filter{
		name: c.Name, slot: c.Slot, max: max,
		stats: stats.Register[Stats](c.Scope, len(c.Loops)),
	}, nil
}

func newRoute(cfg proto.Message, _ *extension.Services) (any, error) {
	m, ok := cfg.(*bufferv3.BufferPerRoute)
	if !ok {
		return nil, fmt.Errorf("%s: per-route configuration is a %s, not a BufferPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	switch o := m.GetOverride().(type) {
	case *bufferv3.BufferPerRoute_Disabled:
		if !o.Disabled {
			return nil, errors.New("disabled is false: it must be true, or buffer be set instead")
		}
		return &Override{disabled: true}, nil
	case *bufferv3.BufferPerRoute_Buffer:
		max, err := limit(o.Buffer)
		if err != nil {
			return nil, fmt.Errorf("buffer.%w", err)
		}
		return &Override{max: max}, nil
	}
	return nil, errors.New("says nothing: set disabled to true, or buffer")
}

func limit(m *bufferv3.Buffer) (int, error) {
	if m.GetMaxRequestBytes() == nil {
		return 0, errors.New("max_request_bytes is missing: say how many bytes a request's body may have")
	}
	if m.MaxRequestBytes.Value == 0 {
		return 0, errors.New("max_request_bytes is 0: it must be greater")
	}
	return int(m.MaxRequestBytes.Value), nil
}
