// SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"strings"
	"testing"

	"weir.dev/weir/proxy/header"
)

func FuzzState(f *testing.F) {
	w := wanted{"https://app.example/page", "abcd.sig", "abcd", "sum"}
	f.Add(w.encode())
	f.Add("eyJ1cmwiOiJ4In0%3D")
	f.Fuzz(func(t *testing.T, text string) {
		w, ok := parseState(text)
		if ok && (w.Flow == "" || strings.ContainsAny(w.Flow, "\r\n;= ")) {
			t.Errorf("%+v", w)
		}
		if u, good := webURL(w.URL); good && (u.Hostname() == "" || strings.ContainsAny(w.URL, "\r\n ")) {
			t.Errorf("%q is a page", w.URL)
		}
	})
}

func FuzzOpen(f *testing.F) {
	k := testKeys(f, "a secret")
	f.Add(k.seal("a token"))
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if plain, ok := k.open(text); ok {
			if again, ok := k.open(k.seal(plain)); !ok || again != plain {
				t.Errorf("%q", plain)
			}
		}
	})
}

func FuzzCookies(f *testing.F) {
	c := &cookies{size: 512, chunks: 4}
	for name, k := range map[string]*cookie{"A": &c.access, "M": &c.mac, "E": &c.expires, "I": &c.id, "R": &c.refresh, "N": &c.nonce, "V": &c.verifier} {
		*k = cookie{name: name, path: "/"}
	}
	f.Add("A_chunks=2; A_0=x; A_1=y; N.abcd=1; V.abcd=2; other=3")
	f.Fuzz(func(t *testing.T, text string) {
		var h header.Map
		h.Add(header.Cookie, text)
		token(&h, "A")
		for _, v := range c.removeStale(c.oldFlows(nil, &h), &h, &c.access, 0) {
			if strings.ContainsAny(v, "\r\n") && !strings.ContainsAny(text, "\r\n") {
				t.Errorf("%q", v)
			}
		}
		c.forward(&h, "access", "id")
		if got := token(&h, "A"); got != "access" {
			t.Errorf("%q of %q", got, h.Get(header.Cookie))
		}
		eachCookie(&h, func(name, _ string) {
			if c.owns(name) && name != "A" && name != "I" {
				t.Errorf("%q goes upstream", name)
			}
		})
	})
}
