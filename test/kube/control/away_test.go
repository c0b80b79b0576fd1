// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"testing"

	"weir.dev/weir/test/kube/kubetest"
)

// TestAPIServerGoesAway has an apiserver go away and come back while clients ask, once with proxies that a control plane
// has provisioned, and once with one process that is both: no request fails, and what changes afterwards is taken up.
func TestAPIServerGoesAway(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	c.Apply(t, objects)
	c.Running(t, "weir-system", "weir-control")
	c.Running(t, "default", "app")
	t.Run("weir control", func(t *testing.T) { goesAway(t, c, programmed(t, c)) })

	c.Delete(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: default}}`)
	absent(t, c, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: edge-weir, namespace: default}}`)
	scale(t, c, 0)
	c.Apply(t, objects)
	t.Run("weir run", func(t *testing.T) {
		c.Run(t, "weir", kubetest.Programs()["weir"], "run", "--kubeconfig", c.Kubeconfig(), "--addresses", "10.246.9.0/24", "--admin", "")
		goesAway(t, c, programmed(t, c))
	})
}

// goesAway takes the apiserver away from what serves at an address.
func goesAway(t *testing.T, c kubetest.Cluster, address string) {
	t.Helper()
	const service = `
apiVersion: v1
kind: Service
metadata: {name: none, namespace: default}
spec: {selector: {app: app}, ports: [{port: 80, targetPort: 3000}]}
`
	url := "http://" + address
	answers(t, c, url+"/app", 200)
	answers(t, c, url+"/none", 500)
	l := begin(t, url+"/app")
	err := c.RestartAPIServer(t.Context(), func() {
		before := l.total()
		c.Until(t, "clients to have asked while it is away", func(context.Context) error {
			if n := l.total() - before; n < 500 {
				return fmt.Errorf("%d requests", n)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, service)
	answers(t, c, url+"/none", 200)
	c.Delete(t, service)
	answers(t, c, url+"/none", 500)
	l.end(t)
}
