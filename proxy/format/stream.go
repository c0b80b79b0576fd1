// SPDX-License-Identifier: Apache-2.0

package format

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"strconv"

	"weir.dev/weir/proxy/streaminfo"
)

// number makes an operator that prints an integer.
func number(get func(*streaminfo.Stream) (int64, bool)) Constructor {
	run := Operator{Number: true, Text: func(dst []byte, c Context) ([]byte, bool) {
		n, ok := get(c.Stream)
		if !ok {
			return dst, false
		}
		return strconv.AppendInt(dst, n, 10), true
	}}
	return func(string, bool) (Operator, error) { return run, nil }
}

// count makes an operator that prints a counter.
func count(get func(*streaminfo.Stream) uint64) Constructor {
	run := Operator{Number: true, Text: func(dst []byte, c Context) ([]byte, bool) {
		return strconv.AppendUint(dst, get(c.Stream), 10), true
	}}
	return func(string, bool) (Operator, error) { return run, nil }
}

// text makes an operator that prints a string; "" is a missing value.
func text(get func(*streaminfo.Stream) string) Constructor {
	run := Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		s := get(c.Stream)
		return append(dst, s...), s != ""
	}}
	return func(string, bool) (Operator, error) { return run, nil }
}

// view is text for bytes of the stream.
func view(get func(*streaminfo.Stream) []byte) Constructor {
	run := Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		s := get(c.Stream)
		return append(dst, s...), len(s) > 0
	}}
	return func(string, bool) (Operator, error) { return run, nil }
}

// always makes an operator that has a value even if it is empty.
func always(run func(dst []byte, c Context) []byte) Constructor {
	o := Operator{Text: func(dst []byte, c Context) ([]byte, bool) { return run(dst, c), true }}
	return func(string, bool) (Operator, error) { return o, nil }
}

// conn makes an operator that prints a string of the downstream connection.
func conn(get func(*streaminfo.Connection) string) Constructor {
	return text(func(s *streaminfo.Stream) string {
		if s.Conn == nil {
			return ""
		}
		return get(s.Conn)
	})
}

func hostname(o *Options) (Operator, error) {
	name := o.Hostname
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			name = "-"
		}
	}
	return constant(name), nil
}

func constant(s string) Operator {
	return Operator{Text: func(dst []byte, _ Context) ([]byte, bool) { return append(dst, s...), true }}
}

func environment(arg string, o *Options) (Operator, error) {
	get := o.Getenv
	if get == nil {
		get = os.LookupEnv
	}
	v, ok := get(arg)
	if !ok {
		v = "-"
	}
	return constant(v), nil
}

// codeDetails is %RESPONSE_CODE_DETAILS%: white space becomes '_' unless asked
// for.
func codeDetails(arg string, _ bool) (Operator, error) {
	spaces := arg == "ALLOW_WHITESPACES"
	return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		start := len(dst)
		dst = append(dst, c.Stream.StatusDetails...)
		if !spaces {
			for i, b := range dst[start:] {
				if b == ' ' || b >= '\t' && b <= '\r' {
					dst[start+i] = '_'
				}
			}
		}
		return dst, len(dst) > start
	}}, nil
}

func logType(dst []byte, c Context) []byte {
	if c.LogType == "" {
		return append(dst, "NotSet"...)
	}
	return append(dst, c.LogType...)
}

// uniqueID appends a random UUID (RFC 9562 version 4).
func uniqueID(dst []byte, _ Context) []byte {
	var id [16]byte
	rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	dst = append(hex.AppendEncode(dst, id[:4]), '-')
	dst = append(hex.AppendEncode(dst, id[4:6]), '-')
	dst = append(hex.AppendEncode(dst, id[6:8]), '-')
	dst = append(hex.AppendEncode(dst, id[8:10]), '-')
	return hex.AppendEncode(dst, id[10:])
}
