// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// head picks one of a stream's header maps; nil if it has none.
type head func(*streaminfo.Stream) *header.Map

func requestHead(s *streaminfo.Stream) *header.Map     { return s.Request }
func responseHead(s *streaminfo.Stream) *header.Map    { return s.Response }
func responseTrailer(s *streaminfo.Stream) *header.Map { return s.ResponseTrailer }

// first returns the value of the first of the names that is there; nil if none
// is.
func first(m *header.Map, a, b header.Name) []byte {
	if m == nil {
		return nil
	}
	if v := m.Get(a); v != nil || b.IsZero() {
		return v
	}
	return m.Get(b)
}

// headerArg reads "X?Y".
func headerArg(arg string) (a, b header.Name, err error) {
	x, y, _ := strings.Cut(arg, "?")
	if strings.Contains(y, "?") {
		return a, b, fmt.Errorf("%q: one alternative header is the most", arg)
	}
	for _, n := range []string{x, y} {
		for i := 0; i < len(n); i++ {
			if c := n[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/;<=>@[\]{}`, c) >= 0 || c == ':' && i > 0 {
				return a, b, fmt.Errorf("%q is not a header name", n)
			}
		}
	}
	if x == "" {
		return a, b, fmt.Errorf("%q: the name of the header is missing", arg)
	}
	if a = header.NewName(x); y != "" {
		b = header.NewName(y)
	}
	return a, b, nil
}

func headerOp(h head) Constructor {
	return func(arg string, _ bool) (Operator, error) {
		a, b, err := headerArg(arg)
		return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
			v := first(h(c.Stream), a, b)
			return append(dst, v...), v != nil
		}}, err
	}
}

// headBytes counts names and values, as Envoy's byteSize does.
func headBytes(h head) Constructor {
	return number(func(s *streaminfo.Stream) (int64, bool) {
		if m := h(s); m != nil {
			return int64(m.Size()), true
		}
		return 0, true
	})
}

func withoutQuery(arg string, _ bool) (Operator, error) {
	a, b, err := headerArg(arg)
	return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		v := first(c.Stream.Request, a, b)
		path, _, _ := bytes.Cut(v, []byte("?"))
		return append(dst, path...), v != nil
	}}, err
}

// options reads "X:Y" where each is one of a set; the first of a set is its
// default.
func options(arg string, sets ...[]string) ([]string, error) {
	parts := strings.Split(arg, ":")
	if len(parts) > len(sets) {
		return nil, fmt.Errorf("%q has %d options; %d are the most", arg, len(parts), len(sets))
	}
	out := make([]string, len(sets))
	for i, set := range sets {
		out[i] = set[0]
		if i >= len(parts) || parts[i] == "" {
			continue
		}
		found := false
		for _, s := range set {
			found = found || s == parts[i]
		}
		if !found {
			return nil, fmt.Errorf("%q is none of %s", parts[i], strings.Join(set, ", "))
		}
		out[i] = parts[i]
	}
	return out, nil
}

// source returns the names to ask, in order, for ORIG, PATH or both.
func source(choice, plain string, orig, now header.Name) (a, b header.Name) {
	switch choice {
	case "ORIG":
		return orig, header.Name{}
	case plain:
		return now, header.Name{}
	}
	return orig, now
}

func pathOp(arg string, _ bool) (Operator, error) {
	o, err := options(arg, []string{"WQ", "NQ"}, []string{"ORIG_OR_PATH", "ORIG", "PATH"})
	if err != nil {
		return Operator{}, err
	}
	a, b := source(o[1], "PATH", header.XEnvoyOriginalPath, header.Path)
	cut := o[0] == "NQ"
	return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		v := first(c.Stream.Request, a, b)
		if i := bytes.IndexByte(v, '?'); cut && i >= 0 {
			v = v[:i]
		}
		return append(dst, v...), v != nil
	}}, nil
}

func serverNameOp(arg string, _ bool) (Operator, error) {
	o, err := options(arg, []string{"SNI_ONLY", "SNI_FIRST", "HOST_FIRST"}, []string{"ORIG_OR_HOST", "ORIG", "HOST"})
	if err != nil {
		return Operator{}, err
	}
	a, b := source(o[1], "HOST", header.XEnvoyOriginalHost, header.Authority)
	return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		var sni string
		if c.Stream.Conn != nil {
			sni = c.Stream.Conn.ServerName
		}
		if o[0] == "SNI_ONLY" || o[0] == "SNI_FIRST" && sni != "" {
			return append(dst, sni...), sni != ""
		}
		if host := first(c.Stream.Request, a, b); len(host) > 0 {
			return append(dst, host...), true
		}
		return append(dst, sni...), sni != ""
	}}, nil
}

// query returns what follows '?' in the request's path, nil without a '?'.
func query(s *streaminfo.Stream) []byte {
	path := first(s.Request, header.Path, header.Name{})
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		q, _, _ := bytes.Cut(path[i+1:], []byte("#"))
		return q
	}
	return nil
}

func queryParam(arg string, _ bool) (Operator, error) {
	return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		start := len(dst)
		for q := query(c.Stream); len(q) > 0; {
			var pair []byte
			pair, q, _ = bytes.Cut(q, []byte("&"))
			name, value, _ := bytes.Cut(pair, []byte("="))
			dst = unescape(dst[:start], name)
			if string(dst[start:]) == arg {
				return unescape(dst[:start], value), true
			}
		}
		return dst[:start], false
	}}, nil
}

func queryParams(arg string, _ bool) (Operator, error) {
	o, err := options(arg, []string{"ORIG", "DECODED"})
	if err != nil {
		return Operator{}, err
	}
	return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		q := query(c.Stream)
		if o[0] == "DECODED" {
			return unescape(dst, q), len(q) > 0
		}
		return append(dst, q...), len(q) > 0
	}}, nil
}

// unescape appends b with percent escapes decoded; a malformed one stays.
func unescape(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			hi, lo := unhex(b[i+1]), unhex(b[i+2])
			if hi < 16 && lo < 16 {
				dst = append(dst, hi<<4|lo)
				i += 2
				continue
			}
		}
		dst = append(dst, b[i])
	}
	return dst
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

var grpcNames = [...]struct{ camel, snake string }{
	{"OK", "OK"},
	{"Canceled", "CANCELLED"},
	{"Unknown", "UNKNOWN"},
	{"InvalidArgument", "INVALID_ARGUMENT"},
	{"DeadlineExceeded", "DEADLINE_EXCEEDED"},
	{"NotFound", "NOT_FOUND"},
	{"AlreadyExists", "ALREADY_EXISTS"},
	{"PermissionDenied", "PERMISSION_DENIED"},
	{"ResourceExhausted", "RESOURCE_EXHAUSTED"},
	{"FailedPrecondition", "FAILED_PRECONDITION"},
	{"Aborted", "ABORTED"},
	{"OutOfRange", "OUT_OF_RANGE"},
	{"Unimplemented", "UNIMPLEMENTED"},
	{"Internal", "INTERNAL"},
	{"Unavailable", "UNAVAILABLE"},
	{"DataLoss", "DATA_LOSS"},
	{"Unauthenticated", "UNAUTHENTICATED"},
}

func grpcOp(arg string, _ bool) (Operator, error) {
	o, err := options(arg, []string{"CAMEL_STRING", "SNAKE_STRING", "NUMBER"})
	if err != nil {
		return Operator{}, err
	}
	style := o[0]
	return Operator{Number: style == "NUMBER", Text: func(dst []byte, c Context) ([]byte, bool) {
		if !isGRPC(c.Stream.Request) {
			return dst, false
		}
		code, ok := GRPCStatus(c.Stream)
		switch {
		case !ok:
			return dst, false
		case style == "NUMBER" || code < 0 || code >= int64(len(grpcNames)):
			return strconv.AppendInt(dst, code, 10), true
		case style == "SNAKE_STRING":
			return append(dst, grpcNames[code].snake...), true
		}
		return append(dst, grpcNames[code].camel...), true
	}}, nil
}

func isGRPC(m *header.Map) bool {
	const grpc = "application/grpc"
	v := first(m, header.ContentType, header.Name{})
	return len(v) >= len(grpc) && string(v[:len(grpc)]) == grpc && (len(v) == len(grpc) || v[len(grpc)] == '+' || v[len(grpc)] == ';')
}

// GRPCStatus returns the gRPC status of a stream: the trailer's, the head's,
// or else what the gRPC specification maps the HTTP status to. A malformed
// status is -1, as in Envoy. It is not there if there was no response.
func GRPCStatus(s *streaminfo.Stream) (int64, bool) {
	for _, m := range [...]*header.Map{s.ResponseTrailer, s.Response} {
		if v := first(m, header.GRPCStatus, header.Name{}); v != nil {
			return grpcCode(v), true
		}
	}
	switch s.Status {
	case 0:
		return 0, false
	case 400:
		return 13, true
	case 401:
		return 16, true
	case 403:
		return 7, true
	case 404:
		return 12, true
	case 429, 502, 503, 504:
		return 14, true
	}
	return 2, true
}

func grpcCode(v []byte) int64 {
	if len(v) == 0 || len(v) > 9 {
		return -1
	}
	n := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
