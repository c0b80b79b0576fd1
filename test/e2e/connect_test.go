// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// tunnels are HTTPRoutes of which some let CONNECT pass: to a proxy behind, to a server of bytes, and to whatever host
// clients name. %[1]s is the port of the listener, %[2]s that of the server, and %[3]s that of the proxy behind.
const tunnels = `
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: weir}, spec: {controllerName: weir.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: %[1]s, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: passed}
spec: {parentRefs: [{name: edge}], hostnames: [passed.example.com], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: proxy}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ended}
spec: {parentRefs: [{name: edge}], hostnames: [ended.example.com, ended.localhost], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: bytes}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: anywhere}
spec: {parentRefs: [{name: edge}], hostnames: ["*.localhost"], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: anywhere}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: guarded}
spec: {parentRefs: [{name: edge}], hostnames: [guarded.example.com], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: bytes}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: closed}
spec:
  parentRefs: [{name: edge}]
  hostnames: [closed.example.com]
  rules:
  - matches: [{path: {value: /named}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: anywhere}]
  - backendRefs: [{group: weir.dev, kind: Backend, name: proxy}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: bytes}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[2]s}}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: proxy}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[3]s}}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: anywhere}
spec: {type: DynamicResolver}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: passed}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: passed}
  httpUpgrade: [{type: CONNECT}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: ended}
spec:
  targetRefs:
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, name: ended}
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, name: anywhere}
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, name: guarded}
  httpUpgrade: [{type: CONNECT, connect: {terminate: true}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: guarded}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: guarded}]
  authorization: {defaultAction: Deny, rules: [{action: Allow, principal: {clientCIDRs: [192.0.2.0/24]}}]}
`

// serveBytes greets and echoes all that it gets, until the test ends.
func serveBytes(t *testing.T, greeting string) (port string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, greeting) // Who has gone needs none.
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() { _ = ln.Close() })
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

// serveProxy answers CONNECT by telling where to it was, and echoes what follows; it answers other requests by their hosts.
func serveProxy(t *testing.T) (port string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			_, _ = io.WriteString(w, r.Host)
			return
		}
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nproxied to "+r.Host+" ")
		_, _ = io.Copy(c, b)
	})}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Close() })
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

// tunnelTo asks a proxy for a tunnel, sends ping, and returns the status and, of a tunnel, what comes back until it has echoed.
type tunnelTo func(t *testing.T, proxy, target string) (status int, got string)

func tunnelByHTTP1(t *testing.T, proxy, target string) (status int, got string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", proxy, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", target)
	b := bufio.NewReader(c)
	r, err := http.ReadResponse(b, &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return r.StatusCode, ""
	}
	_, _ = io.WriteString(c, "ping\n")
	got, err = b.ReadString('\n')
	if err != nil {
		t.Errorf("%s: %v", target, err)
	}
	return r.StatusCode, got
}

func tunnelByHTTP2(t *testing.T, proxy, target string) (status int, got string) {
	t.Helper()
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, _ string, _ *tls.Config) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, proxy)
	}}
	defer tr.CloseIdleConnections()
	up, send := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := tr.RoundTrip((&http.Request{
		Method: http.MethodConnect, URL: &url.URL{Scheme: "http", Host: target}, Host: target, Header: http.Header{}, Body: up,
	}).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	defer send.Close()
	if r.StatusCode != http.StatusOK {
		return r.StatusCode, ""
	}
	_, _ = io.WriteString(send, "ping\n")
	got, err = bufio.NewReader(r.Body).ReadString('\n')
	if err != nil {
		t.Errorf("%s: %v", target, err)
	}
	return r.StatusCode, got
}

// TestConnect: CONNECT passes where a policy says so, and to nobody but the route's backends, whatever host is named.
func TestConnect(t *testing.T) {
	server, other, proxy := serveBytes(t, "server "), serveBytes(t, "other "), serveProxy(t)
	f := folder(t, "1")
	serveObjects(t, f, fmt.Appendf(nil, tunnels, f.Ports["1"], server, proxy))
	at := "127.0.0.1:" + f.Ports["1"]
	for version, tunnel := range map[string]tunnelTo{"HTTP/1.1": tunnelByHTTP1, "HTTP/2": tunnelByHTTP2} {
		for _, tt := range []struct {
			target string
			status int
			want   string
		}{
			{"passed.example.com:443", 200, "proxied to passed.example.com:443 ping\n"},
			{"ended.example.com:5432", 200, "server ping\n"},
			{"ended.localhost:" + other, 200, "server ping\n"},
			{"a.localhost:" + other, 200, "other ping\n"},
			{"guarded.example.com:443", 403, ""},
			{"closed.example.com:443", 404, ""},
			{"nobody.example.com:443", 404, ""},
			{"127.0.0.1:" + other, 404, ""},
		} {
			if status, got := tunnel(t, at, tt.target); status != tt.status || got != tt.want {
				t.Errorf("%s to %s: %d %q, want %d %q", version, tt.target, status, got, tt.status, tt.want)
			}
		}
	}
	// Requests of other methods are not for routes of tunnels.
	for host, want := range map[string]int{"passed.example.com": 404, "ended.example.com": 404, "closed.example.com": 200} {
		if status, body, _ := askUntil(t, "http://"+at+"/", host, want); status != want || want == 200 && !strings.HasPrefix(body, host) {
			t.Errorf("%s: %d %q, want %d", host, status, body, want)
		}
	}
}
