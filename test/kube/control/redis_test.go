// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"weir.dev/weir/test/kube/kubetest"
)

// redisAddress is the node's, where the Redis of a test is.
const redisAddress = "10.246.3.1"

// limited lets each client call three times an hour, of which all proxies count.
const limited = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: three, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  rateLimit:
    type: Global
    global: {rules: [{clientSelectors: [{headers: [{name: x-client, type: Distinct}]}], limit: {requests: 3, unit: Hour}}]}
`

// TestRedis has two proxies count in a Redis that wants TLS, a certificate and a password. They have them from a Secret,
// which is nowhere else, is another when the control plane's is, and goes when it is needed no more.
func TestRedis(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed (Debian: redis-server)")
	}
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	a := newAuthority(t)
	serve := redisFiles(t, a)
	redis := c.Run(t, "redis", append(serve, "--requirepass", "open-sesame")...)
	shown, key := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "proxies"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	c.Install(t)
	c.ApplyFiles(t, "deploy/crds/envoy-gateway/*.yaml")
	secret := func(password string) {
		t.Helper()
		c.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: redis, namespace: weir-system}, stringData: {auth: %s, ca.crt: %q, tls.crt: %q, tls.key: %q}}", password, a.text, shown, key))
	}
	arguments(t, c, "--ratelimit-redis=rediss://"+redisAddress+":6379", "--ratelimit-redis-secret=redis")
	c.Apply(t, objects)
	c.Apply(t, gatewayOf(80))
	c.Apply(t, limited)
	c.Running(t, "default", "app")

	// What is missing is told: the Secret, and the right to write another.
	logs := func(want string) {
		t.Helper()
		c.Until(t, "the control plane to say "+want, func(ctx context.Context) error {
			pods, err := c.Pods(ctx, "weir-system", "app.kubernetes.io/name=weir-control")
			if err != nil {
				return err
			}
			all := ""
			for _, p := range pods {
				text, _ := c.Output(ctx, "weir-system", p.Name, "") // One that has just begun has none.
				all += text
			}
			if !strings.Contains(all, want) {
				return errors.New(all[max(0, len(all)-1000):])
			}
			return nil
		})
	}
	logs("there is no Secret weir-system/redis, which has what Redis is shown")
	secret("open-sesame")
	logs("apply secrets default/edge-weir-redis: give the control plane the rights of deploy/redis.yaml: ")
	c.ApplyFiles(t, "deploy/redis.yaml")
	c.Running(t, "default", "edge-weir")
	url := "http://" + programmed(t, c) + "/app"
	counts(t, c, url, "first")

	for _, kind := range []string{"v1, kind: ConfigMap", "apps/v1, kind: Deployment"} {
		text := fmt.Sprint(c.Get(t, fmt.Sprintf("{apiVersion: %s, metadata: {name: edge-weir, namespace: default}}", kind)).Object)
		if strings.Contains(text, "sesame") || strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("it says what is secret: %s", text)
		}
	}

	// Another password.
	redis.Stop()
	c.Run(t, "redis2", append(serve, "--requirepass", "open-barley")...)
	secret("open-barley")
	counts(t, c, url, "second")

	// None any more.
	arguments(t, c)
	absent(t, c, `{apiVersion: v1, kind: Secret, metadata: {name: edge-weir-redis, namespace: default}}`)
}

// redisFiles writes the certificate of a Redis, and returns the command that runs it.
func redisFiles(t *testing.T, a *authority) []string {
	t.Helper()
	dir := t.TempDir()
	cert, key := a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "redis"}, IPAddresses: []net.IP{net.ParseIP(redisAddress)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	for name, text := range map[string]string{"ca.crt": a.text, "tls.crt": cert, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{
		"redis-server", "--bind", redisAddress, "--port", "0", "--tls-port", "6379", "--tls-ca-cert-file", filepath.Join(dir, "ca.crt"), "--tls-cert-file", filepath.Join(dir, "tls.crt"),
		"--tls-key-file", filepath.Join(dir, "tls.key"), "--tls-auth-clients", "yes", "--save", "", "--appendonly", "no", "--dir", dir,
	}
}

// arguments gives the control plane further ones besides those of deploy.
func arguments(t *testing.T, c kubetest.Cluster, more ...string) {
	t.Helper()
	list := append([]string{"control", "--listen=:18000", "--health=:18001", "--provision", "--proxy-image=weir"}, more...)
	patch := fmt.Appendf(nil, `[{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": ["%s"]}]`, strings.Join(list, `","`))
	if _, err := c.Client.AppsV1().Deployments("weir-system").Patch(t.Context(), "weir-control", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// counts has a client, each time another one, ask until it may three times and no more: proxies that cannot count let all
// pass.
func counts(t *testing.T, c kubetest.Cluster, url, client string) {
	t.Helper()
	try := 0
	c.Until(t, "three calls to pass, and no fourth", func(ctx context.Context) error {
		try++
		got := ""
		for range 8 {
			got += fmt.Sprint(ask(ctx, url, "x-client", fmt.Sprint(client, try))/100, " ")
		}
		if got != "2 2 2 4 4 4 4 4 " {
			return errors.New(got)
		}
		return nil
	})
}

// ask asks once, on a connection of its own, and returns the status; 0 is no answer.
func ask(ctx context.Context, url string, header ...string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	req.Close = true
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}
