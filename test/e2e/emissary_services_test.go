// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weir.dev/weir/test/weirtest"
)

// emissaryServices are objects of two installs of Emissary; %[1]s is the port of a
// Listener, %[2]s that of the backend, %[3]s that of the AuthService, %[4]s that of the
// LogService, and %[5]s and %[6]s are those of the other's Listener and AuthService.
const emissaryServices = `
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: http}
spec: {port: %[1]s, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: all}
spec: {hostname: "*", requestPolicy: {insecure: {action: Route}}}
---
apiVersion: getambassador.io/v3alpha1
kind: AuthService
metadata: {name: judge}
spec:
  auth_service: 127.0.0.1:%[3]s
  proto: http
  path_prefix: /judge
  timeout_ms: 20000
  allowed_request_headers: [x-token]
  allowed_authorization_headers: [x-user]
  add_auth_headers: {x-from: weir}
  include_body: {max_bytes: 8, allow_partial: true}
  status_on_error: {code: 503}
---
apiVersion: getambassador.io/v3alpha1
kind: LogService
metadata: {name: logs}
spec:
  service: 127.0.0.1:%[4]s
  driver: http
  driver_config: {additional_log_headers: [{header_name: x-token, during_response: false, during_trailer: false}]}
  flush_interval_byte_size: 1
  grpc: true
  protocol_version: v3
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: shop}
spec: {hostname: "*", prefix: /shop/, rewrite: "", service: "127.0.0.1:%[2]s"}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: open}
spec: {hostname: "*", prefix: /open/, rewrite: "", service: "127.0.0.1:%[2]s", bypass_auth: true}
---
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: other}
spec: {port: %[5]s, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}, ambassador_id: [other]}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: other}
spec: {hostname: "*", requestPolicy: {insecure: {action: Route}}, ambassador_id: [other]}
---
apiVersion: getambassador.io/v3alpha1
kind: AuthService
metadata: {name: other}
spec: {auth_service: "127.0.0.1:%[6]s", proto: grpc, protocol_version: v3, timeout_ms: 20000, include_body: {max_bytes: 100, allow_partial: false}, ambassador_id: [other]}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: other}
spec: {hostname: "*", prefix: /, rewrite: "", service: "127.0.0.1:%[2]s", auth_context_extensions: {kind: shop}, ambassador_id: [other]}
`

// callee is an AuthService of gRPC, which lets in whoever says please to a shop.
type callee struct {
	authv3.UnimplementedAuthorizationServer
}

func (callee) Check(_ context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if a := q.GetAttributes(); a.GetContextExtensions()["kind"] != "shop" || a.GetRequest().GetHttp().GetBody() != "please" {
		return &authv3.CheckResponse{Status: status.New(codes.PermissionDenied, "").Proto()}, nil
	}
	user := &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "x-user", Value: "caller"}}
	return &authv3.CheckResponse{
		Status:       status.New(codes.OK, "").Proto(),
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{user}}},
	}, nil
}

// TestEmissaryServices asks an AuthService about requests, and tells a LogService of them.
func TestEmissaryServices(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "served %s to %q", r.URL.Path, r.Header.Get("x-user"))
	}))
	t.Cleanup(shop.Close)
	judge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.HasPrefix(r.URL.Path, "/judge/shop/") || r.Header.Get("x-from") != "weir" || r.Header.Get("x-secret") != "":
			w.WriteHeader(http.StatusTeapot) // Not what it is to be told.
		case r.Header.Get("x-token") == "good":
			w.Header().Set("x-user", "me")
		default:
			w.Header().Set("www-authenticate", "Token")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, "who are you?")
		}
	}))
	t.Cleanup(judge.Close)
	logs := serveLogs(t)
	port := func(s *httptest.Server) string { return s.URL[strings.LastIndex(s.URL, ":")+1:] }
	f := folder(t, "8080", "8081")
	file := filepath.Join(f.Path, "objects.yaml")
	called := serveGRPC(t, func(g *grpc.Server) { authv3.RegisterAuthorizationServer(g, callee{}) })
	objects := fmt.Appendf(nil, emissaryServices, f.Ports["8080"], port(shop), port(judge), logs.port, f.Ports["8081"], called)
	if err := os.WriteFile(file, objects, 0o600); err != nil {
		t.Fatal(err)
	}
	p := weirtest.Start(t, f.Run("--drain-strategy", "immediate")...)
	p.WaitFor("Ready.")
	until(t, f, "curl -si --header 'x-token: good' --header 'x-secret: s' http://127.0.0.1:8080/shop/a", `served /shop/a to "me"`)
	until(t, f, "curl -si --header 'x-token: good' -d 'more than eight' http://127.0.0.1:8080/shop/b", `served /shop/b to "me"`)
	for _, want := range []string{"401 Unauthorized", "www-authenticate: Token", "who are you?"} {
		until(t, f, "curl -si http://127.0.0.1:8080/shop/a", want)
	}
	until(t, f, "curl -si http://127.0.0.1:8080/open/a", `served /open/a to ""`)

	x := logs.find(t, "/shop/a", 200)
	if x.log != "logs" || x.GetRequest().GetRequestHeaders()["x-token"] != "good" {
		t.Errorf("the LogService was told of %q: %v", x.log, x)
	}
	judge.Close()
	until(t, f, "curl -si --header 'x-token: good' http://127.0.0.1:8080/shop/a", "503 Service Unavailable")
	until(t, f, "curl -si http://127.0.0.1:8080/open/a", "200 OK")

	until(t, f, "curl -si -d please http://127.0.0.1:8081/a", `served /a to "caller"`)
	until(t, f, "curl -si -d now http://127.0.0.1:8081/a", "403 Forbidden")

	// One that is wrong lets nobody in, and says so.
	f.Edit(t, "objects.yaml", "proto: http", "proto: carrier")
	p.WaitFor(`spec.proto: "carrier" is not one of http and grpc: so that nobody is let in unasked`)
	until(t, f, "curl -si --header 'x-token: good' http://127.0.0.1:8080/shop/a", "500 Internal Server Error")
	until(t, f, "curl -si http://127.0.0.1:8080/open/a", "200 OK")
}
