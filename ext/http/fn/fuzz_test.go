// SPDX-License-Identifier: Apache-2.0

package fn

import (
	"strconv"
	"strings"
	"testing"

	"weir.dev/weir/proxy/header"
)

// FuzzUnwrap reads answers of functions with any field names and values that a codec
// lets through: what is left never says how a body is carried, and its status is final.
func FuzzUnwrap(f *testing.F) {
	f.Add("200", "404", "fn-http-h-x-a", "1", "fn-http-h-content-length", "7")
	f.Add("502", "200", "fn-http-h-", "", "fn-http-h-fn-call-id", "x")
	f.Add("200", "1e2", "fn-http-h-transfer-encoding", "chunked", "fn-http-h-:status", "500")
	f.Fuzz(func(t *testing.T, outer, inner, n1, v1, n2, v2 string) {
		if len(outer) != 3 || strings.Trim(outer, "0123456789") != "" || outer[0] < '2' {
			return
		}
		h := &header.Map{}
		h.Add(header.Status, outer)
		h.Add(status, inner)
		h.Add(header.ContentLength, "5")
		for name, value := range map[string]string{n1: v1, n2: v2} {
			if strings.HasPrefix(name, wrapped) && strings.ToLower(name) == name {
				h.Add(header.NewName(name), value)
			}
		}
		code, err := unwrap(h)
		if err != nil {
			return
		}
		got, _ := strconv.Atoi(string(h.Get(header.Status)))
		if got < 200 || code != 0 && got != code || h.Count(header.Status) != 1 {
			t.Errorf("status %q %q: %d, %d", outer, inner, got, code)
		}
		if string(h.Get(header.ContentLength)) != "5" || h.Count(header.ContentLength) != 1 || h.Has(header.TransferEncoding) || h.Has(header.Connection) || h.Has(header.Upgrade) {
			t.Error("the function says how its body is carried")
		}
		for name := range h.All() {
			if strings.HasPrefix(name.String(), wrapped) && name != callID && !strings.HasPrefix(n1, wrapped+wrapped) && !strings.HasPrefix(n2, wrapped+wrapped) {
				t.Errorf("%s is left", name)
			}
		}
	})
}

// FuzzStrays compares with what a path comes to once it is decoded.
func FuzzStrays(f *testing.F) {
	for _, p := range []string{"/", "/a/../b", "/%2e%2E", "/.%2e/", "/...", "/a.b", "/%2", "/%2e%2e%2e"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		want := false
		for s := range strings.SplitSeq(path, "/") {
			s = strings.ReplaceAll(strings.ReplaceAll(s, "%2e", "."), "%2E", ".")
			want = want || s == "." || s == ".."
		}
		if got := strays([]byte(path)); got != want {
			t.Errorf("%q: %v", path, got)
		}
	})
}
