// SPDX-License-Identifier: Apache-2.0

package jose_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/internal/jose"
	"weir.dev/weir/internal/jose/josetest"
)

func TestVerify(t *testing.T) {
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			k, other := josetest.New(t, alg, "one"), josetest.New(t, alg, "one")
			text := k.Sign(`{"sub":"alice"}`)
			tok, s := jose.Parse(text)
			if s != jose.OK || tok.Subject != "alice" || tok.Algorithm != alg || tok.KeyID != "one" {
				t.Fatalf("%v: %+v", s, tok)
			}
			for _, tt := range []struct {
				name, set string
				want      jose.Status
			}{
				{"its key", josetest.Set(k), jose.OK},
				{"its key without alg", `{"keys":[` + k.JWK(false) + `]}`, jose.OK},
				{"its private key", `{"keys":[` + k.Private() + `]}`, jose.OK},
				{"another", josetest.Set(other), jose.VerificationFailed},
				{"both", josetest.Set(other, k), jose.OK},
				{"another name", josetest.Set(josetest.New(t, alg, "two")), jose.KeysNoneMatches},
				{"a key without a name", josetest.Set(josetest.New(t, alg, "")), jose.VerificationFailed},
				{"beside a broken one", `{"keys":[{"kty":"RSA","n":5},{"kty":"moon"},7,` + k.JWK(true) + `]}`, jose.OK},
			} {
				keys, s := jose.ParseKeys([]byte(tt.set))
				if s != jose.OK {
					t.Fatalf("%s: %v", tt.name, s)
				}
				if got := keys.Verify(tok); got != tt.want {
					t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
				}
			}
		})
	}
}

