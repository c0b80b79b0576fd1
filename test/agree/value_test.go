// SPDX-License-Identifier: Apache-2.0

package agree

import (
	"slices"
	"strings"
)

// hostile are values that nobody should write, and somebody does, in the place of one of their kind.
func hostile(old any) []any {
	switch old := old.(type) {
	case int, float64:
		return []any{-1, 0, 1, 99, 600, 65535, 65536, 1<<31 - 1, 1 << 31, 1 << 40, 1.5, 1e300, nil, "1"}
	case bool:
		return []any{!old, nil}
	case string:
		return texts()
	case []any:
		out := []any{nil, []any{}}
		if len(old) > 0 {
			out = append(out, slices.Concat(old, old[:1]), slices.Repeat(old[:1], 300))
		}
		if _, ok := old[:min(1, len(old))], len(old) > 0; ok && isText(old[0]) {
			out = append(out, []any{""}, []any{"a", "a"})
		}
		return out
	case map[string]any:
		return []any{nil, map[string]any{}}
	}
	return nil
}

func isText(v any) bool {
	_, ok := v.(string)
	return ok
}

func texts() []any {
	var out []any
	for _, list := range [][]string{
		{"", " ", "a b", "a\nb", "a\r\nx: y", "\x00", "\x7f", "\t", "é", "🦊.example", "\u202e", "NaN", "Inf", "null", "true", strings.Repeat("x", 300), strings.Repeat("x", 5000), "UPPER", "-", "_", "$", `\`, `"`, "'", "{x}", ";", ","},
		// Formats.
		{"%", "%%", "%s", "%REQ(a b)%", "%REQ(a)", "%REQ()%", "%START_TIME(%s)%", "%UNKNOWN%", "%DYNAMIC_METADATA()%", "%REQ(a):99999999999%"},
		// Regular expressions.
		{"(", "*", "[", "a{1000}{1000}", "(a+)+$", "(?=a)", `\1`, "(?P<n>a)(?P<n>b)", strings.Repeat("(a|b)?", 500), ".*"},
		// Numbers and times.
		{"-1", "0", "0s", "-5s", "1h1h", "1.5h", "99999999999999s", "1e9s", "100", "100%", "1ns", "1us", "10ms", "1Gi", "-1Gi", "0.0001", "18446744073709551616"},
		// Hosts and addresses.
		{"*.", "*.*", "*.a", "a.*", "a*", ".", ".a", "a.", "a..b", "::1", "[::1]", "[::1]:80", "::ffff:1.2.3.4", "1.2.3.4", "1.2.3.4/8", "127.0.0.1/99", "0.0.0.0/0", "a:0", "a:65536", "a:80", "xn--nxasmq6b", "localhost", "host"},
		// Paths, addresses of the web, headers and cookies.
		{"/", "//", "a/b", "/a/../b", "/a?b", "/a#b", "/%zz", "/a b", "/{a}", "/**", "/é", "http://[", "http://a:b@c", "ftp://a", "https://", "//a/b", ":path", ":authority", "Host", "a:b", "a\"b", "__Host-a", "a;b"},
	} {
		for _, text := range list {
			out = append(out, text)
		}
	}
	return out
}
