// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"time"

	"weir.dev/weir/proxy/secret"
)

// An Algorithm signs assertions (RFC 7518 §3.1).
type Algorithm struct {
	name string
	hash crypto.Hash
	new  func() hash.Hash
	// size is the bits of the curve's field; 0 is RSA.
	size int
}

// The algorithms.
var (
	RS256 = Algorithm{"RS256", crypto.SHA256, sha256.New, 0}
	RS384 = Algorithm{"RS384", crypto.SHA384, sha512.New384, 0}
	RS512 = Algorithm{"RS512", crypto.SHA512, sha512.New, 0}
	ES256 = Algorithm{"ES256", crypto.SHA256, sha256.New, 256}
	ES384 = Algorithm{"ES384", crypto.SHA384, sha512.New384, 384}
	ES512 = Algorithm{"ES512", crypto.SHA512, sha512.New, 521}
)

// A Key signs assertions.
type Key struct {
	signer crypto.Signer
	id     string // kid; "" is none
}

// ParseKey reads the key of a secret: a PEM text alone, or under private_key, with the
// key's ID under key_id. No secret is no key.
func (a Algorithm) ParseKey(v *secret.Value) (*Key, error) {
	if v == nil {
		return nil, nil
	}
	text, id := v.Generic["private_key"], ""
	if text == nil {
		text = v.Generic[""]
	} else {
		id = string(v.Generic["key_id"])
	}
	signer, err := secret.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("the private key %w", err)
	}
	switch k := signer.Public().(type) {
	case *rsa.PublicKey:
		if a.size != 0 {
			return nil, fmt.Errorf("the private key is of RSA: %s takes one of an elliptic curve", a.name)
		}
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize != a.size {
			return nil, fmt.Errorf("the private key is on curve %s: %s takes another", k.Curve.Params().Name, a.name)
		}
	default:
		return nil, errors.New("the private key is neither of RSA nor of an elliptic curve")
	}
	return &Key{signer, id}, nil
}

// assertion is a signed JSON Web Token that tells who the client is (RFC 7523 §3).
func (c *Client) assertion(now time.Time, id string) (string, error) {
	key := c.Key.Load()
	if key == nil {
		return "", ErrNotReady
	}
	head := map[string]string{"alg": c.Algorithm.name, "typ": "JWT"}
	if key.id != "" {
		head["kid"] = key.id
	}
	at := now.Unix()
	claims := map[string]any{
		"iss": c.ID, "sub": c.ID, "aud": c.Audience, "jti": id,
		"iat": at, "nbf": at, "exp": at + int64(c.Lifetime/time.Second),
	}
	var text []byte
	for _, v := range []any{head, claims} {
		b, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		if text != nil {
			text = append(text, '.')
		}
		text = base64.RawURLEncoding.AppendEncode(text, b)
	}
	sig, err := key.sign(c.Algorithm, text)
	if err != nil {
		return "", err
	}
	return string(base64.RawURLEncoding.AppendEncode(append(text, '.'), sig)), nil
}

// sign signs as RFC 7518 §3.3 and §3.4 say.
func (k *Key) sign(a Algorithm, text []byte) ([]byte, error) {
	h := a.new()
	h.Write(text)
	sum := h.Sum(nil)
	ec, ok := k.signer.(*ecdsa.PrivateKey)
	if !ok {
		return k.signer.Sign(rand.Reader, sum, a.hash)
	}
	r, s, err := ecdsa.Sign(rand.Reader, ec, sum)
	if err != nil {
		return nil, err
	}
	n := (a.size + 7) / 8
	out := make([]byte, 2*n)
	r.FillBytes(out[:n])
	s.FillBytes(out[n:])
	return out, nil
}
