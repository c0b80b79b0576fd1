// SPDX-License-Identifier: Apache-2.0

package grpcstat

import "testing"

func TestSplit(t *testing.T) {
	for path, want := range map[string]string{
		"/a.B/C": "a.B C", "/a.B/C?x=/y": "a.B C", "/a/b/c": "", "/a": "", "/a/": "", "//b": "", "a/b": "", "": "", "/": "", "?/a/b": "",
	} {
		s, m, ok := Split([]byte(path))
		got := ""
		if ok {
			got = string(s) + " " + string(m)
		}
		if got != want {
			t.Errorf("%q: %q", path, got)
		}
	}
}
