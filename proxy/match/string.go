// SPDX-License-Identifier: Apache-2.0

package match

import (
	"net/netip"
	"strconv"
	"strings"

	"weir.dev/weir/proxy/header"
)

type stringKind uint8

const (
	anyString stringKind = iota
	exact
	prefix
	suffix
	contains
	regex
)

// String matches a string as envoy.type.matcher.v3.StringMatcher does. The
// zero String matches everything.
type String struct {
	kind stringKind
	fold bool
	text string // in lower case if fold
	re   *Regex
}

// Exact returns a matcher of exactly s.
func Exact(s string) *String { return &String{kind: exact, text: s} }

// Prefix returns a matcher of what begins with s.
func Prefix(s string) *String { return &String{kind: prefix, text: s} }

// Match reports whether s matches. It does not keep s.
func (m *String) Match(s string) bool {
	if m.kind == regex {
		return m.re.Match(s)
	}
	return m.plain(s)
}

// MatchBytes is Match on bytes.
func (m *String) MatchBytes(b []byte) bool { return m.Match(view(b)) }

// plain matches all but regular expressions: apart from Match so that s does
// not escape and may lie on the caller's stack.
func (m *String) plain(s string) bool {
	if m.fold {
		return m.folded(s)
	}
	switch m.kind {
	case exact:
		return s == m.text
	case prefix:
		return strings.HasPrefix(s, m.text)
	case suffix:
		return strings.HasSuffix(s, m.text)
	case contains:
		return strings.Contains(s, m.text)
	}
	return m.kind == anyString
}

func (m *String) folded(s string) bool {
	n := len(m.text)
	switch m.kind {
	case exact:
		return header.EqualLower(s, m.text)
	case prefix:
		return len(s) >= n && header.EqualLower(s[:n], m.text)
	case suffix:
		return len(s) >= n && header.EqualLower(s[len(s)-n:], m.text)
	case contains:
		return containsFold(s, m.text)
	}
	return m.kind == anyString
}

// matchAddr matches an address in its text form.
func (m *String) matchAddr(a netip.Addr) bool {
	if m.kind == regex {
		return m.re.Match(a.String())
	}
	var buf [64]byte
	return m.plain(view(a.AppendTo(buf[:0])))
}

// matchNumber matches a number in decimal.
func (m *String) matchNumber(n int64) bool {
	if m.kind == regex {
		return m.re.Match(strconv.FormatInt(n, 10))
	}
	var buf [24]byte
	return m.plain(view(strconv.AppendInt(buf[:0], n, 10)))
}

// Strings matches if any of its matchers does.
type Strings []*String

// Match reports whether any matcher matches s.
func (l Strings) Match(s string) bool {
	for _, m := range l {
		if m.Match(s) {
			return true
		}
	}
	return false
}

// MatchBytes is Match on bytes.
func (l Strings) MatchBytes(b []byte) bool { return l.Match(view(b)) }
