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
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"

	"weir.dev/weir/test/weirtest"
)

// crier is a processor that turns what is said into capitals, and refuses who whispers.
type crier struct {
	extprocv3.UnimplementedExternalProcessorServer
}

// Process implements the service.
func (crier) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	for {
		q, err := s.Recv()
		if err != nil {
			return nil // The proxy has no more to say.
		}
		if err := s.Send(cry(q)); err != nil {
			return err
		}
	}
}

func cry(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	shout := func(b *extprocv3.HttpBody) *extprocv3.BodyResponse {
		return &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{
			Mutation: &extprocv3.BodyMutation_Body{Body: []byte(strings.ToUpper(string(b.GetBody())))},
		}}}
	}
	mark := func(name string) *extprocv3.HeadersResponse {
		return &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
			{Header: &corev3.HeaderValue{Key: name, RawValue: []byte("crier")}},
		}}}}
	}
	switch r := q.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		for _, h := range r.RequestHeaders.GetHeaders().GetHeaders() {
			if h.GetKey() == "x-voice" && string(h.GetRawValue()) == "low" {
				return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
					Status: &typev3.HttpStatus{Code: typev3.StatusCode_NotAcceptable}, Body: []byte("Speak up."),
				}}}
			}
		}
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: mark("x-seen")}}
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: mark("x-back")}}
	case *extprocv3.ProcessingRequest_RequestBody:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: shout(r.RequestBody)}}
	case *extprocv3.ProcessingRequest_ResponseBody:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: shout(r.ResponseBody)}}
	}
	return &extprocv3.ProcessingResponse{}
}

// cryAt serves the processor and returns its port.
func cryAt(t *testing.T) string {
	t.Helper()
	return serveGRPC(t, func(g *grpc.Server) { extprocv3.RegisterExternalProcessorServer(g, crier{}) })
}

// hearer is a backend that says what it heard.
func hearer(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "heard %s, seen by %s.", b, r.Header.Get("x-seen"))
	}))
	t.Cleanup(s.Close)
	return port(strings.TrimPrefix(s.URL, "http://"))
}

// processed are objects whose requests pass a processor: %[1]s is the port of the Gateway,
// %[2]s that of the backend, %[3]s that of the processor.
const processed = `
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
metadata: {name: crier}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[3]s}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - {name: loud, matches: [{path: {value: /loud}}], backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}
  - {name: lua, matches: [{path: {value: /lua}}], backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}
  - {name: plain, backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: loud}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: loud}]
  extProc:
  - backendRefs: [{group: weir.dev, kind: Backend, name: crier}]
    messageTimeout: 10s
    processingMode: {request: {body: Streamed}, response: {}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: lua}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: lua}]
  lua: [{type: Inline, inline: "x = 1"}]
`

// TestExtensionPolicy has requests of one rule pass a processor, and refuses those of one
// whose policy cannot be done.
func TestExtensionPolicy(t *testing.T) {
	f := folder(t, "8080")
	serveObjects(t, f, fmt.Appendf(nil, processed, f.Ports["8080"], hearer(t), cryAt(t)))
	until(t, f, "curl -si --data hello http://127.0.0.1:8080/loud", "heard HELLO, seen by crier.")
	until(t, f, "curl -si --data hello http://127.0.0.1:8080/loud", "x-back: crier")
	until(t, f, "curl -si --header 'x-voice: low' http://127.0.0.1:8080/loud", "406")
	until(t, f, "curl -s --header 'x-voice: low' --data hello http://127.0.0.1:8080/", "heard hello, seen by .")
	until(t, f, "curl -si http://127.0.0.1:8080/lua", "500")
	f.Edit(t, "objects.yaml", "{body: Streamed}", "{body: Buffered}")
	until(t, f, "curl -si http://127.0.0.1:8080/loud", "seen by crier.")
}

// processing is the file of a proxy whose requests pass a processor, whose responses do so
// whole: the ports are those of the listener, of the backend and of the processor.
const processing = `
static_resources:
  listeners:
  - name: edge
    address: {socket_address: {address: 127.0.0.1, port_value: %s}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: edge
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: shop}}]}]}
          http_filters:
          - name: envoy.filters.http.ext_proc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {envoy_grpc: {cluster_name: crier}}
              message_timeout: 10s
              processing_mode: {response_body_mode: BUFFERED_PARTIAL}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - {name: shop, load_assignment: {cluster_name: shop, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]}}
  - name: crier
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: crier, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]}
`

// TestProcessorOfFile has requests of a proxy with a file of Envoy's pass a processor.
func TestProcessorOfFile(t *testing.T) {
	f := folder(t, "8080")
	file := filepath.Join(f.Path, "envoy.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, processing, f.Ports["8080"], hearer(t), cryAt(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := weirtest.Start(t, "proxy", "-c", file, "--drain-strategy", "immediate")
	p.WaitFor("listening")
	until(t, f, "curl -si --data hello http://127.0.0.1:8080/", "HEARD HELLO, SEEN BY CRIER.")
	until(t, f, "curl -si --header 'x-voice: low' http://127.0.0.1:8080/", "Speak up.")
}
