// SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"weir.dev/weir/proxy/secret"
)

// keys are what cookies are signed and encrypted with, made of hmac_secret.
type keys struct {
	mac   []byte
	block cipher.Block
}

// parseKeys reads hmac_secret; an empty one, which anybody knows, is none.
func parseKeys(v *secret.Value) (*keys, error) {
	if v == nil || len(v.Generic[""]) == 0 {
		return nil, nil
	}
	k := &keys{mac: v.Generic[""]}
	sum := sha256.Sum256(k.mac)
	var err error
	k.block, err = aes.NewCipher(sum[:])
	return k, err
}

// sign is HMAC-SHA256 of the parts, each on a line of its own, in base64.
func (k *keys) sign(parts ...string) string {
	h := hmac.New(sha256.New, k.mac)
	h.Write([]byte(strings.Join(parts, "\n")))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// signed reports whether sig is the signature of the parts, in a time that does not tell
// how far it is.
func (k *keys) signed(sig string, parts ...string) bool { return same(sig, k.sign(parts...)) }

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// seal encrypts by AES-256-CBC with the padding of PKCS #7; the initialisation vector
// goes first. It is the form of Envoy, whose proxies can read it.
func (k *keys) seal(plain string) string {
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	b := make([]byte, aes.BlockSize, aes.BlockSize+len(plain)+pad)
	if _, err := rand.Read(b); err != nil {
		panic("BUG: crypto/rand: " + err.Error())
	}
	b = append(b, plain...)
	b = append(b, bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(k.block, b[:aes.BlockSize]).CryptBlocks(b[aes.BlockSize:], b[aes.BlockSize:])
	return base64.RawURLEncoding.EncodeToString(b)
}

// open decrypts what seal made. It reports false for what cannot be that.
func (k *keys) open(text string) (string, bool) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(b) < 2*aes.BlockSize || len(b)%aes.BlockSize != 0 {
		return "", false
	}
	iv, b := b[:aes.BlockSize], b[aes.BlockSize:]
	cipher.NewCBCDecrypter(k.block, iv).CryptBlocks(b, b)
	pad := int(b[len(b)-1])
	if pad == 0 || pad > aes.BlockSize || !bytes.Equal(b[len(b)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return "", false
	}
	return string(b[:len(b)-pad]), true
}

// random is n random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic("BUG: crypto/rand: " + err.Error())
	}
	return b
}

// newFlow is the ID of a new login: 64 random bits, as in Envoy.
func newFlow() string { return hex.EncodeToString(random(8)) }

// newVerifier is a code verifier of PKCE (RFC 7636 §4.1, §7.1).
func newVerifier() string { return base64.RawURLEncoding.EncodeToString(random(32)) }

// challenge is the code challenge of a verifier by the method S256 (RFC 7636 §4.2).
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
