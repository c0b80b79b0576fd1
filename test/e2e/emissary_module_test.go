// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/tls/tlstest"
)

// emissaryModule are objects of an install of Emissary whose Module has responses compressed
// and requests logged, and whose Host verifies clients. %[1]s is the port of its Listener,
// %[2]s that of the backend and %[3]s the log; %[4]s and %[5]s are the certificate and the
// key, %[6]s is the authority of clients and %[7]s its list of revoked certificates.
const emissaryModule = `
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: {name: server}
data: {tls.crt: %[4]s, tls.key: %[5]s}
---
apiVersion: v1
kind: Secret
metadata: {name: clients}
data: {tls.crt: %[6]s}
---
apiVersion: v1
kind: Secret
metadata: {name: revoked}
data: {crl.pem: %[7]s}
---
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: https}
spec: {port: %[1]s, protocol: HTTPS, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: shop}
spec: {hostname: shop.example, tlsSecret: {name: server}, tls: {ca_secret: clients, crl_secret: revoked, cert_required: true}}
---
apiVersion: getambassador.io/v3alpha1
kind: Module
metadata: {name: ambassador}
spec:
  config:
    envoy_log_path: %[3]s
    envoy_log_type: json
    envoy_log_format: {path: "%%REQ(:PATH)%%", code: "%%RESPONSE_CODE%%"}
    gzip: {min_content_length: 32, content_type: [text/plain], compression_level: BEST}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: shop}
spec: {hostname: shop.example, prefix: /, service: "127.0.0.1:%[2]s"}
`

// TestEmissaryModule compresses, logs, and refuses a client whose certificate is revoked.
func TestEmissaryModule(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "text/plain")
		fmt.Fprint(w, strings.Repeat("long ", len(r.URL.Path)*10))
	}))
	t.Cleanup(shop.Close)
	ca := tlstest.NewCA(t, "ca")
	server := ca.Issue(t, tlstest.Leaf{DNS: []string{"shop.example"}})
	good, bad := ca.Issue(t, tlstest.Leaf{DNS: []string{"good.example"}}), ca.Issue(t, tlstest.Leaf{DNS: []string{"bad.example"}})
	f := folder(t, "8443")
	log := filepath.Join(t.TempDir(), "access.log")
	secret := func(pem string) string { return base64.StdEncoding.EncodeToString([]byte(pem)) }
	objects := fmt.Appendf(nil, emissaryModule, f.Ports["8443"], shop.URL[strings.LastIndex(shop.URL, ":")+1:], log,
		secret(server.CertPEM), secret(server.KeyPEM), secret(ca.CertPEM), secret(ca.Revoke(t, bad)))
	p := serveObjects(t, f, objects)

	get := func(pair *tlstest.Pair) (*http.Response, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "shop.example", Certificates: []tls.Certificate{pair.TLS()}}}
		t.Cleanup(transport.CloseIdleConnections)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1:"+f.Ports["8443"]+"/a", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "shop.example"
		r.Header.Set("accept-encoding", "gzip")
		res, err := transport.RoundTrip(r)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		return res, err
	}
	res, err := get(good)
	if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("content-encoding") != "gzip" {
		t.Fatalf("%v %v", res, err)
	}
	if res, err := get(bad); err == nil {
		t.Errorf("with a revoked certificate: %s", res.Status)
	}
	p.Signal(os.Interrupt)
	p.Wait(30 * time.Second)
	text, err := os.ReadFile(log)
	var record map[string]any
	if err == nil {
		line, _, _ := strings.Cut(string(text), "\n")
		err = json.Unmarshal([]byte(line), &record)
	}
	if err != nil || record["path"] != "/a" || record["code"] != "200" {
		t.Errorf("the log is %q: %v", text, err)
	}
}
