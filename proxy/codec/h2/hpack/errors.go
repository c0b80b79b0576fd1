// SPDX-License-Identifier: Apache-2.0

package hpack

// Kind says what follows from an Error.
type Kind uint8

// The kinds of errors.
const (
	// Compression is a connection error COMPRESSION_ERROR (RFC 9113 §4.3): the
	// table is out of step, nothing can be decoded any more.
	Compression Kind = iota
	// Calm is a connection error ENHANCE_YOUR_CALM: the section is beyond
	// Limits.Hard.
	Calm
	// TooLarge is a section beyond Limits.Size, TooMany one beyond Limits.Fields.
	// The whole block was decoded and the table is in step: the stream is
	// answered (431), the connection goes on.
	TooLarge
	TooMany
)

// Error says why a field block was not decoded or a map not encoded. Errors are
// made once and compare by identity.
type Error struct {
	Kind   Kind
	Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return "hpack: " + e.Reason }

// Fatal reports whether the connection must end.
func (e *Error) Fatal() bool { return e.Kind <= Calm }

var (
	errTruncated  = &Error{Compression, "a field block that ends within a field"}
	errInteger    = &Error{Compression, "an integer that is too large"}
	errIndex      = &Error{Compression, "an index that is not in the tables"}
	errHuffman    = &Error{Compression, "malformed Huffman code"}
	errUpdate     = &Error{Compression, "a table size update that is not at the beginning"}
	errUpdateSize = &Error{Compression, "a table size update beyond the limit"}
	errNoUpdate   = &Error{Compression, "no table size update after the limit was lowered"}
	errCalm       = &Error{Calm, "a field section far beyond the limit"}
	errLarge      = &Error{TooLarge, "a field section too large"}
	errMany       = &Error{TooMany, "too many fields"}
)
