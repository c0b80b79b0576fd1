// SPDX-License-Identifier: Apache-2.0

// Package upstreamcodec is the end of the chain of filters in front of a host
// (envoy.filters.http.upstream_codec): from here the request goes to the host's
// connection. It has no behaviour of its own, for the router sends what a chain lets
// pass.
package upstreamcodec

import (
	upstreamcodecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.upstream_codec"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: Name, Config: &upstreamcodecv3.UpstreamCodec{}, Terminal: true, Place: extension.Upstream,
		New: func(proto.Message, *extension.HTTP) (stream.Filter, error) { return filter{}, nil },
	}
}

type filter struct{}

// Request lets the request pass.
func (filter) Request(*stream.Stream) error { return nil }

// Response lets the response pass.
func (filter) Response(*stream.Stream) error { return nil }
