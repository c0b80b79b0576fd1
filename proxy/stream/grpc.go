// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"net/http"
	"time"

	"weir.dev/weir/proxy/header"
)

var grpcPrefix = []byte("application/grpc")

// IsGRPC reports whether a content type is gRPC's: "application/grpc",
// perhaps with "+proto" and the like.
func IsGRPC(contentType []byte) bool {
	rest, ok := bytes.CutPrefix(contentType, grpcPrefix)
	return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
}

// ParseGRPCTimeout reads the value of grpc-timeout: at most eight digits and a unit
// (the gRPC specification's PROTOCOL-HTTP2). It is false for anything else.
func ParseGRPCTimeout(v []byte) (time.Duration, bool) {
	if len(v) < 2 || len(v) > 9 {
		return 0, false
	}
	n := time.Duration(0)
	for _, c := range v[:len(v)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + time.Duration(c-'0')
	}
	unit := time.Duration(0)
	switch v[len(v)-1] {
	case 'H':
		// The longest that fits is 292 years.
		n, unit = min(n, 2_000_000), time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	}
	return n * unit, unit > 0
}

func (s *Stream) isGRPC() bool {
	return s.Request.Header != nil && IsGRPC(s.Request.Header.Get(header.ContentType))
}

// replyGRPC turns a reply into a trailers-only gRPC response: status 200, the
// real outcome in grpc-status and grpc-message, no body.
func (s *Stream) replyGRPC(r *Reply) {
	h := s.Response.Header
	code := r.GRPCStatus
	if code == 0 {
		code = grpcCode(r.Status)
	}
	h.Set(header.Status, "200")
	s.Info.Status = http.StatusOK
	h.Set(header.ContentType, "application/grpc")
	h.SetInt(header.GRPCStatus, int64(code))
	s.owner.Localise(s)
	if len(s.text) > 0 {
		h.SetBytes(header.GRPCMessage, appendEscaped(nil, s.text))
	}
	s.text = s.text[:0]
}

// grpcCode maps an HTTP status to a gRPC status (the gRPC specification's
// http-grpc-status-mapping).
func grpcCode(status int) int {
	switch status {
	case http.StatusBadRequest:
		return 13 // INTERNAL
	case http.StatusUnauthorized:
		return 16 // UNAUTHENTICATED
	case http.StatusForbidden:
		return 7 // PERMISSION_DENIED
	case http.StatusNotFound:
		return 12 // UNIMPLEMENTED
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 14 // UNAVAILABLE
	}
	return 2 // UNKNOWN
}

// appendEscaped percent-encodes a grpc-message: all but printable ASCII, and
// the percent sign.
func appendEscaped(dst, msg []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range msg {
		if c >= ' ' && c <= '~' && c != '%' {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', hex[c>>4], hex[c&15])
	}
	return dst
}
