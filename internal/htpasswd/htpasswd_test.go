// SPDX-License-Identifier: Apache-2.0

package htpasswd

import (
	"crypto/sha1" //nolint:gosec // As in the package.
	"strings"
	"testing"
)

// hash is the SHA-1 of "test" as htpasswd writes it.
const hash = "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="

func TestParse(t *testing.T) {
	u, err := Parse([]byte("# people\r\n\nann:" + hash + "\r\nbob:" + hash))
	if err != nil || len(u) != 2 || u["ann"] != sha1.Sum([]byte("test")) || u["bob"] != u["ann"] { //nolint:gosec // As above.
		t.Errorf("%v, %v", u, err)
	}
	for text, want := range map[string]string{
		"ann":                           "line 1 is not NAME:PASSWORD",
		"\n:" + hash:                    "line 2 is not",
		"ann:" + hash + "\nann:" + hash: `line 2: the user "ann" is there already`,
		"ann:$apr1$x$y":                 "make it by htpasswd -s",
		"ann:{SHA}dGVzdA==":             "28 characters",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("ann:" + hash))
	f.Fuzz(func(t *testing.T, text []byte) {
		u, err := Parse(text)
		if err == nil && len(u) > strings.Count(string(text), ":") {
			t.Errorf("%d users of %q", len(u), text)
		}
	})
}
