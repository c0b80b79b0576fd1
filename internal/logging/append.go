// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"encoding/json"
	"log/slog"
	"strconv"
	"time"
	"unicode/utf8"
)

// appendText appends the message and its attributes as key=value.
func appendText(to []byte, r *record) []byte {
	to = appendEscaped(to, r.message)
	for _, a := range r.attrs {
		to = append(to, ' ')
		to = appendEscaped(to, a.Key)
		to = append(to, '=')
		s := valueText(a.Value)
		if plain(s) {
			to = append(to, s...)
			continue
		}
		to = appendQuoted(to, s)
	}
	return to
}

// appendJSON appends the record as a JSON object. An attribute may repeat a key; readers take the last.
func appendJSON(to []byte, r *record) []byte {
	to = append(to, `{"time":"`...)
	to = r.at.AppendFormat(to, time.RFC3339Nano)
	to = append(to, `","level":"`...)
	to = append(to, LevelName(r.level)...)
	to = append(to, `","component":`...)
	to = appendQuoted(to, r.component)
	to = append(to, `,"message":`...)
	to = appendQuoted(to, r.message)
	for _, a := range r.attrs {
		to = append(to, ',')
		to = appendQuoted(to, a.Key)
		to = append(to, ':')
		to = appendJSONValue(to, a.Value)
	}
	return append(to, '}')
}

// appendJSONValue keeps numbers and booleans as such; all else is a string.
func appendJSONValue(to []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindInt64:
		return strconv.AppendInt(to, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(to, v.Uint64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(to, v.Bool())
	case slog.KindFloat64:
		// NaN and the infinities have no form in JSON and stay strings.
		if b, err := json.Marshal(v.Float64()); err == nil {
			return append(to, b...)
		}
	}
	return appendQuoted(to, valueText(v))
}

// valueText is a value as a reader of the log wants it: times with their zone, the rest as slog has it.
func valueText(v slog.Value) string {
	if v.Kind() == slog.KindTime {
		return v.Time().Format(time.RFC3339Nano)
	}
	return v.String()
}

// plain tells whether s can stand after '=' without quotes.
func plain(s string) bool {
	if s == "" {
		return false
	}
	for _, c := range s {
		if c <= ' ' || c == '"' || c == '=' || c == 0x7f || c == utf8.RuneError || 0x80 <= c && c < 0xa0 {
			return false
		}
	}
	return true
}

// appendEscaped appends s with control characters and bytes that are not UTF-8 written as escapes, so that a
// line stays one line and a terminal obeys nobody but its owner.
func appendEscaped(to []byte, s string) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; ' ' <= c && c < 0x7f {
			to = append(to, c)
			i++
			continue
		}
		c, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == '\n':
			to = append(to, `\n`...)
		case c == '\r':
			to = append(to, `\r`...)
		case c == '\t':
			to = append(to, `\t`...)
		case c == utf8.RuneError && n == 1, c < 0xa0:
			to = append(to, `\x`...)
			to = appendHex(to, s[i])
			if n == 2 {
				to = append(to, `\x`...)
				to = appendHex(to, s[i+1])
			}
		default:
			to = append(to, s[i:i+n]...)
		}
		i += n
	}
	return to
}

// appendHex appends the two hexadecimal digits of c.
func appendHex(to []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	return append(to, digits[c>>4], digits[c&15])
}

// appendQuoted appends s as a JSON string, which is also how a quoted value looks in text.
func appendQuoted(to []byte, s string) []byte {
	const digits = "0123456789abcdef"
	to = append(to, '"')
	for _, c := range s { // A byte that is not UTF-8 comes out as U+FFFD: JSON has nothing else for it.
		switch {
		case c == '"' || c == '\\':
			to = append(to, '\\', byte(c))
		case c == '\n':
			to = append(to, `\n`...)
		case c == '\r':
			to = append(to, `\r`...)
		case c == '\t':
			to = append(to, `\t`...)
		case c < ' ' || 0x7f <= c && c < 0xa0:
			to = append(to, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			to = utf8.AppendRune(to, c)
		}
	}
	return append(to, '"')
}
