// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/internal/jose"
	"weir.dev/weir/proxy/secret"
)

func TestParseToken(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       Token
		err        string
	}{
		{"all", `{"access_token":"a","id_token":"i","refresh_token":"r","expires_in":60,"token_type":"Bearer"}`, Token{"a", "i", "r", time.Minute}, ""},
		{"a quoted lifetime", `{"access_token":"a","expires_in":"60"}`, Token{Access: "a", Lifetime: time.Minute}, ""},
		{"nulls", `{"access_token":"a","id_token":null,"expires_in":null}`, Token{Access: "a"}, ""},
		{"a long life", `{"access_token":"a","expires_in":9223372036854775807}`, Token{Access: "a", Lifetime: maxLifetime}, ""},
		{"no token", `{"expires_in":60}`, Token{}, "has no access_token"},
		{"a negative life", `{"access_token":"a","expires_in":-1}`, Token{}, "not the JSON"},
		{"nonsense", `<html>`, Token{}, "not the JSON"},
		{"a list", `[]`, Token{}, "not the JSON"},
		{"a line break", `{"access_token":"a\r\nset-cookie: x"}`, Token{}, "access_token of the token endpoint has characters"},
		{"another cookie", `{"access_token":"a","id_token":"i; x=y"}`, Token{}, "id_token of the token endpoint has characters"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseToken([]byte(tt.body))
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}

func TestErrorCode(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":"invalid_grant","error_description":"secret things"}`: "invalid_grant",
		`{"error":"Invalid\ngrant"}`:                                    "",
		`{"error":"` + strings.Repeat("a", 65) + `"}`:                   "",
		`nonsense`: "",
	} {
		if got := errorCode([]byte(body)); got != want {
			t.Errorf("%s: %q", body, got)
		}
	}
}

func jwt(payload string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestExpiry(t *testing.T) {
	for token, want := range map[string]int64{
		jwt(`{"exp":1700000000}`): 1700000000,
		jwt(`{"exp":1.7e9}`):      1700000000,
		jwt(`{"exp":-1}`):         0,
		jwt(`{"exp":1e300}`):      0,
		jwt(`{"exp":"soon"}`):     0,
		jwt(`{}`):                 0,
		"opaque":                  0,
		"a.&.b":                   0,
	} {
		at, ok := Expiry(token)
		if ok != (want != 0) || ok && at.Unix() != want {
			t.Errorf("%s: %v %v", token, at, ok)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add([]byte(`{"access_token":"a","id_token":"i","refresh_token":"r","expires_in":"60"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		errorCode(body)
		k, err := ParseToken(body)
		if err == nil && (k.Access == "" || !Safe(k.Access+k.ID+k.Refresh) || k.Lifetime < 0 || k.Lifetime > maxLifetime) {
			t.Errorf("%+v", k)
		}
	})
}

func FuzzExpiry(f *testing.F) {
	f.Add(jwt(`{"exp":1700000000}`))
	f.Fuzz(func(t *testing.T, token string) {
		if at, ok := Expiry(token); ok && at.Unix() < 0 {
			t.Error(at)
		}
	})
}

// parsed is a secret that is there.
func parsed(t *testing.T, a Algorithm, v *secret.Value) *secret.Parsed[*Key] {
	t.Helper()
	k, err := a.ParseKey(v)
	if err != nil {
		t.Fatal(err)
	}
	p, err := secret.NewParsed(&secret.Slot{}, func(*secret.Value) (*Key, error) { return k, nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pemOf(t *testing.T, k crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestAssertion(t *testing.T) {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		a     Algorithm
		curve elliptic.Curve
	}{{RS256, nil}, {RS384, nil}, {RS512, nil}, {ES256, elliptic.P256()}, {ES384, elliptic.P384()}, {ES512, elliptic.P521()}} {
		t.Run(tt.a.name, func(t *testing.T) {
			var key crypto.Signer = r
			jwk := map[string]string{"kty": "RSA", "kid": "k1", "n": base64.RawURLEncoding.EncodeToString(r.N.Bytes()), "e": "AQAB"}
			if tt.curve != nil {
				e, err := ecdsa.GenerateKey(tt.curve, rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				pub, err := e.PublicKey.Bytes()
				if err != nil {
					t.Fatal(err)
				}
				n := (len(pub) - 1) / 2
				key = e
				jwk = map[string]string{
					"kty": "EC", "kid": "k1", "crv": tt.curve.Params().Name,
					"x": base64.RawURLEncoding.EncodeToString(pub[1 : 1+n]), "y": base64.RawURLEncoding.EncodeToString(pub[1+n:]),
				}
			}
			v := &secret.Value{Generic: map[string][]byte{"private_key": pemOf(t, key), "key_id": []byte("k1")}}
			c := &Client{ID: "me", Method: KeyJWT, Key: parsed(t, tt.a, v), Algorithm: tt.a, Lifetime: time.Minute, Audience: "https://issuer"}
			text, err := c.assertion(time.Unix(1000, 0), "once")
			if err != nil {
				t.Fatal(err)
			}
			set, err := json.Marshal(map[string]any{"keys": []any{jwk}})
			if err != nil {
				t.Fatal(err)
			}
			keys, s := jose.ParseKeys(set)
			if s != jose.OK {
				t.Fatal(s)
			}
			token, s := jose.Parse(text)
			if s != jose.OK {
				t.Fatal(s)
			}
			if s := keys.Verify(token); s != jose.OK {
				t.Error(s)
			}
			payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
			if want := `{"aud":"https://issuer","exp":1060,"iat":1000,"iss":"me","jti":"once","nbf":1000,"sub":"me"}`; string(payload) != want {
				t.Errorf("%s", payload)
			}
		})
	}
	for name, v := range map[string]*secret.Value{
		"of RSA":         {Generic: map[string][]byte{"": pemOf(t, r)}},
		"has no PEM":     {Generic: map[string][]byte{"": []byte("x")}},
		"has no PEM blo": {Generic: map[string][]byte{"private_key": nil, "": []byte("x")}},
	} {
		if _, err := ES256.ParseKey(v); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if k, err := ES256.ParseKey(nil); k != nil || err != nil {
		t.Error(k, err)
	}
}
