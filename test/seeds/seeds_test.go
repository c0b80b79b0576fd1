// SPDX-License-Identifier: Apache-2.0

// Package seeds runs configuration as people have written it down for Envoy, of three
// versions of its API, and expects what they say that it does. The files in testdata
// and in examples/seeds have the keys and values of such documents; a test changes
// addresses in them alone, to those of its own servers. On Kubernetes test/kube/seeds
// runs the latter without a change.
package seeds

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

func TestMain(m *testing.M) { leak.Main(m) }

// examples is the folder of the documents whose files are examples, too.
const examples = "../../examples/seeds"

// seed reads a file, of testdata if it is given by its name alone, and replaces each old text, which must be there, by the new one.
func seed(t *testing.T, name string, replace ...string) string {
	t.Helper()
	if filepath.Base(name) == name {
		name = filepath.Join("testdata", name)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%s has no %q", name, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

// hello serves as the service of the documents does, and tells who it is.
func hello(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-from", name)
		_, _ = io.WriteString(w, "Hello, World!")
	}))
	t.Cleanup(s.Close)
	return s
}

func get(p *proxytest.Proxy, host string) *proxytest.Response {
	return p.Do("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
}

func addr(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

// TestVerbatim loads every file as it stands, without a problem.
func TestVerbatim(t *testing.T) {
	var files []string
	for _, pattern := range []string{"testdata/*.*", examples + "/*/envoy.yaml", examples + "/*/*/envoy.json"} {
		some, err := filepath.Glob(pattern)
		if err != nil || len(some) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(some), err)
		}
		files = append(files, some...)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		notes := 0
		_, _, problems := load.Bootstrap(file, data, load.Options{Note: func(xds.Note) { notes++ }})
		if len(problems) > 0 || notes == 0 {
			t.Errorf("%s: %d notes, problems %v", file, notes, problems)
		}
	}
}

