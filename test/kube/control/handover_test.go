// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"weir.dev/weir/test/kube/kubetest"
)

// asker asks a Gateway again and again, at the address that its status has, each time on a connection of its own; not
// faster than the node has ports to give out.
type asker struct {
	c      kubetest.Cluster
	name   string
	port   string
	asked  int
	failed []string
}

func (k *asker) run(ctx context.Context) {
	h := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		address, err := addressOf(ctx, k.c, k.name)
		if err == nil {
			err = statusOK(ctx, h, "http://"+address+k.port+"/app")
		}
		if ctx.Err() != nil {
			return
		}
		if k.asked++; err != nil {
			k.failed = append(k.failed, fmt.Sprintf("%s %s at %q: %v", time.Now().Format("05.000"), k.name, address, err))
		}
	}
}

func statusOK(ctx context.Context, h *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := h.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %w", resp.Status, err)
	}
	return nil
}

// addressOf is where a Gateway's status says that it is.
func addressOf(ctx context.Context, c kubetest.Cluster, name string) (string, error) {
	o, err := c.Cluster.Get(ctx, fmt.Sprintf("{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: %s, namespace: default}}", name))
	if err != nil {
		return "", err
	}
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "addresses")
	if len(list) != 1 || condition(o, "Programmed") != "True" {
		return "", fmt.Errorf("its status is %v", o.Object["status"])
	}
	address, _, _ := unstructured.NestedString(list[0].(map[string]any), "value")
	return address, nil
}

// TestMergedTurnedOnAndOff has the Gateways of a class begin to share proxies, and end to, while they are asked: no request is
// lost, and what they had before goes.
func TestMergedTurnedOnAndOff(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	c.Apply(t, objects[strings.LastIndex(objects, "apiVersion: v1\n"):])
	c.Running(t, "default", "app")
	share := func(on bool) {
		t.Helper()
		c.Apply(t, strings.Replace(sharedClass, "mergeGateways: true", fmt.Sprintf("mergeGateways: %v", on), 1))
	}
	share(false)
	c.Apply(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec: {gatewayClassName: shared, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: other, namespace: default}
spec: {gatewayClassName: shared, listeners: [{name: http, port: 81, protocol: HTTP}]}
`)
	addresses := func(same bool) {
		t.Helper()
		c.Until(t, fmt.Sprintf("both Gateways to be programmed, at one address: %v", same), func(ctx context.Context) error {
			a, err1 := addressOf(ctx, c, "edge")
			b, err2 := addressOf(ctx, c, "other")
			if err := errors.Join(err1, err2); err != nil || (a == b) != same {
				return fmt.Errorf("they are at %q and %q: %w", a, b, err)
			}
			return nil
		})
	}
	addresses(false)
	clients := []*asker{{c: c, name: "edge"}, {c: c, name: "other", port: ":81"}}
	for _, k := range clients {
		c.Until(t, k.name+" to answer", func(ctx context.Context) error {
			address, err := addressOf(ctx, c, k.name)
			if err != nil {
				return err
			}
			return statusOK(ctx, &http.Client{Timeout: 5 * time.Second}, "http://"+address+k.port+"/app")
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, k := range clients {
		wg.Go(func() { k.run(ctx) })
	}
	share(true)
	addresses(true)
	for _, name := range []string{"edge", "other"} {
		absent(t, c, fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s-shared, namespace: default}}", name))
		absent(t, c, fmt.Sprintf("{apiVersion: apps/v1, kind: Deployment, metadata: {name: %s-shared, namespace: default}}", name))
	}
	share(false)
	addresses(false)
	absent(t, c, "{apiVersion: v1, kind: Service, metadata: {name: class-shared, namespace: weir-system}}")
	absent(t, c, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: class-shared, namespace: weir-system}}")
	stop()
	wg.Wait()
	for _, k := range clients {
		if k.asked < 100 || len(k.failed) > 0 {
			t.Errorf("%s: of %d requests %d are lost: %s", k.name, k.asked, len(k.failed), strings.Join(k.failed[:min(len(k.failed), 10)], "\n"))
		}
	}
}
