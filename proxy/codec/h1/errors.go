// SPDX-License-Identifier: Apache-2.0

package h1

import "weir.dev/weir/proxy/codec"

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
	errPreface     = fault(505, detailCodec, "an HTTP/2 connection preface on an HTTP/1 connection")
	errBlank       = fault(400, detailCodec, "too many empty lines before the request line")
	errBareLF      = fault(400, detailCodec, "a line ends without CR")
	errBareCR      = fault(400, detailCodec, "a CR without LF")
	errRequestLine = fault(400, detailCodec, "malformed request line")
	errVersion     = fault(400, detailCodec, "malformed HTTP version")
	errVersion505  = fault(505, detailCodec, "HTTP version not supported")
	errHTTP10      = fault(426, detailLowVersion, "HTTP/1.0 is not accepted")
	errMethod      = fault(400, detailCodec, "unknown or malformed method")
	errTarget      = fault(400, detailURL, "malformed request target")
	errFragment    = fault(400, detailURL, "request target with a fragment")
	errAbsolute    = fault(400, detailURL, "request target in absolute form is not allowed")
	errScheme      = fault(400, detailScheme, "request target with a scheme other than http and https")
	errLine        = fault(414, detailLarge, "request line too long")
	errLarge       = fault(431, detailLarge, "message head too large")
	errMany        = fault(431, detailMany, "too many header fields")

	errFold       = fault(400, detailCodec, "a header line begins with whitespace")
	errName       = fault(400, detailCodec, "malformed header field name")
	errSpaceColon = fault(400, detailCodec, "whitespace between a header field name and the colon")
	errNoColon    = fault(400, detailCodec, "a header line without a colon")
	errValue      = fault(400, detailChars, "a header field value with a control character")
	errUnderscore = fault(400, detailUnderscore, "a header field name with an underscore")

	errNoHost   = fault(400, detailNoHost, "no Host header field")
	errManyHost = fault(400, detailCodec, "more than one Host header field")
	errHost     = fault(400, detailAuthority, "malformed Host header field")

	errLength     = fault(400, detailCodec, "malformed Content-Length")
	errLengths    = fault(400, detailCodec, "more than one Content-Length")
	errTE         = fault(400, detailTE, "a Transfer-Encoding other than chunked")
	errTE10       = fault(400, detailTE, "Transfer-Encoding in an HTTP/1.0 message")
	errBoth       = fault(400, detailBoth, "Transfer-Encoding with Content-Length")
	errConnection = fault(400, detailConn, "malformed Connection header field, or it names a field it may not")
	errBody       = fault(400, detailBody, "CONNECT with content")
	errExpect     = fault(417, detailCodec, "an expectation other than 100-continue")

	errStatusLine = fault(502, detailCodec, "malformed status line")
	errTEHere     = fault(502, detailTEHere, "Transfer-Encoding in a response that cannot have it")
	errLengthHere = fault(502, detailCLHere, "Content-Length in a response that cannot have it")
	errSwitch     = fault(502, detailCodec, "101 that nothing asked for or that names no protocol")

	errChunkSize = fault(400, detailCodec, "malformed chunk size")
	errChunkExt  = fault(400, detailCodec, "malformed chunk extension")
	errChunkExts = fault(400, detailCodec, "chunk extensions too long")
	errChunkEnd  = fault(400, detailCodec, "chunk data does not end with CRLF")
	errTrailers  = fault(431, detailLarge, "trailers too large")

	errWriteMethod = fault(500, detailCodec, "request without a writable method")
	errWriteTarget = fault(500, detailURL, "request without a writable path or authority")
	errWriteStatus = fault(500, detailCodec, "response without a writable status")
	errWriteName   = fault(500, detailChars, "a header field name that cannot be written")
	errWriteValue  = fault(500, detailChars, "a header field value that cannot be written")
	errWriteBody   = fault(500, detailCodec, "a response that cannot have this body")
)

func fault(status int, detail, reason string) *codec.Error {
	return &codec.Error{Status: status, Detail: detail, Reason: reason}
}
