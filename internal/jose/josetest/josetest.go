// SPDX-License-Identifier: Apache-2.0

// Package josetest makes keys and signs tokens for tests.
package josetest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
)

// A Key signs tokens.
type Key struct {
	t       testing.TB
	alg     jose.SignatureAlgorithm
	id      string
	private any
	public  any
}

// New makes a key for an algorithm such as ES256; id "" is a key without a name.
func New(t testing.TB, alg, id string) *Key {
	t.Helper()
	k := &Key{t: t, alg: jose.SignatureAlgorithm(alg), id: id}
	var err error
	switch alg[:2] {
	case "RS", "PS":
		var p *rsa.PrivateKey
		if p, err = rsa.GenerateKey(rand.Reader, 2048); err == nil {
			k.private, k.public = p, &p.PublicKey
		}
	case "ES":
		curve := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[alg]
		var p *ecdsa.PrivateKey
		if p, err = ecdsa.GenerateKey(curve, rand.Reader); err == nil {
			k.private, k.public = p, &p.PublicKey
		}
	case "Ed":
		var public ed25519.PublicKey
		var p ed25519.PrivateKey
		if public, p, err = ed25519.GenerateKey(rand.Reader); err == nil {
			k.private, k.public = p, public
		}
	case "HS":
		secret := []byte(rand.Text() + rand.Text() + rand.Text())
		k.private, k.public = secret, secret
	}
	if err != nil || k.private == nil {
		t.Fatalf("make a key for %s: %v", alg, err)
	}
	return k
}

// JWK returns the key as a JWK in JSON, with its alg if that is asked for.
func (k *Key) JWK(alg bool) string {
	k.t.Helper()
	j := jose.JSONWebKey{Key: k.public, KeyID: k.id}
	if alg {
		j.Algorithm = string(k.alg)
	}
	b, err := j.MarshalJSON()
	if err != nil {
		k.t.Fatal(err)
	}
	return string(b)
}

// Private returns the private key as a JWK in JSON.
func (k *Key) Private() string {
	k.t.Helper()
	b, err := jose.JSONWebKey{Key: k.private, KeyID: k.id}.MarshalJSON()
	if err != nil {
		k.t.Fatal(err)
	}
	return string(b)
}

// Set returns a JWK set of keys.
func Set(keys ...*Key) string {
	var list []string
	for _, k := range keys {
		list = append(list, k.JWK(true))
	}
	return `{"keys":[` + strings.Join(list, ",") + `]}`
}

// Sign returns a token with a payload, which is what json.Marshal makes JSON of or, if it
// is a string, JSON already.
func (k *Key) Sign(payload any) string {
	k.t.Helper()
	text, ok := payload.(string)
	if !ok {
		b, err := json.Marshal(payload)
		if err != nil {
			k.t.Fatal(err)
		}
		text = string(b)
	}
	o := &jose.SignerOptions{}
	if k.id != "" {
		o = o.WithHeader("kid", k.id)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: k.private}, o)
	if err != nil {
		k.t.Fatal(err)
	}
	j, err := s.Sign([]byte(text))
	if err != nil {
		k.t.Fatal(err)
	}
	out, err := j.CompactSerialize()
	if err != nil {
		k.t.Fatal(err)
	}
	return out
}

// Raw returns a token of a head and a payload in JSON with a signature that is none.
func Raw(head, payload string) string {
	e := base64.RawURLEncoding
	return e.EncodeToString([]byte(head)) + "." + e.EncodeToString([]byte(payload)) + "." + e.EncodeToString([]byte("signature"))
}