// TestConvertedServesTheSame starts the sidecar from what it is converted to.
func TestConvertedServesTheSame(t *testing.T) {
	app := hello(t, "app")
	text := seed(t, examples+"/004-envoy-v1/flask-app-envoy/envoy.json", "tcp://0.0.0.0:80\"", "tcp://127.0.0.1:0\"", "tcp://0.0.0.0:8001", "tcp://127.0.0.1:0", "127.0.0.1:5000", addr(app))
	for _, format := range []load.Format{load.YAML, load.JSON} {
		out, problems := load.Convert("envoy.json", []byte(text), &bootstrapv3.Bootstrap{}, format, load.Options{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		p := proxytest.Start(t, string(out), proxytest.Options{Extensions: all.Extensions()})
		if r := get(p, "foo.com"); r.StatusCode != 200 || r.Content != "Hello, World!" {
			t.Errorf("%s: %v", format, r)
		}
	}
}

// TestSidecar is a proxy in front of one service, configured by the JSON of v1.
func TestSidecar(t *testing.T) {
	app := hello(t, "app")
	p := proxytest.Start(t, seed(t, examples+"/004-envoy-v1/flask-app-envoy/envoy.json",
		"tcp://0.0.0.0:80\"", "tcp://127.0.0.1:0\"", "tcp://0.0.0.0:8001", "tcp://127.0.0.1:0", "127.0.0.1:5000", addr(app),
	), proxytest.Options{Extensions: all.Extensions()})
	if r := get(p, "foo.com"); r.StatusCode != 200 || r.Content != "Hello, World!" {
		t.Errorf("foo.com: %v", r)
	}
	if r := get(p, "bar.com"); r.StatusCode != 404 {
		t.Errorf("bar.com, which has no virtual host: %v", r)
	}
	if n := p.Counter("http.ingress_http.downstream_rq_2xx"); n != 1 {
		t.Errorf("counted %d good requests", n)
	}
}

// registry is a service discovery service as kubernetes-envoy-sds is one: it knows the
// names of services in a cluster, and their hosts.
type registry struct {
	mu    sync.Mutex
	hosts map[string][]string // by service
	asked map[string]int
	came  chan struct{} // gets one for each question, if somebody waits
}

func newRegistry(t *testing.T) (*registry, *httptest.Server) {
	t.Helper()
	r := &registry{hosts: map[string][]string{}, asked: map[string]int{}, came: make(chan struct{})}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return r, s
}

func (r *registry) set(service string, hosts ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts[service] = hosts
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	service, ok := strings.CutPrefix(q.URL.Path, "/v1/registration/")
	switch {
	case q.Method != http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case !ok || !strings.HasSuffix(service, ".svc.cluster.local"):
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	type host struct {
		IP   string `json:"ip_address"`
		Port int    `json:"port"`
	}
	answer := struct {
		Hosts []host `json:"hosts"`
	}{[]host{}}
	r.mu.Lock()
	r.asked[service]++
	for _, a := range r.hosts[service] {
		ip, port, _ := net.SplitHostPort(a)
		h := host{IP: ip}
		_, _ = fmt.Sscan(port, &h.Port)
		answer.Hosts = append(answer.Hosts, h)
	}
	r.mu.Unlock()
	_ = json.NewEncoder(w).Encode(answer)
	select {
	case r.came <- struct{}{}:
	default:
	}
}

// TestEdge is a proxy that finds the hosts of a service by version 1 of discovery, as
// the service grows, shrinks and goes.
func TestEdge(t *testing.T) {
	const service = "flask-app-envoy-service.default.svc.cluster.local"
	var hosts []string
	for i := range 4 {
		hosts = append(hosts, addr(hello(t, fmt.Sprint(i))))
	}
	r, sds := newRegistry(t)
	r.set(service, hosts...)
	p := proxytest.Start(t, seed(t, examples+"/004-envoy-v1/edge-envoy/envoy.json",
		"tcp://0.0.0.0:80\"", "tcp://127.0.0.1:0\"", "tcp://0.0.0.0:8001", "tcp://127.0.0.1:0",
		"tcp://kubernetes-envoy-sds.kube-system:80", "tcp://"+addr(sds), "\"path\": \"/dev/stdout\"", "\"path\": \"{{log}}\"",
		"\"refresh_delay_ms\": 1000", "\"refresh_delay_ms\": 10",
	), proxytest.Options{Extensions: all.Extensions()})
	from := func(n int) map[string]int {
		t.Helper()
		seen := map[string]int{}
		for range n {
			r := get(p, "foo.com")
			if r.StatusCode != 200 || r.Content != "Hello, World!" {
				t.Fatalf("foo.com: %v", r)
			}
			seen[r.Header.Get("x-from")]++
		}
		return seen
	}
	// The proxy is ready when the first answer was there: no request is too early.
	if seen := from(8); len(seen) != 4 {
		t.Errorf("8 requests went to %v", seen)
	}
	gauge := "cluster." + service + ".membership_total"
	r.set(service, hosts[2])
	p.WaitGauge(gauge, 1)
	if seen := from(4); len(seen) != 1 || seen["2"] != 4 {
		t.Errorf("after it shrank, requests went to %v", seen)
	}
	r.set(service)
	p.WaitGauge(gauge, 0)
	if r := get(p, "foo.com"); r.StatusCode != 503 || r.Content != "no healthy upstream" {
		t.Errorf("without hosts: %v", r)
	}
	r.set(service, hosts...)
	p.WaitGauge(gauge, 4)
	// While the service cannot be asked, what it last said holds.
	failed := p.Counter("cluster." + service + ".update_failure")
	sds.Close()
	p.WaitCounterPast("cluster."+service+".update_failure", failed+2)
	if seen := from(8); len(seen) != 4 {
		t.Errorf("without the discovery service, requests went to %v", seen)
	}
	if lines := p.LogLines(21); !strings.Contains(lines[0], "\"GET / HTTP/1.1\" 200 ") || !strings.Contains(lines[12], " 503 UH ") {
		t.Errorf("access log:\n%s", strings.Join(lines, "\n"))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.asked) != 1 {
		t.Errorf("asked for %v", r.asked)
	}
}
