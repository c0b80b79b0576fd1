// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/brief"
)

func TestMain(m *testing.M) { leak.Main(m) }

// fakeProxy takes snapshots.
type fakeProxy struct{ applied chan string }

func (p *fakeProxy) Apply(s *xds.Snapshot) []xds.Problem {
	p.applied <- brief.Snapshot(s)
	return nil
}

func (p *fakeProxy) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

const objects = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: late}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
`

func start(t *testing.T, text string) (*Gateway, *fakeProxy, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p := &fakeProxy{applied: make(chan string, 100)}
	g, err := Start(Options{Paths: []string{path}, Proxy: p, Log: slog.New(slog.DiscardHandler)})
	return g, p, path, err
}

func TestFilesAreServedAndWatched(t *testing.T) {
	g, p, path, err := start(t, objects)
	if err != nil {
		t.Fatal(err)
	}
	const want = "listener default/edge/8080 tcp 0.0.0.0:8080\n"
	got := <-p.applied
	if !strings.HasPrefix(got, want) || strings.Contains(got, "listener default/late") {
		t.Errorf("served:\n%s", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(objects, "8080", "8081")), 0o644); err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(30 * time.Second); !strings.HasPrefix(got, "listener default/edge/8081 "); {
		select {
		case got = <-p.applied:
		case <-deadline:
			t.Fatalf("the change is not served; last was\n%s", got)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStartRefuses(t *testing.T) {
	if _, _, _, err := start(t, strings.ReplaceAll(objects, "weir.dev/gateway-controller", "others.example/controller")); err == nil || !strings.Contains(err.Error(), "there is no Gateway to serve") {
		t.Errorf("without a Gateway of ours: %v", err)
	}
	if _, _, _, err := start(t, objects+"---\napiVersion: v1\nkind: Volume\nmetadata: {name: x}\n"); err == nil || !strings.Contains(err.Error(), "objects.yaml:18: kind: kind Volume is not known") {
		t.Errorf("with a kind that is not known: %v", err)
	}
}
