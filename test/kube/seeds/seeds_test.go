// SPDX-License-Identifier: Apache-2.0

// Package seeds runs on Kubernetes what people have written down of Envoy on Kubernetes: the files of examples/seeds,
// applied as their documents say, in images that are Envoy's by their name and Weir by their program. Requests are the
// documents' own, and so are the answers.
package seeds

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/test/kube/kubelet"
	"weir.dev/weir/test/kube/kubetest"
	"weir.dev/weir/test/kube/program"
)

func TestMain(m *testing.M) {
	kubetest.Main(m, program.Own("flask-app", "./seeds/flask"), program.Own("simple-proxy", "./seeds/simpleproxy"))
}

// Where the services of AWS are: the API of Lambda by its name, the Security Token Service as EKS tells it.
const (
	lambdaAddress = "10.246.20.1"
	tokenAddress  = "10.246.20.2"
)

func TestSeeds(t *testing.T) {
	const envoy = "/usr/local/bin/envoy"
	c := kubetest.Start(t, kubetest.Options{
		Channel: "standard",
		Images: map[string]kubelet.Image{"envoyproxy/envoy": {
			Files: map[string]string{envoy: kubetest.Programs()["weir"]}, Entrypoint: []string{envoy}, Arguments: []string{"-c", "/etc/envoy/envoy.yaml"},
		}},
		Names: map[string]netip.Addr{"lambda.us-east-1.amazonaws.com": netip.MustParseAddr(lambdaAddress)},
	})
	t.Run("lambda", func(t *testing.T) { testLambda(t, c) })
	t.Run("version 1", func(t *testing.T) { testVersion1(t, c) })
}

// configMap does what kubectl create configmap --from-file does.
func configMap(t *testing.T, c kubetest.Cluster, name, file string) {
	t.Helper()
	text, err := os.ReadFile(kubetest.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{filepath.Base(file): string(text)}}
	if _, err := c.Client.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// An answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// ask sends a request on a connection of its own. Where its answer leads is not followed.
func ask(ctx context.Context, method, url, body string, header ...string) (answer, error) {
	client := newClient()
	defer client.CloseIdleConnections()
	return askBy(ctx, client, method, url, body, header...)
}

// askBy sends a request as a client does, once: what a connection that ends loses is lost.
func askBy(ctx context.Context, client *http.Client, method, url, body string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.GetBody = nil
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

// newClient returns a client that keeps its connections until it is told to close them.
func newClient() *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second, Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, // Where an address is nobody's, nobody refuses.
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// until asks until the answer is the one wanted, and returns it.
func until(t *testing.T, c kubetest.Cluster, want, method, url, body string, header ...string) answer {
	t.Helper()
	var last answer
	c.Until(t, want+" from "+url, func(ctx context.Context) error {
		a, err := ask(ctx, method, url, body, header...)
		if last = a; err == nil && a.String() != want {
			err = fmt.Errorf("got %v", a)
		}
		return err
	})
	return last
}
