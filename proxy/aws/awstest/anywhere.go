// SPDX-License-Identifier: Apache-2.0

package awstest

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Trust sets the trust anchor of IAM Roles Anywhere: who signs with a certificate of it
// is given keys.
func (i *Issuer) Trust(anchor *x509.CertPool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.trusted = anchor
}

// anywhere is CreateSession.
func (i *Issuer) anywhere(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if err := i.certified(r, body); err != nil {
		i.asked = append(i.asked, "refused: "+err.Error())
		refuse(w, http.StatusForbidden, "AccessDeniedException", err.Error())
		return
	}
	var m struct {
		DurationSeconds                     int
		ProfileArn, RoleArn, TrustAnchorArn string
		RoleSessionName                     string
	}
	if err := json.Unmarshal(body, &m); err != nil || m.ProfileArn == "" || m.RoleArn == "" || m.TrustAnchorArn == "" {
		refuse(w, http.StatusBadRequest, "ValidationException", "an ARN is missing")
		return
	}
	c := i.issue("ANYWHERE", fmt.Sprintf("CreateSession %s %s %s %s %d", m.TrustAnchorArn, m.ProfileArn, m.RoleArn, m.RoleSessionName, m.DurationSeconds))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	// The client sees a broken answer if this fails.
	_ = json.NewEncoder(w).Encode(map[string]any{"credentialSet": []any{map[string]any{"credentials": map[string]string{
		"accessKeyId": c.AccessKeyID, "secretAccessKey": c.SecretAccessKey, "sessionToken": c.SessionToken, "expiration": c.Expires.UTC().Format(time.RFC3339),
	}}}})
}

// certified checks that the request is signed with the key of a certificate that the
// trust anchor has issued, itself or by way of those that are told.
func (i *Issuer) certified(r *http.Request, body []byte) error {
	leaf, err := certificate(r.Header.Get("X-Amz-X509"))
	if err != nil {
		return err
	}
	between := x509.NewCertPool()
	if chain := r.Header.Get("X-Amz-X509-Chain"); chain != "" {
		for text := range strings.SplitSeq(chain, ",") {
			c, err := certificate(text)
			if err != nil {
				return err
			}
			between.AddCert(c)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: i.trusted, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("untrusted certificate: %w", err)
	}
	algorithm, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	var how x509.SignatureAlgorithm
	switch {
	case algorithm == "AWS4-X509-RSA-SHA256" && leaf.PublicKeyAlgorithm == x509.RSA:
		how = x509.SHA256WithRSA
	case algorithm == "AWS4-X509-ECDSA-SHA256" && leaf.PublicKeyAlgorithm == x509.ECDSA:
		how = x509.ECDSAWithSHA256
	default:
		return fmt.Errorf("%q is not for a key of %v", algorithm, leaf.PublicKeyAlgorithm)
	}
	parts := map[string]string{}
	for p := range strings.SplitSeq(rest, ", ") {
		k, v, _ := strings.Cut(p, "=")
		parts[k] = v
	}
	date := r.Header.Get("X-Amz-Date")
	if at, err := time.Parse("20060102T150405Z", date); err != nil || time.Since(at).Abs() > 15*time.Minute {
		return fmt.Errorf("the date is %q", date)
	}
	serial, scope, _ := strings.Cut(parts["Credential"], "/")
	if fields := strings.Split(scope, "/"); serial != leaf.SerialNumber.String() || len(fields) != 4 || fields[0] != date[:8] || fields[2] != "rolesanywhere" || fields[3] != "aws4_request" {
		return fmt.Errorf("the credential is %q", parts["Credential"])
	}
	text, err := canonical(r, body, strings.Split(parts["SignedHeaders"], ";"))
	if err != nil {
		return err
	}
	signature, err := hex.DecodeString(parts["Signature"])
	if err != nil {
		return err
	}
	return leaf.CheckSignature(how, fmt.Appendf(nil, "%s\n%s\n%s\n%x", algorithm, date, scope, sha256.Sum256([]byte(text))), signature)
}

// canonical is the canonical request of one that has no query.
func canonical(r *http.Request, body []byte, names []string) (string, error) {
	for _, n := range []string{"content-type", "host", "x-amz-date", "x-amz-x509"} {
		if !slices.Contains(names, n) {
			return "", fmt.Errorf("%s is not signed", n)
		}
	}
	if !slices.IsSorted(names) || r.URL.RawQuery != "" {
		return "", errors.New("the signed fields are not sorted, or there is a query")
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n%s\n\n", r.Method, r.URL.EscapedPath())
	for _, n := range names {
		value := r.Header.Get(n)
		if n == "host" {
			value = r.Host
		}
		fmt.Fprintf(&text, "%s:%s\n", n, strings.TrimSpace(value))
	}
	fmt.Fprintf(&text, "\n%s\n%x", strings.Join(names, ";"), sha256.Sum256(body))
	return text.String(), nil
}

func certificate(text string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
