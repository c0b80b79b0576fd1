// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"net/http"
	"strconv"
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

// AppendGRPCTimeout appends the value of grpc-timeout for d, at least a millisecond, in
// the finest unit from the millisecond on that eight digits suffice for.
func AppendGRPCTimeout(dst []byte, d time.Duration) []byte {
	const most = 99_999_999
	unit, letter := time.Millisecond, byte('m')
	switch {
	case d > most*time.Second:
		unit, letter = time.Hour, 'H'
	case d > most*time.Millisecond:
		unit, letter = time.Second, 'S'
	}
	return append(strconv.AppendInt(dst, int64(max(d/unit, 1)), 10), letter)
}

// GRPCStatus is a gRPC status code, or none: the zero value.
type GRPCStatus struct {
	code int
	set  bool
}

// GRPC returns the status of a code, which may be 0 (OK).
func GRPC(code int) GRPCStatus { return GRPCStatus{code, true} }

// Code returns the code, and whether there is one.
func (g GRPCStatus) Code() (int, bool) { return g.code, g.set }

// kind is what the client's request is, whatever filters make of it later: its
// answers made here are in its form.
type kind uint8

const (
	kindSettled kind = 1 << iota
	kindGRPC
	kindHead
)

func (s *Stream) settleKind() {
	h := s.Request.Header
	if s.kind != 0 || h == nil {
		return
	}
	s.kind = kindSettled
	if IsGRPC(h.Get(header.ContentType)) {
		s.kind |= kindGRPC
	}
	if string(h.Get(header.Method)) == http.MethodHead {
		s.kind |= kindHead
	}
}

func (s *Stream) isGRPC() bool {
	s.settleKind()
	return s.kind&kindGRPC != 0
}

// replyGRPC turns a reply into a head that ends the stream (Trailers-Only):
// status 200, the real outcome in grpc-status and grpc-message, no body.
func (s *Stream) replyGRPC(r *Reply) {
	h := s.Response.Header
	if len(r.Body) > 0 && r.ContentType != "" {
		h.Set(header.ContentType, r.ContentType)
	}
	s.owner.Localise(s)
	if !h.Has(header.GRPCStatus) {
		code, ok := r.GRPCStatus.Code()
		if !ok {
			code = GRPCFromHTTP(s.Info.Status)
		}
		h.SetInt(header.GRPCStatus, int64(code))
	}
	text := s.text
	if string(h.Get(header.ContentType)) == "application/json" {
		text = bytes.TrimSuffix(text, []byte("\n")) // What the formatter ends a line with.
	}
	if len(text) > 0 && s.kind&kindHead == 0 {
		h.SetBytes(header.GRPCMessage, AppendGRPCMessage(nil, text))
	}
	s.text = s.text[:0]
	h.Set(header.Status, "200")
	s.Info.Status = http.StatusOK
	h.Set(header.ContentType, "application/grpc")
	h.Del(header.ContentLength)
}

// GRPCFromHTTP maps an HTTP status to a gRPC code (the gRPC specification's
// http-grpc-status-mapping).
func GRPCFromHTTP(status int) int {
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

// httpOfGRPC has the HTTP status of each gRPC code, as google.rpc.Code maps
// them; 499 is nginx's "client closed request".
var httpOfGRPC = [...]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}

// HTTPFromGRPC maps a gRPC code to an HTTP status (google.rpc.Code); a code that
// is not known is 500.
func HTTPFromGRPC(code int) int {
	if code < 0 || code >= len(httpOfGRPC) {
		return http.StatusInternalServerError
	}
	return httpOfGRPC[code]
}

// ParseGRPCStatus reads the value of grpc-status: a decimal number. It is false
// for anything else.
func ParseGRPCStatus(v []byte) (int, bool) {
	if len(v) == 0 || len(v) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// IsGRPCResponse reports whether a response is gRPC's: 200 with its content
// type, or a head alone that has a grpc-status (Trailers-Only).
func IsGRPCResponse(m *Message) bool {
	if m.Body == nil {
		return m.Header.Has(header.GRPCStatus)
	}
	return string(m.Header.Get(header.Status)) == "200" && IsGRPC(m.Header.Get(header.ContentType))
}

// AppendGRPCMessage appends a text as a grpc-message: percent-encoded are all
// bytes but printable ASCII, and the percent sign.
func AppendGRPCMessage(dst, text []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range text {
		if c >= ' ' && c <= '~' && c != '%' {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', hex[c>>4], hex[c&15])
	}
	return dst
}

// AppendGRPCText appends the text of a grpc-message. What is not an escape
// stands for itself, as the gRPC specification asks of those who read.
func AppendGRPCText(dst, msg []byte) []byte {
	for i := 0; i < len(msg); i++ {
		if msg[i] == '%' && i+2 < len(msg) {
			hi, lo := unhex(msg[i+1]), unhex(msg[i+2])
			if hi >= 0 && lo >= 0 {
				dst = append(dst, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		dst = append(dst, msg[i])
	}
	return dst
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
