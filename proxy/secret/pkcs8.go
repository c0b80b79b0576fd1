// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
)

// maxIterations bounds the work of deriving a key; OpenSSL's default is 2048.
const maxIterations = 2_000_000

type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

type pbes2 struct {
	KDF, Cipher pkix.AlgorithmIdentifier
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// decryptPKCS8 decrypts an EncryptedPrivateKeyInfo (RFC 5958 §3) of the scheme PBES2
// with PBKDF2 (RFC 8018), which is what OpenSSL writes.
func decryptPKCS8(der, password []byte) (any, error) {
	var e encryptedKey
	if rest, err := asn1.Unmarshal(der, &e); err != nil || len(rest) > 0 {
		return nil, errors.New("is not an encrypted PKCS#8 key")
	}
	var scheme pbes2
	if !e.Algorithm.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}) {
		return nil, fmt.Errorf("is encrypted by scheme %s: use PBES2, as 'openssl pkcs8 -topk8 -v2 aes-256-cbc' does", e.Algorithm.Algorithm)
	}
	if _, err := asn1.Unmarshal(e.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil, fmt.Errorf("has broken PBES2 parameters: %w", err)
	}
	if len(password) == 0 {
		return nil, errPassword
	}
	mode, err := scheme.cipher(password)
	if err != nil {
		return nil, err
	}
	if len(e.Data) == 0 || len(e.Data)%mode.BlockSize() != 0 {
		return nil, errors.New("is cut short")
	}
	mode.CryptBlocks(e.Data, e.Data)
	// RFC 8018 §6.1.1: the padding is as many bytes as it says in each.
	n := int(e.Data[len(e.Data)-1])
	if n == 0 || n > mode.BlockSize() || n > len(e.Data) {
		return nil, errPassword
	}
	k, err := parseKey(e.Data[:len(e.Data)-n])
	if err != nil {
		return nil, errPassword
	}
	return k, nil
}

// cipher derives the key and returns what decrypts.
func (s *pbes2) cipher(password []byte) (cipher.BlockMode, error) {
	var p pbkdf2Params
	if !s.KDF.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}) {
		return nil, fmt.Errorf("derives its key by %s: use PBKDF2", s.KDF.Algorithm)
	}
	if _, err := asn1.Unmarshal(s.KDF.Parameters.FullBytes, &p); err != nil {
		return nil, fmt.Errorf("has broken PBKDF2 parameters: %w", err)
	}
	if p.Iterations < 1 || p.Iterations > maxIterations {
		return nil, fmt.Errorf("asks for %d iterations of PBKDF2: at most %d are made", p.Iterations, maxIterations)
	}
	prf, ok := prfs()[p.PRF.Algorithm.String()]
	if !ok {
		return nil, fmt.Errorf("uses PBKDF2 with %s: use HMAC-SHA256", p.PRF.Algorithm)
	}
	c, ok := blockCiphers()[s.Cipher.Algorithm.String()]
	if !ok {
		return nil, fmt.Errorf("is encrypted by %s: use AES in CBC mode", s.Cipher.Algorithm)
	}
	key, err := pbkdf2.Key(prf, string(password), p.Salt, p.Iterations, c.size)
	if err != nil {
		return nil, err
	}
	block, err := c.make(key)
	if err != nil {
		return nil, err
	}
	var iv []byte
	if _, err := asn1.Unmarshal(s.Cipher.Parameters.FullBytes, &iv); err != nil || len(iv) != block.BlockSize() {
		return nil, errors.New("has no initialization vector of the right size")
	}
	return cipher.NewCBCDecrypter(block, iv), nil
}

func prfs() map[string]func() hash.Hash {
	return map[string]func() hash.Hash{
		"":                    sha1.New, // The default.
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.10": sha512.New384,
		"1.2.840.113549.2.11": sha512.New,
	}
}

type blockCipher struct {
	size int
	make func([]byte) (cipher.Block, error)
}

func blockCiphers() map[string]blockCipher {
	return map[string]blockCipher{
		"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
		"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
		"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
		"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
	}
}
