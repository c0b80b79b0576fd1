// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// tcpAuthorization are TCPRoutes of which one lets in clients by its own SecurityPolicy, and the other by the Gateway's;
// %[1]s and %[2]s are the ports of their listeners, and %[3]s that of the backend.
const tcpAuthorization = `
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: weir}, spec: {controllerName: weir.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
  - {name: own, port: %[1]s, protocol: TCP}
  - {name: theirs, port: %[2]s, protocol: TCP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: own}
spec: {parentRefs: [{name: edge, sectionName: own}], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: bytes}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: theirs}
spec: {parentRefs: [{name: edge, sectionName: theirs}], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: bytes}]}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: bytes}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[3]s}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: own}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: TCPRoute, name: own}]
  authorization: {defaultAction: Deny, rules: [{action: Allow, principal: {clientCIDRs: [127.0.0.2/32]}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: all}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  authorization: {defaultAction: Allow, rules: [{action: Deny, principal: {clientCIDRs: [127.0.0.2/32], headers: [{name: x-who, values: [them]}]}}]}
`

// TestTCPAuthorization: who may connect is asked where no requests are, of routes and of Gateways.
func TestTCPAuthorization(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello")) // Who is refused does not hear it.
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-served })
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	f := folder(t, "1", "2")
	serveObjects(t, f, fmt.Appendf(nil, tcpAuthorization, f.Ports["1"], f.Ports["2"], port))
	for _, tt := range []struct {
		port, from string
		in         bool
	}{{"1", "127.0.0.1", false}, {"1", "127.0.0.2", true}, {"2", "127.0.0.1", true}, {"2", "127.0.0.2", false}} {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(tt.from)}, Timeout: 10 * time.Second}
		c, err := d.Dial("tcp", "127.0.0.1:"+f.Ports[tt.port])
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		got, err := io.ReadAll(c)
		_ = c.Close()
		if in := strings.Contains(string(got), "hello"); in != tt.in {
			t.Errorf("listener %s from %s: %q, %v", tt.port, tt.from, got, err)
		}
	}
}
