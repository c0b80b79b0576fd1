// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/control"
	"weir.dev/weir/control/local"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/source/file"
	"weir.dev/weir/proxy"
)

// BenchmarkNewRoute adds a route with a host of its own to many, and takes it away: from the object to the proxy that
// serves it. It tells the time of the CPU, which other processes disturb less, and what the heap holds.
func BenchmarkNewRoute(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			o, err := (&proxies{}).options([]document{{"x", []byte("{}")}}, &flags.Proxy{Concurrency: 1}, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			p, err := proxy.New(o)
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			r := local.New(local.Options{Apply: p.Apply, Reached: "127.0.0.1"})
			c := &control.Controller{Queue: &source.Queue{}, Translator: control.NewTranslator(control.Options{}), Runner: r}
			c.Step(many(b, n))
			key := source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "default", Name: "r7"}}
			o7 := c.Translator.View().Get(key).(*gwapiv1.HTTPRoute)
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			before := spent(b)
			for b.Loop() {
				c.Step([]source.Change{{Key: key}})
				c.Step([]source.Change{{Key: key, Object: o7}})
			}
			b.ReportMetric(float64((spent(b)-before).Microseconds())/float64(b.N)/2, "cpu-us/change")
			b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
		})
	}
}

func many(b *testing.B, n int) []source.Change {
	b.Helper()
	t := &strings.Builder{}
	t.WriteString(`
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, addresses: [{value: 127.0.0.1}], listeners: [{name: http, port: 28080, protocol: HTTP}]}
`)
	for i := range n {
		fmt.Fprintf(t, `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r%d}
spec:
  parentRefs: [{name: edge}]
  hostnames: [r%d.example.com]
  rules: [{backendRefs: [{name: s%d, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: s%d}
spec: {ports: [{port: 80}]}
`, i, i, i, i)
	}
	path := filepath.Join(b.TempDir(), "many.yaml")
	if err := os.WriteFile(path, []byte(t.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	reader, err := file.New()
	if err != nil {
		b.Fatal(err)
	}
	changes, problems, err := file.NewSource(reader, nil, path).Poll()
	if err != nil || len(problems) > 0 {
		b.Fatal(problems, err)
	}
	return changes
}

// spent is the time of the CPU that the process has had.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
