// SPDX-License-Identifier: Apache-2.0

package headermutation

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzQuery changes paths that clients may send and looks at what the change
// promises: the path before '?' stays, the key is there or gone, and all other
// parameters are what and where they were.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"/", "/?", "/?a=1", "/?a=1&b=2", "/?b&a&a=%", "/?%61=1&&", "?&&a", "/?a=1&b=2&a=3#x"} {
		f.Add(s, "a", "v", byte(0))
		f.Add(s, "a", "", byte(4))
	}
	f.Fuzz(func(t *testing.T, path, key, value string, act byte) {
		op := queryOp{key: key, action: action(act % 5)}
		if key == "" {
			return
		}
		had := func(p []byte) bool {
			q := bytes.IndexByte(p, '?')
			return q >= 0 && op.find(p, q+1) >= 0
		}
		before := had([]byte(path))
		got := op.apply([]byte(path), []byte(value))
		head, query, _ := strings.Cut(path, "?")
		gotHead, gotQuery, _ := bytes.Cut(got, []byte("?"))
		if string(gotHead) != head {
			t.Fatalf("%q became %q", path, got)
		}
		want := op.action != remove && (op.action != overwriteIfExists || before)
		if had(got) != want {
			t.Fatalf("%q, action %d of %q: %q", path, op.action, key, got)
		}
		if o, n := others(op, query), others(op, string(gotQuery)); strings.Join(o, "&") != strings.Join(n, "&") {
			t.Fatalf("%q, action %d of %q: other parameters were %q, are %q", path, op.action, key, o, n)
		}
	})
}

func others(op queryOp, query string) []string {
	var l []string
	for p := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(p, "="); p != "" && !equalDecoded([]byte(name), op.key) {
			l = append(l, p)
		}
	}
	return l
}
