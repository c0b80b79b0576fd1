// SPDX-License-Identifier: Apache-2.0

// Package h2 is the HTTP/2 connection (RFC 9113) in both roles: a [Server] for a
// downstream connection, a [Client] for an upstream one. A connection and its
// streams belong to one event loop.
//
// All frames that one read brought are handled before anything is written, and
// without waiting. Streams are served on tasks of their own and append their
// frames to one output, which one task writes: what was ready in a round leaves
// in one call. Memory is bounded on both sides: what is received by windows that
// open as it is read, what is sent by a bound at which streams wait for their
// turn.
//
// The package owns no goroutine and no socket: its user gives it a transport,
// runs Serve when there is something to read, and closes the transport when the
// connection is over. Messages are as package codec has them. Frames and field
// compression are the folders below.
package h2
