// SPDX-License-Identifier: Apache-2.0

package h1

// Error says why a message was refused. All errors of this package are of this
// type; after one the connection cannot be used any further.
type Error struct {
	// Status answers the peer: 400, 414, 417, 426, 431 or 505 for a request,
	// 502 for a response, 500 for a message of our own that cannot be written.
	Status int
	// Detail is Envoy's response code detail, as "http1.codec_error".
	Detail string
	// Reason says it to a human.
	Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return "http/1: " + e.Reason }

// ErrPreface reports that the connection begins with the request line of the
// HTTP/2 connection preface (RFC 9113 §3.4); nothing was consumed. A codec that
// detects its protocol goes on with HTTP/2, any other answers the status.
var ErrPreface error = errPreface

// ErrUnderscore refuses a request for an underscore in a field name.
var ErrUnderscore = errUnderscore

// Response code details, as Envoy's response_code_details.rst lists them.
const (
	detailCodec      = "http1.codec_error"
	detailChars      = "http1.invalid_characters"
	detailURL        = "http1.invalid_url"
	detailScheme     = "http1.invalid_scheme"
	detailTE         = "http1.invalid_transfer_encoding"
	detailBoth       = "http1.content_length_and_chunked_not_allowed"
	detailConn       = "http1.connection_header_rejected"
	detailBody       = "http1.body_disallowed"
	detailLarge      = "http1.headers_too_large"
	detailMany       = "http1.too_many_headers"
	detailUnderscore = "http1.unexpected_underscore"
	detailTEHere     = "http1.transfer_encoding_not_allowed"
	detailCLHere     = "http1.content_length_not_allowed"
	detailAuthority  = "http.invalid_authority"
	detailNoHost     = "missing_host_header"
	detailLowVersion = "low_version"
)

// The errors are made once: refusing a message costs no allocation.
var (
	errPreface     = &Error{505, detailCodec, "an HTTP/2 connection preface on an HTTP/1 connection"}
	errBlank       = &Error{400, detailCodec, "too many empty lines before the request line"}
	errBareLF      = &Error{400, detailCodec, "a line ends without CR"}
	errBareCR      = &Error{400, detailCodec, "a CR without LF"}
	errRequestLine = &Error{400, detailCodec, "malformed request line"}
	errVersion     = &Error{400, detailCodec, "malformed HTTP version"}
	errVersion505  = &Error{505, detailCodec, "HTTP version not supported"}
	errHTTP10      = &Error{426, detailLowVersion, "HTTP/1.0 is not accepted"}
	errMethod      = &Error{400, detailCodec, "unknown or malformed method"}
	errTarget      = &Error{400, detailURL, "malformed request target"}
	errFragment    = &Error{400, detailURL, "request target with a fragment"}
	errAbsolute    = &Error{400, detailURL, "request target in absolute form is not allowed"}
	errScheme      = &Error{400, detailScheme, "request target with a scheme other than http and https"}
	errLine        = &Error{414, detailLarge, "request line too long"}
	errLarge       = &Error{431, detailLarge, "message head too large"}
	errMany        = &Error{431, detailMany, "too many header fields"}

	errFold       = &Error{400, detailCodec, "a header line begins with whitespace"}
	errName       = &Error{400, detailCodec, "malformed header field name"}
	errSpaceColon = &Error{400, detailCodec, "whitespace between a header field name and the colon"}
	errNoColon    = &Error{400, detailCodec, "a header line without a colon"}
	errValue      = &Error{400, detailChars, "a header field value with a control character"}
	errUnderscore = &Error{400, detailUnderscore, "a header field name with an underscore"}

	errNoHost   = &Error{400, detailNoHost, "no Host header field"}
	errManyHost = &Error{400, detailCodec, "more than one Host header field"}
	errHost     = &Error{400, detailAuthority, "malformed Host header field"}

	errLength     = &Error{400, detailCodec, "malformed Content-Length"}
	errLengths    = &Error{400, detailCodec, "more than one Content-Length"}
	errTE         = &Error{400, detailTE, "a Transfer-Encoding other than chunked"}
	errTE10       = &Error{400, detailTE, "Transfer-Encoding in an HTTP/1.0 message"}
	errBoth       = &Error{400, detailBoth, "Transfer-Encoding with Content-Length"}
	errConnection = &Error{400, detailConn, "malformed Connection header field, or it names a field it may not"}
	errBody       = &Error{400, detailBody, "CONNECT with content"}
	errExpect     = &Error{417, detailCodec, "an expectation other than 100-continue"}

	errStatusLine = &Error{502, detailCodec, "malformed status line"}
	errTEHere     = &Error{502, detailTEHere, "Transfer-Encoding in a response that cannot have it"}
	errLengthHere = &Error{502, detailCLHere, "Content-Length in a response that cannot have it"}
	errSwitch     = &Error{502, detailCodec, "101 that nothing asked for or that names no protocol"}

	errChunkSize = &Error{400, detailCodec, "malformed chunk size"}
	errChunkExt  = &Error{400, detailCodec, "malformed chunk extension"}
	errChunkExts = &Error{400, detailCodec, "chunk extensions too long"}
	errChunkEnd  = &Error{400, detailCodec, "chunk data does not end with CRLF"}
	errTrailers  = &Error{431, detailLarge, "trailers too large"}

	errWriteMethod = &Error{500, detailCodec, "request without a writable method"}
	errWriteTarget = &Error{500, detailURL, "request without a writable path or authority"}
	errWriteStatus = &Error{500, detailCodec, "response without a writable status"}
	errWriteName   = &Error{500, detailChars, "a header field name that cannot be written"}
	errWriteValue  = &Error{500, detailChars, "a header field value that cannot be written"}
	errWriteBody   = &Error{500, detailCodec, "a response that cannot have this body"}
)
