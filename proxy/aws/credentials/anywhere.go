// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"weir.dev/weir/proxy/aws/sign"
)

// maxChain is how many certificates IAM Roles Anywhere takes besides the leaf.
const maxChain = 5

// anywhere is CreateSession of IAM Roles Anywhere: a certificate with its key is
// exchanged for the credentials of a role (IAMRolesAnywhereCredentialProvider).
type anywhere struct {
	certificate, key, chain    *source // PEM; chain may be nil
	role, profile, anchor      string  // ARNs
	partition, region, session string  // of the anchor's ARN; the session's name, "" for AWS's choice
	duration                   time.Duration
}

// host is the service's endpoint in the region of the trust anchor.
func (a *anywhere) host() string {
	domain := "amazonaws.com"
	if a.partition == "aws-cn" {
		domain = "amazonaws.com.cn"
	}
	return "rolesanywhere." + a.region + "." + domain
}

// find asks for a session. The certificate and its key are read anew for each call:
// they are rotated.
func (a *anywhere) find(ctx context.Context, e *Environment) (*found, error) {
	id, err := a.identity(e)
	if err != nil {
		return nil, err
	}
	base := cmp.Or(e.endpoint("ROLESANYWHERE"), "https://"+a.host())
	body, err := json.Marshal(createSession{
		Duration: int64(a.duration / time.Second), Profile: a.profile, Role: a.role, Anchor: a.anchor, Session: a.session,
	})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(base, "/")+"/sessions", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if err := id.sign(r, body, a.region, time.Now()); err != nil {
		return nil, err
	}
	res, err := client(true).Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s answered %d: %s", r.URL.Host, res.StatusCode, reason(answer))
	}
	return session(answer)
}

// createSession is the body of the request CreateSession.
type createSession struct {
	Duration int64  `json:"durationSeconds,omitempty"`
	Profile  string `json:"profileArn"`
	Role     string `json:"roleArn"`
	Session  string `json:"roleSessionName,omitempty"`
	Anchor   string `json:"trustAnchorArn"`
}

// session reads the answer to CreateSession, of which the first credentials count.
func session(answer []byte) (*found, error) {
	var m struct {
		CredentialSet []struct {
			Credentials struct {
				AccessKeyID     string    `json:"accessKeyId"`
				SecretAccessKey string    `json:"secretAccessKey"`
				SessionToken    string    `json:"sessionToken"`
				Expiration      time.Time `json:"expiration"`
			} `json:"credentials"`
		} `json:"credentialSet"`
	}
	if err := json.Unmarshal(answer, &m); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(m.CredentialSet) == 0 {
		return nil, errors.New("the answer has no credentialSet")
	}
	c := &m.CredentialSet[0].Credentials
	return &found{creds: sign.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, expires: c.Expiration}, nil
}

// reason is what an answer says of why a request is refused, at most 200 bytes of it.
func reason(answer []byte) string {
	var m struct {
		Message string `json:"message"`
	}
	text := strings.TrimSpace(string(answer))
	if json.Unmarshal(answer, &m) == nil && m.Message != "" {
		text = m.Message
	}
	return fmt.Sprintf("%.200q", text)
}

// identity is who asks: a certificate, the certificates that it was issued by, and its key.
type identity struct {
	leaf      *x509.Certificate
	chain     []string // base64 of DER
	key       crypto.Signer
	algorithm string
}

func (a *anywhere) identity(e *Environment) (*identity, error) {
	certificate, err := a.certificate.read(e)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	key, err := a.key.read(e)
	if err != nil {
		return nil, fmt.Errorf("private_key: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("certificate and private_key: %w", err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
	}
	id := &identity{leaf: pair.Leaf}
	if !time.Now().Before(id.leaf.NotAfter) {
		return nil, fmt.Errorf("certificate: has expired at %s", id.leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	switch k := pair.PrivateKey.(type) {
	case *rsa.PrivateKey:
		id.key, id.algorithm = k, "AWS4-X509-RSA-SHA256"
	case *ecdsa.PrivateKey:
		id.key, id.algorithm = k, "AWS4-X509-ECDSA-SHA256"
	default:
		return nil, fmt.Errorf("private_key: is a %T: IAM Roles Anywhere takes RSA and ECDSA", k)
	}
	if a.chain == nil {
		return id, nil
	}
	text, err := a.chain.read(e)
	if err != nil {
		return nil, fmt.Errorf("certificate_chain: %w", err)
	}
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return nil, fmt.Errorf("certificate_chain: block %d, %s: %w", len(id.chain)+1, b.Type, err)
		}
		id.chain = append(id.chain, base64.StdEncoding.EncodeToString(b.Bytes))
	}
	if n := len(id.chain); n == 0 || n > maxChain {
		return nil, fmt.Errorf("certificate_chain: has %d certificates: 1 to %d are taken", n, maxChain)
	}
	return id, nil
}

// sign signs a request with the certificate's key, by Signature Version 4 as IAM Roles
// Anywhere has it (its User Guide, "The signing process").
func (id *identity) sign(r *http.Request, body []byte, region string, now time.Time) error {
	date := now.UTC().Format("20060102T150405Z")
	sum := sha256.Sum256(body)
	fields := []struct{ name, value string }{ // Sorted.
		{"content-type", "application/json"},
		{"host", r.URL.Host},
		{"x-amz-content-sha256", hex.EncodeToString(sum[:])},
		{"x-amz-date", date},
		{"x-amz-x509", base64.StdEncoding.EncodeToString(id.leaf.Raw)},
	}
	if len(id.chain) > 0 {
		fields = append(fields, struct{ name, value string }{"x-amz-x509-chain", strings.Join(id.chain, ",")})
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n%s\n\n", r.Method, r.URL.EscapedPath())
	names := make([]string, len(fields))
	for i, f := range fields {
		fmt.Fprintf(&text, "%s:%s\n", f.name, f.value)
		names[i] = f.name
		if f.name != "host" { // The request has it already.
			r.Header.Set(f.name, f.value)
		}
	}
	signed := strings.Join(names, ";")
	fmt.Fprintf(&text, "\n%s\n%x", signed, sum)
	scope := date[:8] + "/" + region + "/rolesanywhere/aws4_request"
	hash := sha256.Sum256([]byte(text.String()))
	hash = sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%x", id.algorithm, date, scope, hash))
	signature, err := id.key.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		return fmt.Errorf("sign the request: %w", err)
	}
	r.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%x", id.algorithm, id.leaf.SerialNumber, scope, signed, signature))
	return nil
}
