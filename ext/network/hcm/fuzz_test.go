// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzPath holds the canonical path to what routes and upstreams rely on.
func FuzzPath(f *testing.F) {
	for _, s := range []string{
		"/", "/a/../b", "/%2e%2e/x", "/%%32e/x", "/%4%31", "/a//b", "/a\\b", "/..", "/.", "/a/.", "/a/b/..", "/%2f%5c", "/%zz%", "/%", "/a;/..;/b",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 || in[0] != '/' || bytes.ContainsAny(in, "?#") {
			return
		}
		once, ok := normalize(bytes.Clone(in))
		if !ok {
			return
		}
		merged := mergeSlashes(bytes.Clone(once))
		if len(once) > len(in) || len(merged) > len(once) {
			t.Errorf("%q grew to %q and %q", in, once, merged)
		}
		for _, out := range [][]byte{once, merged} {
			if len(out) == 0 || out[0] != '/' {
				t.Fatalf("%q became %q, which does not begin with a slash", in, out)
			}
			for seg := range strings.SplitSeq(string(out), "/") {
				if seg == "." || seg == ".." || strings.EqualFold(seg, "%2e") || strings.EqualFold(seg, "%2e%2e") {
					t.Errorf("%q became %q, which still has the segment %q", in, out, seg)
				}
			}
			if bytes.ContainsAny(out, "\\\x00") {
				t.Errorf("%q became %q", in, out)
			}
		}
		if bytes.Contains(merged, []byte("//")) {
			t.Errorf("%q merged to %q", in, merged)
		}
		if again, ok := normalize(bytes.Clone(merged)); !ok || !bytes.Equal(mergeSlashes(again), merged) {
			t.Errorf("%q became %q, and that %q", in, merged, again)
		}
	})
}
