// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"strings"
	"testing"
)

const listenerType = "envoy.config.listener.v3.Listener"

func TestURN(t *testing.T) {
	for _, tt := range []struct{ name, canonical, glob string }{
		{"plain", "plain", ""},
		{"xdstp://a/" + listenerType + "/foo/bar", "xdstp://a/" + listenerType + "/foo/bar", "xdstp://a/" + listenerType + "/foo/*"},
		{"xdstp://a/" + listenerType + "/one", "xdstp://a/" + listenerType + "/one", "xdstp://a/" + listenerType + "/*"},
		{"xdstp:///" + listenerType + "/one?z=1&a=2", "xdstp:///" + listenerType + "/one?a=2&z=1", "xdstp:///" + listenerType + "/*?a=2&z=1"},
		{"xdstp://a%2Fb/" + listenerType + "/x%3Ay%20?k%3D=%26v", "xdstp://a%2Fb/" + listenerType + "/x%3Ay%20?k%3D=%26v", "xdstp://a%2Fb/" + listenerType + "/*?k%3D=%26v"},
		{"xdstp://a/" + listenerType + "/%66oo", "xdstp://a/" + listenerType + "/foo", "xdstp://a/" + listenerType + "/*"},
	} {
		got, err := Canonical(tt.name)
		if err != nil || got != tt.canonical {
			t.Errorf("%s is %s, %v; want %s", tt.name, got, err, tt.canonical)
		}
		if got := GlobOf(tt.name); got != tt.glob {
			t.Errorf("%s is of %s, want %s", tt.name, got, tt.glob)
		}
	}
	for name, want := range map[string]string{
		"xdstp:a":               "does not begin with xdstp://",
		"xdstp://a":             "has no type of resource",
		"xdstp://a//id":         "has no type of resource",
		"xdstp://%2/T/id":       "ends within an escape",
		"xdstp://a/T/%zz":       "is no escape",
		"xdstp://a/T/i?k=%g0":   "is no escape",
		"xdstp://a/T/i?k=1&k=2": `"k" is there twice`,
		"xdstp://a/T/" + strings.Repeat("x", maxURN): "more than 8192 bytes",
	} {
		if _, err := Canonical(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", name, err, want)
		}
	}
}

// The one form of a name is that of itself, and of the same parts.
func FuzzURN(f *testing.F) {
	for _, s := range []string{"xdstp://a/T/b/c?x=1&y=2", "xdstp:///T", "xdstp://a/T/%2F?%3D=%25", "xdstp://a/T/*#entry=x", "xdstp:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		u, err := ParseURN(name)
		if err != nil {
			return
		}
		again, err := ParseURN(u.String())
		if err != nil {
			t.Fatalf("%q was %q: %v", u.String(), name, err)
		}
		if again.String() != u.String() || again.Authority != u.Authority || again.Type != u.Type || again.ID != u.ID || len(again.Params) != len(u.Params) {
			t.Fatalf("%q is %+v, and then %+v", name, u, again)
		}
		if g := u.glob(); !g.IsGlob() {
			t.Fatalf("%q is no glob", g)
		}
	})
}
