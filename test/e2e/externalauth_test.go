// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// externalAuth are objects whose rules ask services: %[1]s is the port of the Gateway, %[2]s
// that of the backend, %[3]s that of the service of gRPC, %[4]s that of the one of HTTP.
const externalAuth = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, addresses: [{value: 127.0.0.1}], listeners: [{name: http, port: %[1]s, protocol: HTTP}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[2]s}}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: caller}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[3]s}}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: judge}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[4]s}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /grpc}}]
    filters: [{type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {group: weir.dev, kind: Backend, name: caller}, grpc: {}}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
  - matches: [{path: {value: /chosen}}]
    filters: [{type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {group: weir.dev, kind: Backend, name: caller}, grpc: {allowedHeaders: [X-Token, x-other]}, forwardBody: {maxSize: 8}}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
  - matches: [{path: {value: /http}}]
    filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {group: weir.dev, kind: Backend, name: judge}, http: {}}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
  - matches: [{path: {value: /told}}]
    backendRefs:
    - group: weir.dev
      kind: Backend
      name: shop
      filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {group: weir.dev, kind: Backend, name: judge}, http: {path: /check/, allowedHeaders: [X-Token], allowedResponseHeaders: [X-Told]}, forwardBody: {maxSize: 8}}}]
  - matches: [{path: {value: /both}}]
    filters: [{type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {group: weir.dev, kind: Backend, name: caller}, grpc: {allowedHeaders: [x-token]}}}]
    backendRefs:
    - group: weir.dev
      kind: Backend
      name: shop
      filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {group: weir.dev, kind: Backend, name: judge}, http: {path: /both, allowedHeaders: [x-token]}}}]
`

// witness is a service of gRPC that lets in who has the token, and has the backend told of
// what it was told.
type witness struct {
	authv3.UnimplementedAuthorizationServer
}

func (witness) Check(_ context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	r := q.GetAttributes().GetRequest().GetHttp()
	if r.GetHeaders()["x-token"] != "good" {
		return &authv3.CheckResponse{Status: status.New(codes.PermissionDenied, "").Proto()}, nil
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(r.GetHeaders())), func(n string) bool { return n == "x-envoy-auth-partial-body" })
	told := fmt.Sprintf("%s %s%s of %s with %s", r.GetMethod(), r.GetPath(), r.GetRawBody(), r.GetHost(), strings.Join(names, ","))
	return &authv3.CheckResponse{
		Status: status.New(codes.OK, "").Proto(),
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{
			{Header: &corev3.HeaderValue{Key: "x-witness", Value: told}},
		}}},
	}, nil
}

// judge is the same of HTTP. What belongs to its answer it says, too: of that nothing may
// become the backend's.
func judge(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("x-token") != "good" && r.Header.Get("authorization") != "good" {
		w.Header().Set("www-authenticate", "Token")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, "who are you?")
		return
	}
	body, _ := io.ReadAll(r.Body)
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(r.Header)), func(n string) bool {
		// These are of the call itself.
		return strings.HasPrefix(n, "X-Envoy-") || strings.HasPrefix(n, "X-Forwarded-") || n == "X-Request-Id" || n == "Content-Length" || n == "User-Agent"
	})
	w.Header().Set("x-told", fmt.Sprintf("%s %s%s of %s (%d) with %s", r.Method, r.URL.Path, body, r.Host, r.ContentLength, strings.Join(names, ",")))
	w.Header().Set("x-more", "more")
	w.Header().Set("host", "elsewhere.example")
	w.Header().Set("keep-alive", "timeout=5")
	_ = http.NewResponseController(w).Flush() // In chunks.
	fmt.Fprint(w, "welcome")
}

// TestExternalAuth has rules and backends ask a service of gRPC and one of HTTP: each is
// told what the filter says, and the backend what it says to that.
func TestExternalAuth(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s%s of %s%v\nwitness: %s\ntold: %s\nmore: %s\nconnection: %s%s%s", r.URL.Path, body, r.Host, err,
			r.Header.Get("x-witness"), r.Header.Get("x-told"), r.Header.Get("x-more"), r.Header.Get("connection"), r.Header.Get("keep-alive"), r.TransferEncoding)
	}))
	t.Cleanup(shop.Close)
	j := httptest.NewServer(http.HandlerFunc(judge))
	t.Cleanup(j.Close)
	port := func(s *httptest.Server) string { return s.URL[strings.LastIndex(s.URL, ":")+1:] }
	called := serveGRPC(t, func(g *grpc.Server) { authv3.RegisterAuthorizationServer(g, witness{}) })
	f := folder(t, "8080")
	serveObjects(t, f, fmt.Appendf(nil, externalAuth, f.Ports["8080"], port(shop), called, port(j)))
	until(t, f, "curl -s --header 'x-token: good' http://127.0.0.1:8080/grpc", "witness: GET")

	ask := func(path, body string, header map[string]string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.Here("http://127.0.0.1:8080")+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.example"
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d %s\n%s", resp.StatusCode, resp.Header.Get("www-authenticate"), text)
	}
	good := map[string]string{"x-token": "good", "x-secret": "s", "x-other": "o"}
	for _, c := range []struct {
		name, path, body string
		header           map[string]string
		want             []string
	}{
		{"gRPC is told all", "/grpc", "", good, []string{"200 ", "witness: POST /grpc of shop.example with :authority,:method,:path,:scheme,", ",x-other,", ",x-secret,", ",x-token"}},
		{"gRPC says no", "/grpc", "", nil, []string{"403 "}},
		{"gRPC is told the chosen, and the body", "/chosen", "please", good, []string{"200 ", "/chosenplease of shop.example<nil>\n", "witness: POST /chosenplease of shop.example with x-other,x-token\n"}},
		{"a body that is too long", "/chosen", "123456789", good, []string{"413 "}},
		{"HTTP is told what is always told", "/http", "please", map[string]string{"authorization": "good", "x-secret": "s"}, []string{"200 ", "/httpplease of shop.example<nil>", "told: POST /http of shop.example (0) with Authorization\n", "more: more\nconnection: []"}},
		{"HTTP says no", "/http", "", good, []string{"401 Token\nwho are you?"}},
		{"HTTP is told the chosen, and the body, at a path", "/told/x", "please", good, []string{"200 ", "/told/xplease of shop.example<nil>", "told: POST /check/told/xplease of shop.example (6) with X-Token\n", "more: \n"}},
		{"a body that is too long for HTTP", "/told", "123456789", good, []string{"413 "}},
		{"both say yes", "/both", "", good, []string{"200 ", "witness: POST /both of shop.example with x-token\n", "told: POST /both/both of shop.example (0) with X-Token\n"}},
		{"the backend's says yes alone", "/both", "", map[string]string{"authorization": "good"}, []string{"403 "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ask(c.path, c.body, c.header)
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is missing in:\n%s", want, got)
				}
			}
		})
	}
}
