// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/test/kube/kubetest"
)

// private is the document's second install in one cluster, which lets in whom its list allows.
const private = `
apiVersion: getambassador.io/v2
kind: Module
metadata: {name: ambassador, namespace: emissary-private}
spec: {ambassador_id: [ambassador-private], config: {ip_allow: [{peer: 127.0.0.1}, {remote: 99.99.0.0/16}]}}
---
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: http-listener, namespace: emissary-private}
spec: {ambassador_id: [ambassador-private], port: 8080, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: SELF}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: all, namespace: emissary-private}
spec: {ambassador_id: [ambassador-private], hostname: "*", requestPolicy: {insecure: {action: Route}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: my-nginx-private, namespace: emissary-private}
spec: {ambassador_id: [ambassador-private], hostname: "*", prefix: /, service: "my-nginx.nginx:80"}
`

// testEmissary installs what the document about Emissary-ingress does: CRDs, its configuration, a certificate in another
// namespace; and a second, private install. The requests are the document's, and so are the mistakes of its FAQ.
func testEmissary(t *testing.T, c kubetest.Cluster) {
	const (
		host    = "{apiVersion: getambassador.io/v3alpha1, kind: Host, metadata: {name: my-host-dev, namespace: emissary}}"
		mapping = "{apiVersion: getambassador.io/v3alpha1, kind: Mapping, metadata: {name: my-nginx-mapping, namespace: emissary}}"
	)
	for _, name := range []string{"emissary", "emissary-private", "secret", "nginx"} {
		c.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", name))
	}
	config, err := os.ReadFile(kubetest.Path("examples/seeds/003-emissary/emissary.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.ApplyFiles(t, "deploy/crds/emissary/*.yaml")
	c.Apply(t, string(config))
	backend(t, c, "nginx", "my-nginx", 80)
	// The first mistake: the secret is not there.
	told(t, c, host, "state:Error", "there is no Secret secret/tls-secret")
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "sh", kubetest.Path("examples/seeds/003-emissary/certificates.sh"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	secret, err := os.ReadFile(filepath.Join(dir, "secret.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, string(secret))
	told(t, c, host, "state:Ready")
	told(t, c, mapping, "state:Running")

	ip := address(t, c, "weir-system", "emissary-ambassador")
	a := until(t, c, "301 ", "GET", "http://"+ip+"/", "", "Host", "dev.wadexu.cloud")
	if to := a.header.Get("Location"); to != "https://dev.wadexu.cloud/" {
		t.Errorf("redirected to %q", to)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "certs/ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	secure(t, c, ip, ca, "dev.wadexu.cloud", 200)
	secure(t, c, ip, ca, "test.wadexu.cloud", 404)
	// min_tls_version is v1.2.
	_, err = tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", ip+":443", &tls.Config{
		ServerName: "dev.wadexu.cloud", InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	})
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("of TLS 1.1: %v", err)
	}

	c.Apply(t, private)
	other := address(t, c, "weir-system", "emissary-ambassador-private")
	c.Until(t, "a client that is not in the list to be refused", func(ctx context.Context) error {
		a, err := ask(ctx, "GET", "http://"+other+"/", "")
		switch {
		case err == nil:
			return fmt.Errorf("got %v", a)
		case strings.Contains(err.Error(), "refused") || os.IsTimeout(err):
			return err // Nobody listens yet.
		}
		return nil
	})
	c.Apply(t, strings.Replace(private, "99.99.0.0/16", "10.0.0.0/8", 1))
	if a := allowed(t, c, other); answered(a) != "my-nginx" {
		t.Errorf("the private install answers %v", a)
	}

	// The second mistake: there is no Listener. The proxies go with the last.
	c.Delete(t, "{apiVersion: getambassador.io/v3alpha1, kind: Listener, metadata: {name: http-listener, namespace: emissary-private}}")
	told(t, c, "{apiVersion: getambassador.io/v3alpha1, kind: Mapping, metadata: {name: my-nginx-private, namespace: emissary-private}}",
		"state:Inactive", "there is no Listener of install ambassador-private")
	c.Until(t, "the proxies of the private install to be gone", func(ctx context.Context) error {
		if _, err := c.Cluster.Get(ctx, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: emissary-ambassador-private, namespace: weir-system}}"); err == nil {
			return errors.New("they are there")
		}
		return nil
	})
	secure(t, c, ip, ca, "dev.wadexu.cloud", 200)
}

// allowed waits until the private install lets the test in.
func allowed(t *testing.T, c kubetest.Cluster, ip string) (a answer) {
	t.Helper()
	c.Until(t, "a client of the list to be answered", func(ctx context.Context) (err error) {
		if a, err = ask(ctx, "GET", "http://"+ip+"/", ""); err == nil && a.status != 200 {
			err = fmt.Errorf("got %v", a)
		}
		return err
	})
	return a
}

// secure asks for a host over TLS, and verifies its certificate.
func secure(t *testing.T, c kubetest.Cluster, ip string, ca []byte, host string, want int) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, ip+":443")
		},
	}}
	c.Until(t, fmt.Sprintf("%d from https://%s", want, host), func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != want || want == 200 && !strings.Contains(string(body), `"name":"my-nginx"`)) {
			err = fmt.Errorf("%s %s", resp.Status, body)
		}
		return err
	})
}
