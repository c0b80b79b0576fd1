// SPDX-License-Identifier: Apache-2.0

// Package echo sends back what it gets (envoy.filters.network.echo): to try a
// listener, its filters and its TLS without an upstream.
package echo

import (
	"io"

	echov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/echo/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.echo"

// Extension describes the filter.
func Extension() extension.NetworkFilter {
	return extension.NetworkFilter{
		Name: Name, Config: &echov3.Echo{}, Terminal: true,
		Handler: func(proto.Message, *extension.Network) (conn.Factory, error) { return factory{}, nil },
	}
}

type factory struct{}

// New returns the handler of every connection: there is nothing to remember.
func (factory) New(*conn.Conn) conn.Handler { return handler{} }

type handler struct{}

// Serve sends back what is there, and the end of the client's stream.
func (handler) Serve(t *engine.Task, c *conn.Conn) bool {
	b := t.Loop().Buffer()
	defer t.Loop().PutBuffer(b)
	for c.Transport.Ready() {
		n, err := c.Transport.Read(b)
		if n > 0 {
			if _, err := c.Transport.Write(b[:n]); err != nil {
				return false
			}
		}
		if err == io.EOF {
			// The client may be gone altogether.
			_ = c.Transport.CloseWrite()
		}
		if err != nil {
			return false
		}
	}
	return true
}

// Drain does nothing: a connection ends with its client.
func (handler) Drain(*conn.Conn) {}

// Closed does nothing.
func (handler) Closed(*conn.Conn) {}
