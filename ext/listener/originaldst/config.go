// SPDX-License-Identifier: Apache-2.0

// Package originaldst is the listener filter that restores where a client meant
// to connect to before a rule of the kernel sent it here
// (envoy.filters.listener.original_dst): by REDIRECT or DNAT
// (SO_ORIGINAL_DST), or by TPROXY on a transparent listener.
package originaldst

import (
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.listener.original_dst"

// Extension returns the filter's place in a registry. Its message has no fields.
func Extension() extension.ListenerFilter {
	return extension.ListenerFilter{
		Name: Name, Config: &originaldstv3.OriginalDst{},
		New: func(proto.Message, *extension.Network) (listener.Filter, error) { return filter{}, nil },
	}
}

type filter struct{}

// Accept makes the original destination the connection's local address. One that
// no rule has touched keeps its own.
func (filter) Accept(_ *engine.Task, c *conn.Conn) error {
	if c.Info.DirectLocal.IsUnix() {
		return nil
	}
	if a, transparent, ok := c.Socket.OriginalDst(); ok && (transparent || a != c.Info.Local) {
		c.Info.Local, c.Info.LocalRestored = a, true
	}
	return nil
}