func TestAlgorithmIsTheKeys(t *testing.T) {
	rsa, hmac, p256 := josetest.New(t, "RS256", "k"), josetest.New(t, "HS256", "k"), josetest.New(t, "ES256", "k")
	verify := func(set, token string) jose.Status {
		t.Helper()
		keys, s := jose.ParseKeys([]byte(set))
		if s != jose.OK {
			t.Fatal(s)
		}
		tok, s := jose.Parse(token)
		if s != jose.OK {
			return s
		}
		return keys.Verify(tok)
	}
	for _, tt := range []struct {
		name, set, token string
		want             jose.Status
	}{
		{"HMAC for a key of RSA", josetest.Set(rsa), hmac.Sign(`{}`), jose.KeysNoneMatches},
		{"RSA for a key of HMAC", josetest.Set(hmac), rsa.Sign(`{}`), jose.KeysNoneMatches},
		{"PS for a key of RS", josetest.Set(rsa), josetest.New(t, "PS256", "k").Sign(`{}`), jose.KeysNoneMatches},
		{"another curve", josetest.Set(p256), josetest.New(t, "ES384", "k").Sign(`{}`), jose.KeysNoneMatches},
		{"none", josetest.Set(rsa), josetest.Raw(`{"alg":"none"}`, `{}`), jose.HeaderUnknownAlg},
		{"None", josetest.Set(rsa), josetest.Raw(`{"alg":"None"}`, `{}`), jose.HeaderUnknownAlg},
		{"critical", josetest.Set(rsa), josetest.Raw(`{"alg":"RS256","crit":["x"],"x":1}`, `{}`), jose.VerificationFailed},
		{"a key in the head", josetest.Set(rsa), josetest.Raw(`{"alg":"HS256","jwk":`+hmac.JWK(true)+`}`, `{}`), jose.KeysNoneMatches},
	} {
		if got := verify(tt.set, tt.token); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestParse(t *testing.T) {
	const head = `{"alg":"ES256"}`
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	for _, tt := range []struct {
		name, token string
		want        jose.Status
	}{
		{"nothing", "", jose.BadFormat},
		{"two parts", "a.b", jose.BadFormat},
		{"four parts", "a.b.c.d", jose.BadFormat},
		{"an empty part", "a..c", jose.BadFormat},
		{"no signature", "a.b.", jose.BadFormat},
		{"huge", strings.Repeat("a", 300<<10) + ".b.c", jose.BadFormat},
		{"head of another alphabet", "a+b.b.c", jose.HeaderBadBase64},
		{"line feeds", "e\n30.e30.e30", jose.HeaderBadBase64},
		{"head no JSON", "YWJj.e30.e30", jose.HeaderBadJSON},
		{"head twice", josetest.Raw(`{"alg":"ES256","alg":"none"}`, `{}`), jose.HeaderBadJSON},
		{"head a list", josetest.Raw(`[]`, `{}`), jose.HeaderBadJSON},
		{"no alg", josetest.Raw(`{}`, `{}`), jose.HeaderBadAlg},
		{"alg a number", josetest.Raw(`{"alg":1}`, `{}`), jose.HeaderBadAlg},
		{"kid a number", josetest.Raw(`{"alg":"ES256","kid":1}`, `{}`), jose.HeaderBadKid},
		{"payload no base64", "eyJhbGciOiJFUzI1NiJ9.&.c", jose.PayloadBadBase64},
		{"payload no JSON", josetest.Raw(head, `{`), jose.PayloadBadJSON},
		{"payload too deep", josetest.Raw(head, `{"a":`+deep+`}`), jose.PayloadBadJSON},
		{"payload twice", josetest.Raw(head, `{"sub":"a","sub":"b"}`), jose.PayloadBadJSON},
		{"iss", josetest.Raw(head, `{"iss":1}`), jose.IssNotString},
		{"sub", josetest.Raw(head, `{"sub":{}}`), jose.SubNotString},
		{"jti", josetest.Raw(head, `{"jti":[]}`), jose.JtiNotString},
		{"iat", josetest.Raw(head, `{"iat":"1"}`), jose.IatNotInteger},
		{"nbf", josetest.Raw(head, `{"nbf":-1}`), jose.NbfOutOfRange},
		{"exp", josetest.Raw(head, `{"exp":1e300}`), jose.ExpOutOfRange},
		{"exp a string", josetest.Raw(head, `{"exp":"never"}`), jose.ExpNotInteger},
		{"aud", josetest.Raw(head, `{"aud":["a",1]}`), jose.AudNotString},
		{"signature", "eyJhbGciOiJFUzI1NiJ9.e30.&", jose.SignatureBadBase64},
		{"good", josetest.Raw(head, `{"aud":["a","b"],"exp":9,"s":"[[[[\"[["}`), jose.OK},
	} {
		if _, got := jose.Parse(tt.token); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestLive(t *testing.T) {
	for _, tt := range []struct {
		nbf, exp, now, skew uint64
		want                jose.Status
	}{
		{0, 0, 100, 60, jose.OK},
		{0, 40, 100, 60, jose.OK},
		{0, 39, 100, 60, jose.Expired},
		{160, 0, 100, 60, jose.OK},
		{161, 0, 100, 60, jose.NotYetValid},
		{0, 1 << 63, 100, 60, jose.OK},
	} {
		tok := &jose.Token{NotBefore: tt.nbf, Expires: tt.exp}
		if got := tok.Live(tt.now, tt.skew); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestParseKeys(t *testing.T) {
	es := josetest.New(t, "ES256", "k")
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, `,{"kty":"oct","kid":"%d","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}`, i)
	}
	for _, tt := range []struct {
		name, text string
		want       jose.Status
		keys       int
	}{
		{"nothing", "", jose.KeysBadJSON, 0},
		{"a page", "<html>", jose.KeysBadJSON, 0},
		{"too deep", strings.Repeat("[", 1000), jose.KeysBadJSON, 0},
		{"too large", strings.Repeat(" ", jose.MaxKeys) + josetest.Set(es), jose.KeysBadJSON, 0},
		{"no keys", `{}`, jose.KeysMissing, 0},
		{"others", `{"issuer":"x"}`, jose.KeysMissing, 0},
		{"no list", `{"keys":{}}`, jose.KeysNoArray, 0},
		{"empty", `{"keys":[]}`, jose.KeysNoneValid, 0},
		{"for encryption", `{"keys":[` + strings.Replace(es.JWK(true), "{", `{"use":"enc",`, 1) + `]}`, jose.KeysNoneValid, 0},
		{"alg of another type", `{"keys":[` + strings.Replace(es.JWK(true), "ES256", "RS256", 1) + `]}`, jose.KeysNoneValid, 0},
		{"a point off the curve", `{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}`, jose.KeysNoneValid, 0},
		{"a huge modulus", `{"keys":[{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("_", 4000) + `"}]}`, jose.KeysNoneValid, 0},
		{"many", `{"keys":[` + es.JWK(true) + many.String() + `]}`, jose.OK, 256},
		{"a certificate that is none", `{"a":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}`, jose.KeysNoneValid, 0},
	} {
		k, got := jose.ParseKeys([]byte(tt.text))
		if got != tt.want || k != nil && k.Len() != tt.keys {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(josetest.New(f, "ES256", "k").Sign(`{"exp":1,"aud":"a"}`))
	f.Add(josetest.Raw(`{"alg":"HS256"}`, `{}`))
	keys, _ := jose.ParseKeys([]byte(josetest.Set(josetest.New(f, "ES256", "k"), josetest.New(f, "HS256", ""))))
	f.Fuzz(func(t *testing.T, text string) {
		tok, s := jose.Parse(text)
		if (tok == nil) == (s == jose.OK) {
			t.Fatalf("%v, %v", tok, s)
		}
		if tok != nil && keys.Verify(tok) == jose.OK {
			t.Fatalf("%q verifies", text)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(josetest.Set(josetest.New(f, "ES256", "k"), josetest.New(f, "RS256", "r"), josetest.New(f, "EdDSA", "e"))))
	tok, _ := jose.Parse(josetest.Raw(`{"alg":"ES256"}`, `{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, s := jose.ParseKeys(text)
		if (k == nil) == (s == jose.OK) {
			t.Fatalf("%v, %v", k, s)
		}
		if k != nil && k.Verify(tok) == jose.OK {
			t.Fatal("a signature that is none verifies")
		}
	})
}
