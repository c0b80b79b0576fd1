// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
)

// A Conn is a connection to a host, as a [Transport] secures it. It belongs to one loop.
type Conn struct {
	Socket    *engine.Conn
	Transport conn.Transport // Socket itself in cleartext
	Info      *streaminfo.Connection
	Host      *Host
}
