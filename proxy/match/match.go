// SPDX-License-Identifier: Apache-2.0

// Package match holds compiled matchers: of strings, header fields, query
// parameters, cookies, metadata, filter state, addresses, numbers and
// fractions, and Envoy's unified matcher tree. Everything is compiled once
// from Envoy's messages (config.go and its neighbours are the only files that
// see them), is immutable, may be used by any number of goroutines, and costs
// no allocation per match.
//
// The package does not know what is matched for: routes, filter chains, access
// rules and logs bring their own actions. CEL lives in the package cel below,
// so that only those who need it link it.
package match

import (
	"strings"
	"unsafe"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// Data is what a matcher may look at. Any part may be absent. It is handed on
// by value, so that it need not live on the heap.
type Data struct {
	// Request is the request's head; nil if there is none yet.
	Request *header.Map
	// Stream is what is known of the request, its response included.
	Stream *streaminfo.Stream
	// Conn is the downstream connection. If nil, Stream's is used.
	Conn *streaminfo.Connection
	// Random is the stream's stable random number.
	Random uint64
}

// conn returns the connection, or nil.
func (d Data) conn() *streaminfo.Connection {
	if d.Conn != nil {
		return d.Conn
	}
	if d.Stream != nil {
		return d.Stream.Conn
	}
	return nil
}

// Runtime looks up values an operator may change while the proxy runs, by
// Envoy's runtime keys. Each method reports false if the key is not set.
type Runtime interface {
	Fraction(key string) (Fraction, bool)
	Int(key string) (int64, bool)
	Double(key string) (float64, bool)
	Bool(key string) (bool, bool)
}

// NoRuntime is a Runtime in which no key is set.
type NoRuntime struct{}

// Fraction reports false.
func (NoRuntime) Fraction(string) (Fraction, bool) { return Fraction{}, false }

// Int reports false.
func (NoRuntime) Int(string) (int64, bool) { return 0, false }

// Double reports false.
func (NoRuntime) Double(string) (float64, bool) { return 0, false }

// Bool reports false.
func (NoRuntime) Bool(string) (bool, bool) { return false, false }

// view returns b as a string without a copy. It is used only while the bytes
// are not changed.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf returns s as bytes, which must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// lower maps an ASCII letter to lower case; Envoy's ignore_case knows no other
// letters.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// lowerASCII returns s with ASCII letters in lower case.
func lowerASCII(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return 'A' <= r && r <= 'Z' }) < 0 {
		return s
	}
	b := []byte(s)
	for i := range b {
		b[i] = lower(b[i])
	}
	return string(b)
}

// containsFold reports whether s, lowered, contains low.
func containsFold(s, low string) bool {
	for i := 0; i+len(low) <= len(s); i++ {
		if header.EqualLower(s[i:i+len(low)], low) {
			return true
		}
	}
	return false
}
