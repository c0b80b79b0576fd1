// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// xdstp begins the names of resources that say themselves whom they are of and of what
// type: xdstp://AUTHORITY/TYPE/ID?PARAMETER=VALUE. They are called so in cncf/xds TP1.
const xdstp = "xdstp:"

// IsURN reports whether a name is of that form.
func IsURN(name string) bool { return strings.HasPrefix(name, xdstp) }

// A URN is such a name, in parts that have no escapes.
type URN struct {
	Authority, Type, ID string
	// Params are the context parameters.
	Params map[string]string
	// Directives is what stands behind a #, which only locators have.
	Directives string
}

// maxURN bounds a name, in bytes.
const maxURN = 8 << 10

// ParseURN reads a name. The error tells what is wrong with it.
func ParseURN(name string) (URN, error) {
	rest, ok := strings.CutPrefix(name, xdstp+"//")
	switch {
	case !ok:
		return URN{}, errors.New("does not begin with xdstp://")
	case len(name) > maxURN:
		return URN{}, fmt.Errorf("has more than %d bytes", maxURN)
	}
	var u URN
	var err error
	rest, u.Directives, _ = strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if u.Authority, err = unescape(authority); err != nil {
		return URN{}, fmt.Errorf("authority: %w", err)
	}
	var id string
	if u.Type, id, _ = strings.Cut(path, "/"); u.Type == "" {
		return URN{}, errors.New("has no type of resource: write xdstp://AUTHORITY/TYPE/ID")
	}
	if u.ID, err = unescape(id); err != nil {
		return URN{}, fmt.Errorf("id: %w", err)
	}
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		if key, err = unescape(key); err == nil {
			value, err = unescape(value)
		}
		if err != nil {
			return URN{}, fmt.Errorf("context parameter: %w", err)
		}
		if u.Params == nil {
			u.Params = map[string]string{}
		}
		if _, twice := u.Params[key]; twice {
			return URN{}, fmt.Errorf("context parameter %q is there twice", key)
		}
		u.Params[key] = value
	}
	return u, nil
}

// String is the name in its one form: context parameters in order, and escapes only where
// they must be.
func (u URN) String() string {
	b := append(make([]byte, 0, 64), xdstp+"//"...)
	b = append(escape(b, u.Authority, "%/?#"), '/')
	b = append(b, u.Type...)
	if u.ID != "" {
		b = escape(append(b, '/'), u.ID, "%:?#[]")
	}
	params := make([]string, 0, len(u.Params))
	for key, value := range u.Params {
		p := append(escape(nil, key, "%#[]&="), '=')
		params = append(params, string(escape(p, value, "%#[]&=")))
	}
	slices.Sort(params)
	for i, p := range params {
		b = append(b, "?&"[min(i, 1)])
		b = append(b, p...)
	}
	if u.Directives != "" {
		b = append(append(b, '#'), u.Directives...)
	}
	return string(b)
}

// IsGlob reports whether the name stands for all resources of a collection: those whose
// IDs begin alike and have one more part.
func (u URN) IsGlob() bool { return u.ID == "*" || strings.HasSuffix(u.ID, "/*") }

// glob is the collection that a resource is of.
func (u URN) glob() URN {
	u.ID = u.ID[:strings.LastIndexByte(u.ID, '/')+1] + "*"
	return u
}

// GlobOf is the name of the collection that a resource is of, "" if it is of none.
func GlobOf(name string) string {
	if !IsURN(name) {
		return ""
	}
	u, err := ParseURN(name)
	if err != nil {
		return ""
	}
	return u.glob().String()
}

// Canonical is a name in its one form, if it is a URN, else the name as it is.
func Canonical(name string) (string, error) {
	if !IsURN(name) {
		return name, nil
	}
	u, err := ParseURN(name)
	if err != nil {
		return "", fmt.Errorf("the name %.200q: %w", name, err)
	}
	return u.String(), nil
}

// escape appends s with an escape for each byte that is one of special, or no visible
// character of ASCII.
func escape(b []byte, s, special string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(special, c) >= 0 {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("%.50q ends within an escape", s)
		}
		high, low := nibble(s[i+1]), nibble(s[i+2])
		if high < 0 || low < 0 {
			return "", fmt.Errorf("%.50q has %q, which is no escape", s, s[i:i+3])
		}
		b = append(b, byte(high<<4|low))
		i += 2
	}
	return string(b), nil
}

func nibble(c byte) int {
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
