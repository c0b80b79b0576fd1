// SPDX-License-Identifier: Apache-2.0

// Package directresponse answers every connection with the same bytes and closes
// it (envoy.filters.network.direct_response).
package directresponse

import (
	"errors"
	"time"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
)

// Factory makes the handlers of a filter chain. It is immutable.
type Factory struct{ response []byte }

// New returns the handler of a connection.
func (f *Factory) New(*conn.Conn) conn.Handler { return handler{f} }

type handler struct{ *Factory }

// grace is how long a client may take to read the response and to close: Envoy's
// default delayed_close_timeout.
const grace = time.Second

var errSlow = errors.New("the client does not read")

// Eager is true: the client need not speak.
func (handler) Eager() bool { return true }

// Serve answers. What the client sends is thrown away, so that the answer is not
// lost to a reset.
func (h handler) Serve(t *engine.Task, c *conn.Conn) bool {
	c.Info.CloseReason, c.Info.CloseType = "direct_response_close", "Normal"
	t.SetDeadline(int64(grace), errSlow)
	_, err := c.Transport.Write(h.response)
	t.SetDeadline(0, nil)
	if err == nil {
		c.Linger(t, grace)
	}
	return false
}

// Drain does nothing: the connection ends soon.
func (handler) Drain(*conn.Conn) {}

// Closed does nothing.
func (handler) Closed(*conn.Conn) {}
