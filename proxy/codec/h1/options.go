// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
)

// Limits that hold where Options leaves a field zero.
const (
	// DefaultMaxHeadBytes is Envoy's max_request_headers_kb.
	DefaultMaxHeadBytes = 60 << 10
	// DefaultMaxHeaders is Envoy's max_headers_count.
	DefaultMaxHeaders = 100
)

// maxMaxHeaders keeps any number of fields below what a header.Map holds.
const maxMaxHeaders = 1 << 15

// maxBlankLines is how many empty lines before a request line are skipped.
// RFC 9112 §2.2 asks for at least one.
const maxBlankLines = 4

// maxConnectionOptions is how many members all Connection fields of a message
// may have together, as in Envoy.
const maxConnectionOptions = 9

// maxExtensionBytes is what the chunk extensions of one message may take.
const maxExtensionBytes = 4 << 10

// Options are the limits and leniencies of a parser. They are not changed
// after first use, so any number of parsers may share them.
type Options struct {
	// MaxHeadBytes bounds the start line and all fields of a message; 0 is
	// DefaultMaxHeadBytes. More is answered 431.
	MaxHeadBytes int
	// MaxHeaders bounds the field lines of a head and of a trailer section;
	// 0 is DefaultMaxHeaders, and 32768 is the most. More is answered 431.
	MaxHeaders int
	// MaxLineBytes bounds the request line without its CRLF; 0 leaves it to
	// MaxHeadBytes. More is answered 414.
	MaxLineBytes int
	// MaxTrailerBytes bounds a trailer section; 0 is MaxHeadBytes.
	MaxTrailerBytes int

	// AcceptHTTP10 is Envoy's accept_http_10: without it HTTP/1.0 requests
	// are answered 426.
	AcceptHTTP10 bool
	// DefaultHostForHTTP10 is the :authority of HTTP/1.0 requests that name
	// none (Envoy's default_host_for_http_10).
	DefaultHostForHTTP10 string
	// AllowAbsoluteURL is Envoy's allow_absolute_url: without it a request
	// target in absolute form is answered 400.
	AllowAbsoluteURL bool
	// AllowChunkedLength is Envoy's allow_chunked_length: a message with both
	// Transfer-Encoding and Content-Length is read as chunked, its length is
	// dropped and the connection ends after it. Without it the message is
	// refused.
	AllowChunkedLength bool
	// AllowCustomMethods is Envoy's allow_custom_methods: without it only the
	// registered methods that Envoy knows are taken.
	AllowCustomMethods bool
	// Underscores is Envoy's headers_with_underscores_action; requests only.
	Underscores codec.Underscores
	// Case is how the names of fields are written.
	Case Case
	// PreserveCase records how the peer spelled each field name, see
	// [Parser.Spelling].
	PreserveCase bool
	// UpgradeH2C notes requests that offer to go on in HTTP/2, see [Server.H2C].
	UpgradeH2C bool
	// EnableTrailers is Envoy's enable_trailers: without it trailer fields
	// are read, checked and forgotten.
	EnableTrailers bool
}

// DefaultOptions returns what Envoy does when nothing is configured.
func DefaultOptions() *Options { return &Options{AllowAbsoluteURL: true} }

func orDefault(n, def int) int {
	if n > 0 {
		return n
	}
	return def
}

// Spelling remembers how a peer spelled the field names of one message, so
// that they can be written on as they came (Envoy's preserve_case formatter).
// The first spelling of a name counts. The zero Spelling is empty.
type Spelling struct {
	text []byte
	ends []int
}

// Reset forgets all names and keeps the memory.
func (s *Spelling) Reset() { s.text, s.ends = s.text[:0], s.ends[:0] }

func (s *Spelling) add(name []byte) {
	s.text = append(s.text, name...)
	s.ends = append(s.ends, len(s.text))
}

// Of returns the recorded spelling of n, or nil. It is valid until Reset.
func (s *Spelling) Of(n header.Name) []byte {
	lower := n.String()
	start := 0
	for _, end := range s.ends {
		if end-start == len(lower) && header.EqualLower(s.text[start:end], lower) {
			return s.text[start:end]
		}
		start = end
	}
	return nil
}
