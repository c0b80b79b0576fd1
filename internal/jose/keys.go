// SPDX-License-Identifier: Apache-2.0

package jose

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// MaxKeys is the most bytes that a set of keys may have.
const MaxKeys = 1 << 20

// maxCount is how many keys of a set are used; maxRSA bounds their modulus, in bits. A
// token that names no key is tried with all of them.
const (
	maxCount = 256
	maxRSA   = 8192
)

// Keys is a set of public keys. It is immutable.
type Keys struct {
	keys []key
	sum  [sha256.Size]byte
}

// key is one key and the algorithms that it is for.
type key struct {
	id         string
	algorithms []string
	public     any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, []byte
}

// known reports whether an algorithm is implemented.
func known(alg string) bool {
	return slices.Contains(rsaAlgorithms(), alg) || slices.Contains(hmacAlgorithms(), alg) || slices.Contains([]string{"ES256", "ES384", "ES512", "EdDSA"}, alg)
}

func rsaAlgorithms() []string { return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} }

func hmacAlgorithms() []string { return []string{"HS256", "HS384", "HS512"} }

// algorithms returns those that a key may be used with; none if it is not to be used.
func algorithms(public any) []string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() <= maxRSA {
			return rsaAlgorithms()
		}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []string{"ES256"}
		case elliptic.P384():
			return []string{"ES384"}
		case elliptic.P521():
			return []string{"ES512"}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	case []byte:
		return hmacAlgorithms()
	}
	return nil
}

// ParseKeys reads a JWK set, or an object of certificates in PEM by the names of their
// keys. Keys that are wrong, or not for signatures, are left out; it is wrong if none
// remains.
func ParseKeys(text []byte) (*Keys, Status) {
	if len(text) > MaxKeys || !shallow(text) {
		return nil, KeysBadJSON
	}
	var set map[string]json.RawMessage
	if err := json.Unmarshal(text, &set); err != nil || set == nil {
		return nil, KeysBadJSON
	}
	k := &Keys{sum: sha256.Sum256(text)}
	list, ok := set["keys"]
	if !ok {
		return k.certificates(set)
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(list, &raw); err != nil || raw == nil {
		return nil, KeysNoArray
	}
	for _, r := range raw[:min(len(raw), maxCount)] {
		if x, ok := parseKey(r); ok {
			k.keys = append(k.keys, x)
		}
	}
	if len(k.keys) == 0 {
		return nil, KeysNoneValid
	}
	return k, OK
}

// publicKey is what is read of a JWK: private parts and certificates are not.
type publicKey struct {
	Kty string `json:"kty"`
	Use string `json:"use,omitempty"`
	Kid string `json:"kid,omitempty"`
	Alg string `json:"alg,omitempty"`
	Crv string `json:"crv,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	K   string `json:"k,omitempty"`
}

func parseKey(raw []byte) (key, bool) {
	var p publicKey
	if err := json.Unmarshal(raw, &p); err != nil || p.Use == "enc" || len(p.N) > maxRSA/6+2 || len(p.E) > 16 {
		return key{}, false
	}
	public, err := json.Marshal(&p)
	if err != nil {
		return key{}, false
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(public); err != nil || jwk.Key == nil {
		return key{}, false
	}
	k := key{id: p.Kid, public: jwk.Key, algorithms: algorithms(jwk.Key)}
	if p.Alg != "" {
		if !slices.Contains(k.algorithms, p.Alg) {
			return key{}, false
		}
		k.algorithms = []string{p.Alg}
	}
	return k, len(k.algorithms) > 0
}

// certificates reads a set of certificates by name.
func (k *Keys) certificates(set map[string]json.RawMessage) (*Keys, Status) {
	found := false
	for id, raw := range set {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil || !strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----") {
			return nil, KeysMissing
		}
		found = true
		block, _ := pem.Decode([]byte(text))
		if block == nil || len(k.keys) == maxCount {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		if a := algorithms(c.PublicKey); a != nil {
			k.keys = append(k.keys, key{id: id, public: c.PublicKey, algorithms: a})
		}
	}
	switch {
	case !found:
		return nil, KeysMissing
	case len(k.keys) == 0:
		return nil, KeysNoneValid
	}
	slices.SortFunc(k.keys, func(a, b key) int { return strings.Compare(a.id, b.id) })
	return k, OK
}

// Len returns the number of keys.
func (k *Keys) Len() int { return len(k.keys) }

// Equal reports whether both were read from the same bytes.
func (k *Keys) Equal(o *Keys) bool { return o != nil && bytes.Equal(k.sum[:], o.sum[:]) }

// Verify verifies a token's signature with the keys that are for its algorithm and have
// the name that it asks for. It looks at nothing else of it.
func (k *Keys) Verify(t *Token) Status {
	var jws *jose.JSONWebSignature
	for i := range k.keys {
		x := &k.keys[i]
		if t.KeyID != "" && x.id != "" && t.KeyID != x.id || !slices.Contains(x.algorithms, t.Algorithm) {
			continue
		}
		if jws == nil {
			var err error
			if jws, err = jose.ParseSignedCompact(t.Text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.Algorithm)}); err != nil {
				return VerificationFailed
			}
		}
		if _, err := jws.Verify(x.public); err == nil {
			return OK
		}
	}
	if jws == nil {
		return KeysNoneMatches
	}
	return VerificationFailed
}
