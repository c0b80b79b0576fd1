// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"math/big"
)

// derive makes the ECDSA key of credentials as every side does: a number from a
// counter-mode HMAC (NIST SP 800-108) of the access key, tried again with another
// counter until it lies below the curve's order (FIPS 186-4 §B.4.2).
func derive(c *Credentials) (*ecdsa.PrivateKey, error) {
	curve := elliptic.P256()
	limit := new(big.Int).Sub(curve.Params().N, big.NewInt(2))
	for counter := 1; counter < 255; counter++ {
		text := []byte{0, 0, 0, 1}
		text = append(text, V4A.String()...)
		text = append(text, 0)
		text = append(text, c.AccessKeyID...)
		text = append(text, byte(counter), 0, 0, 1, 0)
		n := new(big.Int).SetBytes(mac([]byte("AWS4A"+c.SecretAccessKey), text))
		if n.Cmp(limit) > 0 {
			continue
		}
		k, err := ecdsa.ParseRawPrivateKey(curve, n.Add(n, big.NewInt(1)).FillBytes(make([]byte, 32)))
		if err != nil {
			return nil, fmt.Errorf("derive the signing key: %w", err)
		}
		return k, nil
	}
	return nil, errors.New("derive the signing key: there is none for these credentials")
}
