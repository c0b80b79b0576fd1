// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"testing"

	"weir.dev/weir/proxy/codec"
)

// FuzzLocation: whatever a host redirects to, what comes of it can stand in a request.
func FuzzLocation(f *testing.F) {
	for _, s := range []string{
		"http://a/b?c#d", "https://a:8443", "HTTP://a?x", "http://[::1]:80/", "/b", "http://", "http:///b", "http://u@a/", "http://a b/", "http://a/\x00", "://a", "http://a/#/b",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		l, ok := parseLocation(v)
		if !ok {
			return
		}
		if !codec.ValidAuthority(l.authority) || !codec.ValidTarget(l.path) || l.path[0] != '/' || bytes.IndexByte(l.path, '#') >= 0 {
			t.Fatalf("%q: %q %q", v, l.authority, l.path)
		}
	})
}
