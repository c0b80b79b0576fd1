// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"net"
	"regexp"
	"strings"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
)

// A glob is a host name, with a star at its start or its end that stands for any
// letters, or attach.AnyHost. It is in lower case and has no port.

// globOf makes a glob of a host name as people write it.
func globOf(name string) string {
	name = strings.ToLower(name)
	if host, _, err := net.SplitHostPort(name); err == nil && host != "" {
		return host
	}
	return name
}

// validGlob reports whether a text can be a host name that has its star, if any, at one end.
func validGlob(g string) bool {
	return g == attach.AnyHost || g != "" && !strings.Contains(strings.TrimSuffix(strings.TrimPrefix(g, "*"), "*"), "*") &&
		!(strings.HasPrefix(g, "*") && strings.HasSuffix(g, "*")) && !strings.ContainsAny(g, " /") && build.BadText(g) == ""
}

func exact(g string) bool { return !strings.Contains(g, "*") }

// covers reports whether each host that b stands for is one of a's.
func covers(a, b string) bool {
	switch {
	case a == attach.AnyHost || a == b:
		return true
	case b == attach.AnyHost || exact(a):
		return false
	case strings.HasPrefix(a, "*"):
		return strings.HasSuffix(b, a[1:]) && len(b) >= len(a)
	}
	return strings.HasPrefix(b, a[:len(a)-1]) && len(b) >= len(a)
}

// meet reports whether there is a host that both stand for.
func meet(a, b string) bool {
	if covers(a, b) || covers(b, a) {
		return true
	}
	// One begins with a star and the other ends with one: they can always overlap.
	return strings.HasPrefix(a, "*") && strings.HasSuffix(b, "*") || strings.HasPrefix(b, "*") && strings.HasSuffix(a, "*")
}

// patternOf is a regular expression for the hosts of a glob, with a port or without.
func patternOf(g string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(g), `\*`, ".+") + `(:\d+)?`
}

// wilder orders globs as route tables look for hosts: names, then those with a star at
// the start, those with one at the end, and all; the longer first.
func wilder(a, b string) int {
	rank := func(g string) int {
		switch {
		case exact(g):
			return 0
		case g == attach.AnyHost:
			return 3
		case strings.HasPrefix(g, "*"):
			return 1
		}
		return 2
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	if d := len(b) - len(a); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}
