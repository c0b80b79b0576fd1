// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/aws/awstest"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/tls/tlstest"
)

const anchor = "arn:aws:rolesanywhere:eu-west-1:1:trust-anchor/a"

// rolesConfig is the configuration of a chain with IAM Roles Anywhere alone.
func rolesConfig(t *testing.T, fields map[string]any) string {
	t.Helper()
	all := map[string]any{"role_arn": "arn:aws:iam::1:role/far", "profile_arn": "arn:aws:rolesanywhere:eu-west-1:1:profile/p", "trust_anchor_arn": anchor}
	for k, v := range fields {
		all[k] = v
	}
	text, err := json.Marshal(map[string]any{"custom_credential_provider_chain": true, "iam_roles_anywhere_credential_provider": all})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func inline(text string) map[string]any { return map[string]any{"inline_string": text} }

func TestRolesAnywhere(t *testing.T) {
	iss := awstest.NewIssuer(t, awstest.NewAccount())
	root := tlstest.NewCA(t, "root")
	between := root.Intermediate(t, "between")
	iss.Trust(root.Pool())
	ec, other := root.Issue(t, tlstest.Leaf{}), root.Issue(t, tlstest.Leaf{})
	below, stranger := between.Issue(t, tlstest.Leaf{}), tlstest.NewCA(t, "stranger").Issue(t, tlstest.Leaf{})
	rsa, odd := root.Issue(t, tlstest.Leaf{Key: tlstest.RSA2048}), root.Issue(t, tlstest.Leaf{Key: tlstest.Ed25519})
	old := root.Issue(t, tlstest.Leaf{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	const asked = "CreateSession " + anchor + " arn:aws:rolesanywhere:eu-west-1:1:profile/p arn:aws:iam::1:role/far "
	tests := []struct {
		name   string
		fields map[string]any
		asked  string
		err    string // "" is none
	}{
		{"ECDSA", map[string]any{"certificate": inline(ec.CertPEM), "private_key": inline(ec.KeyPEM)}, asked + " 0", ""},
		{"RSA", map[string]any{"certificate": inline(rsa.CertPEM), "private_key": inline(rsa.KeyPEM)}, asked + " 0", ""},
		{"a session's name and duration", map[string]any{"certificate": inline(ec.CertPEM), "private_key": inline(ec.KeyPEM), "role_session_name": "mine", "session_duration": "1800s"}, asked + "mine 1800", ""},
		{"files", map[string]any{"certificate": map[string]any{"filename": write(t, ec.CertPEM)}, "private_key": map[string]any{"filename": write(t, ec.KeyPEM)}}, asked + " 0", ""},
		{"a chain", map[string]any{"certificate": inline(below.CertPEM), "private_key": inline(below.KeyPEM), "certificate_chain": inline(between.CertPEM)}, asked + " 0", ""},
		{"no chain where one is needed", map[string]any{"certificate": inline(below.CertPEM), "private_key": inline(below.KeyPEM)}, "", `answered 403: "untrusted certificate: `},
		{"of nobody's", map[string]any{"certificate": inline(stranger.CertPEM), "private_key": inline(stranger.KeyPEM)}, "", `answered 403: "untrusted certificate: `},
		{"another's key", map[string]any{"certificate": inline(ec.CertPEM), "private_key": inline(other.KeyPEM)}, "", "certificate and private_key: "},
		{"expired", map[string]any{"certificate": inline(old.CertPEM), "private_key": inline(old.KeyPEM)}, "", "certificate: has expired at "},
		{"Ed25519", map[string]any{"certificate": inline(odd.CertPEM), "private_key": inline(odd.KeyPEM)}, "", "IAM Roles Anywhere takes RSA and ECDSA"},
		{"no certificate", map[string]any{"certificate": inline("x"), "private_key": inline(ec.KeyPEM)}, "", "certificate and private_key: "},
		{"no file", map[string]any{"certificate": map[string]any{"filename": "/none"}, "private_key": inline(ec.KeyPEM)}, "", "certificate: not there: /none"},
		{"a chain of nothing", map[string]any{"certificate": inline(ec.CertPEM), "private_key": inline(ec.KeyPEM), "certificate_chain": inline("x")}, "", "certificate_chain: has 0 certificates: 1 to 5 are taken"},
		{"a chain of six", map[string]any{"certificate": inline(ec.CertPEM), "private_key": inline(ec.KeyPEM), "certificate_chain": inline(strings.Repeat(root.CertPEM, 6))}, "", "certificate_chain: has 6 certificates"},
		{"a chain with a key", map[string]any{"certificate": inline(ec.CertPEM), "private_key": inline(ec.KeyPEM), "certificate_chain": inline(ec.KeyPEM)}, "", "certificate_chain: block 1, PRIVATE KEY: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := compile(rolesConfig(t, tt.fields), nil)
			if err != nil {
				t.Fatal(err)
			}
			e := environment(map[string]string{"AWS_ENDPOINT_URL_ROLESANYWHERE": iss.URL})
			got, err := (&finder{steps: c.chain(&e)}).find(t.Context(), false)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v\nwant %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(got.expires); !strings.HasPrefix(got.creds.AccessKeyID, "ANYWHERE") || got.creds.SessionToken == "" || left < 50*time.Minute {
				t.Errorf("%+v", got)
			}
			if all := iss.Asked(); all[len(all)-1] != tt.asked {
				t.Errorf("asked: %q", all)
			}
		})
	}
}

// TestRotatedCertificate: the files are read for every call.
func TestRotatedCertificate(t *testing.T) {
	iss := awstest.NewIssuer(t, awstest.NewAccount())
	first, second := tlstest.NewCA(t, "first"), tlstest.NewCA(t, "second")
	old, next := first.Issue(t, tlstest.Leaf{}), second.Issue(t, tlstest.Leaf{})
	certificate, key := write(t, old.CertPEM), write(t, old.KeyPEM)
	c, err := compile(rolesConfig(t, map[string]any{"certificate": map[string]any{"filename": certificate}, "private_key": map[string]any{"filename": key}}), nil)
	if err != nil {
		t.Fatal(err)
	}
	store := stats.NewStore()
	e := environment(map[string]string{"AWS_ENDPOINT_URL": iss.URL + "/"})
	f := finder{steps: c.chain(&e), stats: store}
	iss.Trust(second.Pool())
	if _, err := f.find(t.Context(), false); err == nil {
		t.Error("an old certificate is taken")
	}
	for name, text := range map[string]string{certificate: next.CertPEM, key: next.KeyPEM} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.find(t.Context(), false); err != nil {
		t.Error(err)
	}
	got := map[string]uint64{}
	store.Visit(func(m stats.Metric) {
		got[strings.TrimPrefix(m.Name, "aws.metadata_credentials_provider.rolesanywhere_eu-west-1_amazonaws_com.credential_refreshes_")] = m.Count
	})
	if want := map[string]uint64{"performed": 2, "failed": 1, "succeeded": 1}; !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// TestRolesAnywhereInTheChain: it comes after the file and before web identity.
func TestRolesAnywhereInTheChain(t *testing.T) {
	iss := awstest.NewIssuer(t, awstest.NewAccount())
	root := tlstest.NewCA(t, "root")
	iss.Trust(root.Pool())
	leaf := root.Issue(t, tlstest.Leaf{})
	text := rolesConfig(t, map[string]any{"certificate": inline(leaf.CertPEM), "private_key": inline(leaf.KeyPEM)})
	c, err := compile(strings.Replace(text, `"custom_credential_provider_chain":true`, `"custom_credential_provider_chain":false`, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{
		"HOME": "/", "AWS_ENDPOINT_URL": iss.URL, "AWS_WEB_IDENTITY_TOKEN_FILE": write(t, awstest.WebIdentityToken), "AWS_ROLE_ARN": "arn:aws:iam::1:role/web",
	}
	e := environment(values)
	f := finder{steps: c.chain(&e)}
	if got, err := f.find(t.Context(), false); err != nil || !strings.HasPrefix(got.creds.AccessKeyID, "ANYWHERE") {
		t.Errorf("%+v, %v", got, err)
	}
	values["AWS_SHARED_CREDENTIALS_FILE"] = write(t, file)
	if got, err := f.find(t.Context(), false); err != nil || got.creds.AccessKeyID != "FILE" {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzSession reads what may be the answer of IAM Roles Anywhere.
func FuzzSession(f *testing.F) {
	f.Add([]byte(`{"credentialSet":[{"credentials":{"accessKeyId":"a","secretAccessKey":"s","sessionToken":"t","expiration":"2026-01-01T00:00:00Z"}}]}`))
	f.Add([]byte(`{"message":"no"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := session(b); (got == nil) != (err != nil) {
			t.Errorf("%v, %v", got, err)
		}
		if r := reason(b); len(r) > 2000 {
			t.Errorf("%d bytes", len(r))
		}
	})
}
