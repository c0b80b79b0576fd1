// SPDX-License-Identifier: Apache-2.0

package awstest

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// An Issuer gives out temporary keys of an account, as five services do: the Security
// Token Service, IAM Roles Anywhere, the metadata service of EC2, and the agents of ECS
// and of EKS. Its key ids tell which: "STS1", "ANYWHERE2", "IMDS3", "AGENT4" ...
type Issuer struct {
	// URL is where all of them are served: for AWS_ENDPOINT_URL_STS,
	// AWS_ENDPOINT_URL_ROLESANYWHERE, AWS_EC2_METADATA_SERVICE_ENDPOINT and, with /agent, for
	// AWS_CONTAINER_CREDENTIALS_FULL_URI.
	URL string

	account *Account
	mu      sync.Mutex
	life    time.Duration
	failing int
	issued  int
	asked   []string
	judge   func(token string) error
	trusted *x509.CertPool
}

// WebIdentityToken is what AssumeRoleWithWebIdentity takes, AgentToken what an agent.
const (
	WebIdentityToken = "the.identity.token"
	AgentToken       = "the-agent-token"
)

// NewIssuer starts an issuer whose keys live an hour, at an address of its own.
func NewIssuer(t testing.TB, a *Account) *Issuer {
	t.Helper()
	return NewIssuerAt(t, a, "127.0.0.1:0")
}

// NewIssuerAt starts an issuer at an address.
func NewIssuerAt(t testing.TB, a *Account, address string) *Issuer {
	t.Helper()
	i := &Issuer{account: a, life: time.Hour}
	i.Rotate(WebIdentityToken)
	s := serverAt(t, i, address)
	s.Start()
	t.Cleanup(s.Close)
	i.URL = s.URL
	return i
}

// serverAt returns a server that listens at an address, and waits for its start.
func serverAt(t testing.TB, h http.Handler, address string) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return &httptest.Server{Listener: l, Config: &http.Server{Handler: h}} //nolint:gosec // For tests.
}

// Life sets how long the keys live that are given out from now on.
func (i *Issuer) Life(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.life = d
}

// Fail makes everything fail with an HTTP status; 0 ends that.
func (i *Issuer) Fail(status int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.failing = status
}

// Rotate sets the web identity token that is taken from now on.
func (i *Issuer) Rotate(token string) {
	i.Judge(func(got string) error {
		if got != token {
			return errors.New("the token is not known")
		}
		return nil
	})
}

// Judge sets who says which web identity tokens are taken from now on, and why one is not.
func (i *Issuer) Judge(judge func(token string) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.judge = judge
}

// Asked tells what was asked for, in order: "AssumeRole arn:... session", "IMDS", "AGENT".
func (i *Issuer) Asked() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]string(nil), i.asked...)
}

func (i *Issuer) issue(service, asked string) aws.Credentials {
	i.issued++
	i.asked = append(i.asked, asked)
	c := aws.Credentials{
		AccessKeyID: fmt.Sprintf("%s%d", service, i.issued), SecretAccessKey: fmt.Sprintf("secret/%d", i.issued),
		SessionToken: fmt.Sprintf("session+%d==", i.issued), Expires: time.Now().Add(i.life),
	}
	i.account.Add(c)
	return c
}

// ServeHTTP serves all services, told apart by their paths.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.failing != 0 {
		i.asked = append(i.asked, "failed")
		http.Error(w, "out of order", i.failing)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "PUT /latest/api/token":
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		fmt.Fprint(w, "imds-token")
	case "GET /latest/meta-data/iam/security-credentials/":
		if r.Header.Get("X-Aws-Ec2-Metadata-Token") != "imds-token" {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "node-role")
	case "GET /latest/meta-data/iam/security-credentials/node-role":
		i.json(w, i.issue("IMDS", "IMDS"))
	case "GET /agent":
		if r.Header.Get("Authorization") != AgentToken {
			http.Error(w, `{"code":"AccessDenied","message":"no token"}`, http.StatusForbidden)
			return
		}
		i.json(w, i.issue("AGENT", "AGENT"))
	case "POST /":
		i.sts(w, r)
	case "POST /sessions":
		i.anywhere(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (i *Issuer) json(w http.ResponseWriter, c aws.Credentials) {
	w.Header().Set("Content-Type", "application/json")
	// The client sees a broken answer if this fails.
	_ = json.NewEncoder(w).Encode(map[string]string{
		"Code": "Success", "AccessKeyId": c.AccessKeyID, "SecretAccessKey": c.SecretAccessKey, "Token": c.SessionToken,
		"Expiration": c.Expires.UTC().Format(time.RFC3339Nano),
	})
}

func (i *Issuer) sts(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	action := form.Get("Action")
	asked := action + " " + form.Get("RoleArn") + " " + form.Get("RoleSessionName")
	switch action {
	case "AssumeRole":
		if _, err := i.account.Verify(r, body, "sts"); err != nil {
			i.refuse(w, "SignatureDoesNotMatch", err.Error())
			return
		}
		asked += " " + form.Get("ExternalId") + " " + form.Get("DurationSeconds")
	case "AssumeRoleWithWebIdentity":
		if err := i.judge(form.Get("WebIdentityToken")); err != nil {
			i.refuse(w, "InvalidIdentityToken", err.Error())
			return
		}
	default:
		i.refuse(w, "InvalidAction", action)
		return
	}
	c := i.issue("STS", asked)
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`,
		action, c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expires.UTC().Format(time.RFC3339Nano))
}

func (i *Issuer) refuse(w http.ResponseWriter, code, message string) {
	i.asked = append(i.asked, "refused: "+code)
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, code, message)
}
