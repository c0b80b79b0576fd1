// SPDX-License-Identifier: Apache-2.0

// Package jose reads JSON Web Tokens (RFC 7519) in their compact form and sets of keys
// (RFC 7517), and verifies the ones with the others (RFC 7515): RS, PS, ES and HS with
// 256, 384 and 512 bits, and EdDSA with Ed25519. A key says by its type, and by its alg
// if it has one, which algorithms it is for: a token cannot choose, and there is no
// "none".
//
// It fetches nothing, keeps nothing and has no clock. What is wrong is told in Envoy's
// words. The work is done by go-jose, none of whose types are seen outside.
package jose

import (
	"encoding/base64"
	"math"
	"strings"

	"github.com/go-jose/go-jose/v4/json"
)

// A Token is a parsed token. It is immutable.
type Token struct {
	// Header and Payload are as they were sent, as trees of nil, bool, float64, string,
	// []any and map[string]any.
	Header, Payload map[string]any
	// Text is the whole, EncodedPayload its second part.
	Text, EncodedPayload string
	Algorithm, KeyID     string
	Issuer, Subject      string
	Audiences            []string
	// NotBefore and Expires are seconds since 1970; 0 if the token has none.
	NotBefore, Expires uint64
}

// maxToken bounds what is parsed, in bytes.
const maxToken = 256 << 10

// maxDepth bounds how deep JSON nests.
const maxDepth = 64

// Parse reads a token, whose signature may be anything.
func Parse(text string) (*Token, Status) {
	if len(text) > maxToken {
		return nil, BadFormat
	}
	first, rest, _ := strings.Cut(text, ".")
	second, third, ok := strings.Cut(rest, ".")
	if !ok || first == "" || second == "" || third == "" || strings.Contains(third, ".") {
		return nil, BadFormat
	}
	t := &Token{Text: text, EncodedPayload: second}
	b, ok := decode(first)
	if !ok {
		return nil, HeaderBadBase64
	}
	if t.Header, ok = object(b); !ok {
		return nil, HeaderBadJSON
	}
	if s := t.readHeader(); s != OK {
		return nil, s
	}
	if b, ok = decode(second); !ok {
		return nil, PayloadBadBase64
	}
	if t.Payload, ok = object(b); !ok {
		return nil, PayloadBadJSON
	}
	if s := t.readPayload(); s != OK {
		return nil, s
	}
	if _, ok = decode(third); !ok {
		return nil, SignatureBadBase64
	}
	return t, OK
}

func (t *Token) readHeader() Status {
	var ok bool
	if t.Algorithm, ok = t.Header["alg"].(string); !ok {
		return HeaderBadAlg
	}
	if !known(t.Algorithm) {
		return HeaderUnknownAlg
	}
	if v := t.Header["kid"]; v != nil {
		if t.KeyID, ok = v.(string); !ok {
			return HeaderBadKid
		}
	}
	return OK
}

func (t *Token) readPayload() Status {
	var id string
	for _, f := range []struct {
		name string
		into *string
		fail Status
	}{{"iss", &t.Issuer, IssNotString}, {"sub", &t.Subject, SubNotString}, {"jti", &id, JtiNotString}} {
		v, ok := t.Payload[f.name]
		if !ok {
			continue
		}
		if *f.into, ok = v.(string); !ok {
			return f.fail
		}
	}
	var issued uint64
	for _, f := range []struct {
		name        string
		into        *uint64
		kind, limit Status
	}{
		{"iat", &issued, IatNotInteger, IatOutOfRange},
		{"nbf", &t.NotBefore, NbfNotInteger, NbfOutOfRange},
		{"exp", &t.Expires, ExpNotInteger, ExpOutOfRange},
	} {
		v, ok := t.Payload[f.name]
		if !ok {
			continue
		}
		n, ok := v.(float64)
		if !ok {
			return f.kind
		}
		if n < 0 || n >= math.MaxUint64 {
			return f.limit
		}
		*f.into = uint64(n)
	}
	return t.readAudiences()
}

func (t *Token) readAudiences() Status {
	switch v := t.Payload["aud"].(type) {
	case nil:
		if _, ok := t.Payload["aud"]; ok {
			return AudNotString
		}
	case string:
		t.Audiences = []string{v}
	case []any:
		for _, x := range v {
			s, ok := x.(string)
			if !ok {
				return AudNotString
			}
			t.Audiences = append(t.Audiences, s)
		}
	default:
		return AudNotString
	}
	return OK
}

// Live tells whether a token is valid at a time, in seconds since 1970, by a clock that
// may be wrong by skew seconds.
func (t *Token) Live(now, skew uint64) Status {
	if now+skew < t.NotBefore {
		return NotYetValid
	}
	if t.Expires > 0 && now > t.Expires && now-t.Expires > skew {
		return Expired
	}
	return OK
}

// Claim returns the claim at a path of names.
func (t *Token) Claim(path ...string) (any, bool) {
	var v any = t.Payload
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[p]; !ok {
			return nil, false
		}
	}
	return v, true
}

// decode decodes base64url without padding (RFC 7515 §2), and without the line feeds
// that the standard library passes over.
func decode(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	return b, err == nil
}

// object reads a JSON object. A name that it has twice is wrong: readers differ in
// which of the two they take.
func object(b []byte) (map[string]any, bool) {
	if !shallow(b) {
		return nil, false
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil || m == nil {
		return nil, false
	}
	return m, true
}

// shallow reports whether JSON nests no deeper than maxDepth; readers recurse.
func shallow(b []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}
