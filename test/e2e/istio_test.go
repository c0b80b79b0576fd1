// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// TestIstio serves the objects of examples/seeds/001-istio-fn and replays what its document shows: answers of both
// versions, all of v1, all of v2, and half of each. Requests come all the while, and none fails.
func TestIstio(t *testing.T) {
	f := weirtest.Example(t, moduleRoot, "examples/seeds/001-istio-fn")
	rule := filepath.Join(f.Path, "v1-rule.yaml")
	write := func(one, two int) {
		t.Helper()
		text := fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: hello-app-rule}\nspec:\n"+
			"  destination: {name: hello-app-service}\n  precedence: 1\n  route:\n"+
			"    - {labels: {version: v1}, weight: %d}\n    - {labels: {version: v2}, weight: %d}\n", one, two)
		if err := os.WriteFile(rule, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(rule)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(rule); err != nil {
		t.Fatal(err)
	}
	p := weirtest.Start(t, f.Run("--drain-strategy", "immediate")...)
	p.WaitFor("Ready.")
	const line = "curl -s http://127.0.0.1:8082/"
	s := &split{t: t, f: f, line: line}
	s.until("v1", "v2") // Without a rule, any Pod of the Service.

	// What comes all the while gets an answer.
	var wg sync.WaitGroup
	var failed atomic.Int64
	stop := make(chan bool)
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := curl(t, f, line); !strings.Contains(got, `"name":"v`) {
					failed.Add(1)
				}
			}
		})
	}
	if err := os.WriteFile(rule, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	s.until("v1")
	write(0, 100)
	s.until("v2")
	write(50, 50)
	s.until("v1", "v2")
	write(100, 0)
	s.until("v1")
	close(stop)
	wg.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d requests failed", n)
	}

	write(100, 10)
	p.WaitFor("the weights sum to 110, and must sum to 100")
	p.Signal(syscall.SIGTERM)
	if status := p.Wait(30 * time.Second); status != 0 {
		t.Errorf("weir ended with %d:\n%s", status, p.Output())
	}
}

// split asks which versions answer.
type split struct {
	t    *testing.T
	f    weirtest.Folder
	line string
}

// until asks until exactly these answer.
func (s *split) until(want ...string) {
	s.t.Helper()
	seen := map[string]int{}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		clear(seen)
		for range 12 {
			got := curl(s.t, s.f, s.line)
			for _, v := range []string{"v1", "v2"} {
				if strings.Contains(got, `"name":"`+v+`"`) {
					seen[v]++
				}
			}
		}
		all := len(seen) == len(want)
		for _, w := range want {
			all = all && seen[w] > 0
		}
		if all {
			return
		}
	}
	s.t.Fatalf("answered by %v, want %v", seen, want)
}
