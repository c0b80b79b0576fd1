// SPDX-License-Identifier: Apache-2.0

package statefulsession

import (
	"encoding/base64"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/proxy/address"
)

func TestCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []string{"10.0.0.1:80", "[2001:db8::1]:8080"} {
			want, err := address.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			session, timed := encodeCookie(want, 0), encodeCookie(want, time.Minute)
			old := base64.StdEncoding.EncodeToString([]byte(s))
			for _, v := range []string{session, timed, old} {
				if got := decodeCookie(v); got != want {
					t.Errorf("%q is %v, want %v", v, got, want)
				}
			}
			if got := decodeHeader(encodeHeader(want)); got != want {
				t.Errorf("the header of %v is %v", want, got)
			}
			time.Sleep(2 * time.Minute)
			if got := decodeCookie(timed); got.IsValid() {
				t.Errorf("a cookie that has ended is %v", got)
			}
			if got := decodeCookie(session); got != want {
				t.Errorf("a cookie without end is %v", got)
			}
		}
	})
	// As Envoy writes it: address "127.0.0.1:80", expires 1.
	v := base64.StdEncoding.EncodeToString([]byte("\x0a\x0c127.0.0.1:80\x10\x01"))
	if got := decodeCookie(v); got.IsValid() {
		t.Errorf("a cookie that ended in 1970 is %v", got)
	}
}

func TestCookiePaths(t *testing.T) {
	for _, tt := range []struct {
		path, cookie string
		want         bool
	}{
		{"/any", "", true},
		{"/any", "/", true},
		{"/foo", "/foo", true},
		{"/foo/bar", "/foo", true},
		{"/foo?x", "/foo", true},
		{"/foobar", "/foo", false},
		{"/foo", "/foo/", false},
		{"/foo/x", "/foo/", true},
		{"/bar", "/foo", false},
	} {
		if got := under(tt.path, tt.cookie); got != tt.want {
			t.Errorf("%s below %s: %v", tt.path, tt.cookie, got)
		}
	}
}

func FuzzCookie(f *testing.F) {
	f.Add("CgwxMjcuMC4wLjE6ODA=")
	f.Add("MTI3LjAuMC4xOjgw")
	f.Fuzz(func(t *testing.T, v string) {
		if a := decodeCookie(v); a.IsValid() && len(v) > maxState {
			t.Errorf("a cookie of %d bytes is read", len(v))
		}
	})
}
