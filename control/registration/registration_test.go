// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/control/source"
	"weir.dev/weir/control/source/file"
)

const objects = `
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  ports:
  - {name: web, port: 80, targetPort: 8080}
  - {name: admin, port: 81, targetPort: 8081}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: admin, port: 8081}, {name: web, port: 8080}]
endpoints:
- {addresses: [10.0.0.2], conditions: {ready: true}, zone: b}
- {addresses: [10.0.0.10], zone: a}
- {addresses: [10.0.0.3], conditions: {ready: false}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-2, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: web, port: 8080}]
endpoints: [{addresses: [10.0.0.2], conditions: {ready: true}, zone: b}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-3, labels: {kubernetes.io/service-name: shop}}
addressType: IPv6
ports: [{name: web, port: 8080}]
endpoints: [{addresses: ["fd00::2"]}]
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: other}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: empty-1, namespace: other, labels: {kubernetes.io/service-name: empty}}
addressType: IPv4
ports: []
endpoints: []
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: six-1, namespace: other, labels: {kubernetes.io/service-name: six}}
addressType: IPv6
ports: [{port: 53}]
endpoints: [{addresses: ["fd00::1"]}]
`

func view(t *testing.T, text string) *source.View {
	t.Helper()
	path := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := file.New()
	if err != nil {
		t.Fatal(err)
	}
	changes, problems, err := file.NewSource(r, nil, path).Poll()
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	v, _ := source.NewView().Apply(changes)
	return v
}

func TestRegistration(t *testing.T) {
	const (
		none = `{"hosts":[]}`
		web  = `{"hosts":[{"ip_address":"10.0.0.2","port":8080,"tags":{"az":"b"}},{"ip_address":"10.0.0.10","port":8080,"tags":{"az":"a"}}]}`
	)
	s := &Server{}
	ask := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	if status, body := ask("GET", "/v1/registration/shop.default"); status != 503 {
		t.Errorf("before there is anything: %d %s", status, body)
	}
	s.Set(view(t, objects))
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "shop.default.svc.cluster.local", 200, web},
		{"GET", "shop.default.svc", 200, web},
		{"GET", "shop.default", 200, web},
		{"GET", "shop.default:web", 200, web},
		{"GET", "shop.default:80", 200, web},
		{"GET", "shop.default.svc.cluster.local:admin", 200, `{"hosts":[{"ip_address":"10.0.0.2","port":8081,"tags":{"az":"b"}},{"ip_address":"10.0.0.10","port":8081,"tags":{"az":"a"}}]}`},
		{"GET", "shop.default:nothing", 200, none},
		{"GET", "empty.other.svc.cluster.local", 200, none},
		{"GET", "six.other", 200, `{"hosts":[{"ip_address":"fd00::1","port":53,"tags":{}}]}`},
		{"GET", "nobody.default.svc.cluster.local", 200, none},
		{"GET", "shop", 400, `"shop" is not the name of a service: write name.namespace.svc.cluster.local`},
		{"GET", "shop.default.pod.cluster.local", 400, `"shop.default.pod.cluster.local" is not the name of a service: write name.namespace.svc.cluster.local`},
		{"GET", "shop.default:", 400, `"shop.default:" is not the name of a service: write name.namespace.svc.cluster.local`},
		{"GET", "", 400, `"" is not the name of a service: write name.namespace.svc.cluster.local`},
		{"POST", "shop.default", 405, "ask by GET"},
	} {
		if status, body := ask(tt.method, Path+tt.path); status != tt.status || body != tt.body {
			t.Errorf("%s %s: %d %s\nwant %d %s", tt.method, tt.path, status, body, tt.status, tt.body)
		}
	}
	if status, _ := ask("GET", "/v1/clusters/a/b"); status != 404 {
		t.Errorf("another path: %d", status)
	}
	s.Set(view(t, strings.ReplaceAll(objects, "10.0.0.10", "10.0.0.11")))
	if _, body := ask("GET", Path+"shop.default"); !strings.Contains(body, "10.0.0.11") {
		t.Errorf("after a change: %s", body)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("shop.default.svc.cluster.local:web")
	f.Fuzz(func(t *testing.T, text string) {
		if name, _, ok := parse(text); ok && (name.Name == "" || name.Namespace == "") {
			t.Errorf("%q is %v", text, name)
		}
	})
}
