// SPDX-License-Identifier: Apache-2.0

// Package frame reads and writes the frames of HTTP/2 (RFC 9113 §4 and §6).
//
// It is functions on bytes: a header is parsed from nine of them, a payload is
// handed out as views of what was given, frames are appended to a slice. It
// keeps no state and allocates nothing, so what depends on the state of a
// stream or of a connection (idle and closed streams, the order of CONTINUATION,
// windows, floods) is the connection's to check; everything that a frame alone
// can violate is checked here and reported with the error code and the scope
// that RFC 9113 demands.
package frame
