// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/test/weirtest"
)

// retries are Services with one endpoint, %[2]s, and a retry budget each; %[1]s is the gateway's port.
const retries = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, addresses: [{value: 127.0.0.1}], listeners: [{name: http, port: %[1]s, protocol: HTTP}]}
`

const budgeted = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /NAME}}]
    backendRefs: [{name: NAME, port: 80}]
    retry: {attempts: 1, codes: [503], backoff: 1ms}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME-1, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
ports: [{port: %[2]s}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: NAME}
spec: {targetRefs: [{group: "", kind: Service, name: NAME}], retryConstraint: CONSTRAINT}
`

// failing is a backend: of all requests that are answered 503 at first, the second tries wait.
type failing struct {
	mu      sync.Mutex
	tried   map[string]int
	waiting int
	first   *sync.WaitGroup // all first tries are there
	again   chan struct{}   // closed to answer second tries
	changed chan struct{}
}

func (b *failing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Id")
	if id == "" {
		return
	}
	b.mu.Lock()
	b.tried[id]++
	second, again := b.tried[id] == 2, b.again
	if second {
		b.waiting++
	}
	b.mu.Unlock()
	if second {
		b.changed <- struct{}{}
		<-again
		return
	}
	b.first.Done()
	b.first.Wait()
	w.WriteHeader(http.StatusServiceUnavailable)
}

// TestRetryBudget has eight requests fail at once, each of which may be tried again once: no more of them are at a time
// than the policy's budget has for what has been asked lately, and its least rate.
func TestRetryBudget(t *testing.T) {
	const n = 8
	b := &failing{}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	port, text := weirtest.FreePort(t), retries
	cases := []struct {
		name, constraint string
		before           int // requests that are well, before
		want             int
	}{
		{"least", "{budget: {percent: 0}, minRetryRate: {count: 3, interval: 1s}}", 0, 3},
		{"slow", "{budget: {percent: 0}, minRetryRate: {count: 120, interval: 1m}}", 0, 2},
		{"seldom", "{budget: {percent: 0}, minRetryRate: {count: 1, interval: 1h}}", 0, 1},
		{"share", "{budget: {percent: 10, interval: 1h}, minRetryRate: {count: 1, interval: 1s}}", 32, 4},
		{"none", "{budget: {percent: 10, interval: 1h}, minRetryRate: {count: 1, interval: 1s}}", 0, 1},
		{"enough", "{budget: {percent: 100, interval: 1h}}", 0, n},
	}
	for _, tt := range cases {
		text += strings.NewReplacer("NAME", tt.name, "CONSTRAINT", tt.constraint).Replace(budgeted)
	}
	path := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, text, port, s.URL[strings.LastIndexByte(s.URL, ':')+1:]), 0o600); err != nil {
		t.Fatal(err)
	}
	weirtest.Start(t, "run", path, "--drain-strategy", "immediate").WaitFor("Ready.")
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			b.tried, b.waiting, b.again, b.changed, b.first = map[string]int{}, 0, make(chan struct{}), make(chan struct{}, n), &sync.WaitGroup{}
			b.first.Add(n)
			url := "http://127.0.0.1:" + port + "/" + tt.name
			for range tt.before {
				if got := answerOf(t, url, ""); got != http.StatusOK {
					t.Fatalf("it is answered %d", got)
				}
			}
			answers := make(chan int, n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() { answers <- answerOf(t, url, fmt.Sprint(i)) })
			}
			refused := 0
			for range n { // Each is tried again, or has its answer.
				select {
				case <-b.changed:
				case got := <-answers:
					if refused++; got != http.StatusServiceUnavailable {
						t.Errorf("one is answered %d", got)
					}
				}
			}
			close(b.again)
			wg.Wait()
			if n-refused != tt.want || b.waiting != tt.want {
				t.Errorf("%d were tried again and %d refused, want %d tried again", b.waiting, refused, tt.want)
			}
			for range n - refused {
				if got := <-answers; got != http.StatusOK {
					t.Errorf("one that was tried again is answered %d", got)
				}
			}
		})
	}
}

// answerOf asks for a URL and returns the status.
func answerOf(t *testing.T, url, id string) int {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	if id != "" {
		req.Header.Set("X-Id", id)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}
