// SPDX-License-Identifier: Apache-2.0

// Package hpack compresses and expands the field sections of HTTP/2 (RFC 7541).
//
// A Decoder turns a whole field block into resolved names and views of values,
// an Encoder appends the block of a header.Map to a slice; neither allocates
// once it is warm. Both bound what a peer can make them keep (the dynamic table)
// and do (time in proportion to the bytes of a block, whatever they refer to).
//
// The package knows no HTTP: which fields a message may have, and in which
// order, is the connection's to check. It offers ValidName and ValidValue for
// the characters that RFC 9113 §8.2.1 allows.
package hpack
