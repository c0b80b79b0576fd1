// SPDX-License-Identifier: Apache-2.0

// Package awstest is the test kit of what talks to AWS: an account whose keys are
// known, the services that give out temporary ones, and the API of Lambda with
// functions behind it, which may be processes that run for real.
//
// Signatures are verified as AWS does it, by signing again what is said to be signed,
// and with the signer of aws-sdk-go-v2, which shares no code with ours.
package awstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Keys of an Account that are always there.
const (
	AccessKeyID     = "AKIDEXAMPLE"
	SecretAccessKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

// An Account knows the keys that requests may be signed with.
type Account struct {
	mu   sync.Mutex
	keys map[string]aws.Credentials
}

// NewAccount returns an account with AccessKeyID and SecretAccessKey.
func NewAccount() *Account {
	a := &Account{keys: map[string]aws.Credentials{}}
	a.Add(aws.Credentials{AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey})
	return a
}

// Add adds a key.
func (a *Account) Add(c aws.Credentials) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[c.AccessKeyID] = c
}

// ErrUnsigned is returned for a request that has no signature.
var ErrUnsigned = errors.New("Missing Authentication Token") //nolint:staticcheck // As AWS says it.

// Verify checks the signature of a request whose body is body, made for a service, in
// a header or in the query. It returns the access key that it was made with.
func (a *Account) Verify(r *http.Request, body []byte, service string) (string, error) {
	q := r.URL.Query()
	switch auth := r.Header.Get("Authorization"); {
	case q.Has("X-Amz-Signature"):
		return a.verify(r, body, service, q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Date"), true)
	case auth == "":
		return "", ErrUnsigned
	default:
		algorithm, rest, _ := strings.Cut(auth, " ")
		parts := map[string]string{}
		for p := range strings.SplitSeq(rest, ", ") {
			k, v, _ := strings.Cut(p, "=")
			parts[k] = v
		}
		switch algorithm {
		case "AWS4-HMAC-SHA256":
		case asymmetric:
			return a.verifyAsymmetric(r, body, service, parts)
		default:
			return "", fmt.Errorf("authorization is of no algorithm that is known: %q", auth)
		}
		return a.verify(r, body, service, parts["Credential"], parts["SignedHeaders"], r.Header.Get("X-Amz-Date"), false)
	}
}

func (a *Account) verify(r *http.Request, body []byte, service, credential, names, date string, query bool) (string, error) {
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[3] != service || scope[4] != "aws4_request" {
		return "", fmt.Errorf("the credential %q is not for %s", credential, service)
	}
	key, at, err := a.valid(scope[0], date)
	if err != nil {
		return "", err
	}
	again, hash, err := signedPart(r, body, strings.Split(names, ";"))
	if err != nil {
		return "", err
	}
	signer := v4.NewSigner()
	plain := func(o *v4.SignerOptions) { o.DisableURIPathEscaping, o.DisableHeaderHoisting = service == "s3", true }
	if query {
		want := again.URL.Query()
		for _, n := range []string{"X-Amz-Signature", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-SignedHeaders"} {
			want.Del(n)
		}
		again.URL.RawQuery = want.Encode()
		uri, _, err := signer.PresignHTTP(context.Background(), key, again, hash, service, scope[2], at, plain)
		if err != nil {
			return "", err
		}
		u, err := url.Parse(uri)
		if err != nil {
			return "", err
		}
		if got, want := r.URL.Query().Encode(), u.Query().Encode(); got != want {
			return "", fmt.Errorf("the signature does not match: %s, not %s", got, want)
		}
		return scope[0], nil
	}
	if err := signer.SignHTTP(context.Background(), key, again, hash, service, scope[2], at, plain); err != nil {
		return "", err
	}
	if got, want := r.Header.Get("Authorization"), again.Header.Get("Authorization"); got != want {
		return "", fmt.Errorf("the signature does not match: %s, not %s", got, want)
	}
	return scope[0], nil
}

// valid returns the key called id and the moment of a signature, if both are good now.
func (a *Account) valid(id, date string) (aws.Credentials, time.Time, error) {
	a.mu.Lock()
	key, ok := a.keys[id]
	a.mu.Unlock()
	if !ok {
		return key, time.Time{}, fmt.Errorf("the security token included in the request is invalid: there is no key %q", id)
	}
	if !key.Expires.IsZero() && time.Now().After(key.Expires) {
		return key, time.Time{}, errors.New("the security token included in the request is expired")
	}
	at, err := time.Parse("20060102T150405Z", date)
	if err != nil {
		return key, at, err
	}
	if d := time.Since(at).Abs(); d > 15*time.Minute {
		return key, at, fmt.Errorf("signature expired: it is %v off", d)
	}
	return key, at, nil
}

// signedPart is the request with nothing but the fields that are said to be signed,
// and the hash that its body is said to have.
func signedPart(r *http.Request, body []byte, names []string) (*http.Request, string, error) {
	again := &http.Request{Method: r.Method, Host: r.Host, Header: http.Header{}}
	scheme := "https"
	if strings.HasSuffix(r.Host, ":80") {
		scheme = "http" // So that the signer knows the port for what is not told.
	}
	u, err := url.ParseRequestURI(scheme + "://" + r.Host + r.RequestURI)
	if err != nil {
		return nil, "", err
	}
	again.URL = u
	for _, n := range names {
		switch n {
		case "host":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(n)] = r.Header.Values(n)
		}
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	switch said := r.Header.Get("X-Amz-Content-Sha256"); said {
	case "UNSIGNED-PAYLOAD":
		hash = said
	case "", hash: // Not all services ask for it.
	default:
		return nil, "", fmt.Errorf("x-amz-content-sha256 is %q, the body's is %q", said, hash)
	}
	for n := range r.Header {
		if strings.HasPrefix(n, "X-Amz-") && !slices.Contains(names, strings.ToLower(n)) {
			return nil, "", fmt.Errorf("%s is not signed", n)
		}
	}
	again.Body = http.NoBody
	if len(body) > 0 {
		again.Body = nopCloser{bytes.NewReader(body)}
	}
	return again, hash, nil
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }
