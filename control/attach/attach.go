// SPDX-License-Identifier: Apache-2.0

// Package attach holds the rules by which objects of all dialects refer to each
// other and take precedence: which host names meet, which of two is more specific,
// which of two objects is older, and who allows a reference from another namespace.
package attach

import (
	"cmp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnyHost is the host name that stands for all.
const AnyHost = "*"

// Covers reports whether each host that b stands for is one of a's. Both are a name,
// "*." and a name, which stands for all below it, or AnyHost. They are in lower case.
func Covers(a, b string) bool {
	switch {
	case a == AnyHost || a == b:
		return true
	case !strings.HasPrefix(a, "*."):
		return false
	}
	return strings.HasSuffix(strings.TrimPrefix(b, "*"), a[1:]) && b != a[1:] && b != AnyHost
}

// Meet returns the hosts that a and b both stand for, and whether there are any.
func Meet(a, b string) (string, bool) {
	switch {
	case Covers(a, b):
		return b, true
	case Covers(b, a):
		return a, true
	}
	return "", false
}

// CompareHosts orders host names: the more specific first, a name before a wildcard
// and a longer one before a shorter, and alike ones by their letters.
func CompareHosts(a, b string) int {
	return cmp.Or(
		cmp.Compare(wildness(a), wildness(b)),
		cmp.Compare(len(b), len(a)),
		strings.Compare(a, b),
	)
}

func wildness(host string) int {
	switch {
	case host == AnyHost:
		return 2
	case strings.HasPrefix(host, "*."):
		return 1
	}
	return 0
}

// Wider returns the wildcards that cover host, the most specific first and AnyHost
// last. host itself is not among them.
func Wider(host string) []string {
	var out []string
	rest := strings.TrimPrefix(host, "*.")
	if rest != host {
		// Of "*.a.b" the next wider is "*.b".
		if _, after, ok := strings.Cut(rest, "."); ok {
			out = append(out, "*."+after)
			rest = after
		} else {
			rest = ""
		}
	}
	for rest != "" && rest != AnyHost {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			break
		}
		if next := "*." + after; len(out) == 0 || out[len(out)-1] != next {
			out = append(out, next)
		}
		rest = after
	}
	if host != AnyHost {
		out = append(out, AnyHost)
	}
	return out
}

// Older orders objects as Gateway API has it: the older first, those of the same age
// by namespace and name.
func Older[T metav1.Object](a, b T) int {
	return cmp.Or(
		a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time),
		strings.Compare(a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName()),
	)
}
