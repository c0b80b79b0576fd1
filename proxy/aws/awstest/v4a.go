// SPDX-License-Identifier: Apache-2.0

package awstest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/logging"
)

// asymmetric is the algorithm of signatures that hold in several regions.
const asymmetric = "AWS4-ECDSA-P256-SHA256"

// verifyAsymmetric is Verify for such a signature in a header. ECDSA signs nothing alike
// twice, so what is signed is asked of the SDK's signer, and the signature is checked
// with the public key of the credentials.
func (a *Account) verifyAsymmetric(r *http.Request, body []byte, service string, parts map[string]string) (string, error) {
	scope := strings.Split(parts["Credential"], "/")
	if len(scope) != 4 || scope[2] != service || scope[3] != "aws4_request" {
		return "", fmt.Errorf("the credential %q is not for %s", parts["Credential"], service)
	}
	if r.Header.Get("X-Amz-Region-Set") == "" {
		return "", errors.New("x-amz-region-set is missing")
	}
	date := r.Header.Get("X-Amz-Date")
	key, at, err := a.valid(scope[0], date)
	if err != nil {
		return "", err
	}
	again, hash, err := signedPart(r, body, strings.Split(parts["SignedHeaders"], ";"))
	if err != nil {
		return "", err
	}
	var canonical string
	err = v4.NewSigner().SignHTTP(context.Background(), key, again, hash, service, "any", at, func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping, o.LogSigning = service == "s3", true
		o.Logger = logging.LoggerFunc(func(_ logging.Classification, _ string, args ...any) { canonical, _ = args[0].(string) })
	})
	if err != nil {
		return "", err
	}
	of := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{asymmetric, date, strings.Join(scope[1:], "/"), hex.EncodeToString(of[:])}, "\n")
	sum := sha256.Sum256([]byte(text))
	signature, err := hex.DecodeString(parts["Signature"])
	if err != nil {
		return "", err
	}
	public, err := publicKey(key)
	if err != nil {
		return "", err
	}
	if !ecdsa.VerifyASN1(public, sum[:], signature) {
		return "", fmt.Errorf("the signature does not match: it is not of %q", canonical)
	}
	return scope[0], nil
}

// publicKey is what the service keeps of credentials: the first number below the order of
// the curve that HMACs of the key's name and a counter come to, times the curve's base.
func publicKey(c aws.Credentials) (*ecdsa.PublicKey, error) {
	curve := elliptic.P256()
	for n := byte(1); n < 255; n++ {
		h := hmac.New(sha256.New, []byte("AWS4A"+c.SecretAccessKey))
		fmt.Fprintf(h, "\x00\x00\x00\x01%s\x00%s%s\x00\x00\x01\x00", asymmetric, c.AccessKeyID, string([]byte{n}))
		d := new(big.Int).SetBytes(h.Sum(nil))
		if d.Cmp(new(big.Int).Sub(curve.Params().N, big.NewInt(2))) > 0 {
			continue
		}
		key, err := ecdsa.ParseRawPrivateKey(curve, d.Add(d, big.NewInt(1)).FillBytes(make([]byte, 32)))
		if err != nil {
			return nil, err
		}
		return &key.PublicKey, nil
	}
	return nil, errors.New("no key comes of these credentials")
}
