// SPDX-License-Identifier: Apache-2.0

// Package rawbuffer is the transport socket that leaves bytes as they are
// (envoy.transport_sockets.raw_buffer).
package rawbuffer

import (
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
)

// Name is the extension's canonical name.
const Name = "envoy.transport_sockets.raw_buffer"

// Extension describes the transport socket. Its message has no fields.
func Extension() extension.Transport {
	return extension.Transport{
		Name: Name, Config: &rawbufferv3.RawBuffer{},
		New: func(proto.Message, *extension.Services) (listener.TransportFactory, error) { return nil, nil },
	}
}
