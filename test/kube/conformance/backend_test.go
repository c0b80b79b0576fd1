// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"

	"weir.dev/weir/test/kube/kubetest"
)

// TestBackends runs the backends of the suite without a gateway: those of HTTP, TCP and UDP answer at their Services.
func TestBackends(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	manifests, err := conformance.Manifests.ReadFile("base/manifests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, strings.ReplaceAll(string(manifests), "{GATEWAY_CLASS_NAME}", "none"))
	for _, name := range []string{"infra-backend-v1", "coredns"} {
		c.Running(t, suite.InfrastructureNamespace, name)
	}
	// The suite makes the Secret of this one later.
	c.Until(t, "a pod to say which Secret it waits for", func(ctx context.Context) error {
		pods, err := c.Pods(ctx, suite.InfrastructureNamespace, "app=tls-backend")
		if err != nil || len(pods) == 0 || !strings.Contains(pods[0].Status.Message, `secret "tls-checks-certificate" not found`) {
			return fmt.Errorf("pods are %v, %w", pods, err)
		}
		return nil
	})
	at := func(service string) string {
		s := c.Get(t, fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: %s}}", service, suite.InfrastructureNamespace))
		return s.Object["spec"].(map[string]any)["clusterIP"].(string)
	}
	c.Until(t, "the backend of HTTP", func(context.Context) error {
		answer, err := http.Get("http://" + at("infra-backend-v1") + ":8080/path")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err == nil && !strings.Contains(string(text), `"path": "/path"`) {
			err = fmt.Errorf("it says %s", text)
		}
		return err
	})
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "udp", at("coredns")+":53")
	}}
	c.Until(t, "the backend of UDP", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		// It tells who asks in its additional section, and so has no address to give.
		_, err := resolver.LookupHost(ctx, "foo.bar.com.")
		if e, ok := err.(*net.DNSError); !ok || !e.IsNotFound {
			return fmt.Errorf("it says %v", err)
		}
		return nil
	})
}
