// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"weir.dev/weir/test/kube/kubetest"
)

// refused runs Weir with a kubeconfig until it ends by itself, and returns its last line.
func refused(t *testing.T, c kubetest.Cluster, name, kubeconfig string) string {
	t.Helper()
	p := c.Run(t, name, kubetest.Programs()["weir"], "run", "--kubeconfig", kubeconfig, "--admin", "")
	select {
	case <-p.Ended():
	case <-time.After(2 * time.Minute):
		t.Fatalf("it has not ended:\n%s", p.Output())
	}
	lines := strings.Split(strings.TrimSpace(p.Output()), "\n")
	return lines[len(lines)-1]
}

// another returns a kubeconfig that is changed.
func another(t *testing.T, c kubetest.Cluster, change func(*clientcmdapi.AuthInfo)) string {
	t.Helper()
	cfg, err := clientcmd.LoadFromFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range cfg.AuthInfos {
		change(user)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWithoutDefinitions has Weir meet a cluster without the Gateway API, and one that does not know it.
func TestWithoutDefinitions(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{})
	line := refused(t, c, "undefined", c.Kubeconfig())
	if !strings.Contains(line, "has no kind GatewayClass.gateway.networking.k8s.io: install the Gateway API's CRDs, https://") {
		t.Errorf("without definitions: %s", line)
	}
	line = refused(t, c, "unknown", another(t, c, func(u *clientcmdapi.AuthInfo) {
		*u = clientcmdapi.AuthInfo{Token: "wrong"}
	}))
	if !strings.Contains(line, "does not know who asks: the credentials of the kubeconfig are wrong or too old") {
		t.Errorf("with a wrong token: %s", line)
	}
}

// TestStandardChannel has Weir meet a cluster that has the standard kinds alone: it serves them, and says once which it
// lacks; and without rights, it says which it needs.
func TestStandardChannel(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "standard"})
	line := refused(t, c, "forbidden", another(t, c, func(u *clientcmdapi.AuthInfo) { u.Impersonate = "nobody" }))
	if !strings.Contains(line, "forbids it: give the account the rights of deploy/rbac.yaml: ") {
		t.Errorf("without rights: %s", line)
	}
	c.Apply(t, objects)
	c.Running(t, "default", "app")
	p := c.Run(t, "weir", kubetest.Programs()["weir"], "run", "--kubeconfig", c.Kubeconfig(), "--addresses", "10.246.9.0/24", "--admin", "")
	address := ""
	c.Until(t, "the Gateway to be programmed", func(context.Context) error {
		o := c.Get(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: default}}`)
		list, _, _ := unstructured.NestedSlice(o.Object, "status", "addresses")
		if len(list) != 1 || condition(o, "Programmed") != "True" {
			return fmt.Errorf("its status is %v", o.Object["status"])
		}
		address, _, _ = unstructured.NestedString(list[0].(map[string]any), "value")
		if address == "" {
			return errors.New("no address")
		}
		return nil
	})
	answers(t, c, "http://"+address+"/app", 200)
	told := 0
	for line := range strings.Lines(p.Output()) {
		if strings.Contains(line, "[warning]") || strings.Contains(line, "[error]") {
			t.Errorf("it is told: %s", line)
		}
		if strings.Contains(line, "the cluster has no such kinds") {
			told++
			if !strings.Contains(line, "Backend.weir.dev") || strings.Contains(line, "HTTPRoute.") {
				t.Errorf("absent: %s", line)
			}
		}
	}
	if told != 1 {
		t.Errorf("that kinds are absent is told %d times:\n%s", told, p.Output())
	}
}
