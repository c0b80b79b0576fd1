// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"weir.dev/weir/test/kube/kubetest"
)

// outside is a host that is not of the cluster, as its DNS knows it.
const outside = "outside.example"

var outsideAddress = netip.MustParseAddr("10.246.7.1")

// backends are what stands behind: pods that speak HTTP/1.1 at 3000, HTTP/2 at 3001 and TLS at 8443, and, in each pod of
// proxies, a server at a Unix domain socket.
const backends = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: weir.dev/v1alpha1
kind: GatewayParameters
metadata: {name: sidecar, namespace: default}
spec:
  patches:
  - kind: Deployment
    value:
      spec:
        template:
          spec:
            containers:
            - {name: proxy, volumeMounts: [{name: sockets, mountPath: /sockets}]}
            - {name: beside, image: weir, args: [echo, --address, "unix:/sockets/echo.sock", --name, beside], volumeMounts: [{name: sockets, mountPath: /sockets}]}
            volumes: [{name: sockets, emptyDir: {}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  gatewayClassName: weir
  infrastructure: {parametersRef: {group: weir.dev, kind: GatewayParameters, name: sidecar}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: v1
kind: Secret
metadata: {name: app, namespace: default}
stringData: {tls.crt: <certificate>, tls.key: <key>}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: authority, namespace: default}
data: {ca.crt: <authority>}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - name: app
        image: echo-basic
        ports: [{name: plain, containerPort: 3000}]
        env:
        - {name: POD_NAME, value: app}
        - {name: TLS_SERVER_CERT, value: /tls/tls.crt}
        - {name: TLS_SERVER_PRIVKEY, value: /tls/tls.key}
        volumeMounts: [{name: tls, mountPath: /tls}]
      volumes: [{name: tls, secret: {secretName: app}}]
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec:
  selector: {app: app}
  ports:
  - {name: number, port: 80, targetPort: 3000}
  - {name: name, port: 81, targetPort: plain}
  - {name: two, port: 82, targetPort: 3001, appProtocol: kubernetes.io/h2c}
  - {name: socket, port: 83, targetPort: 3000, appProtocol: kubernetes.io/ws}
  - {name: bare, port: 84, targetPort: 8443, appProtocol: https}
  - {name: secure, port: 85, targetPort: 8443, appProtocol: https}
  - {name: datagrams, port: 86, protocol: UDP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: app, namespace: default}
spec:
  targetRefs: [{group: "", kind: Service, name: app, sectionName: secure}]
  validation: {hostname: app.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: authority}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: default}
spec: {clusterIP: None, selector: {app: app}, ports: [{port: 80, targetPort: 3000}]}
---
apiVersion: v1
kind: Service
metadata: {name: external, namespace: default}
spec: {type: ExternalName, externalName: outside.example}
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: kube-system}
spec: {ports: [{port: 80}]}
`

// own are a Backend each, of either group.
const own = `
apiVersion: GROUP
kind: Backend
metadata: {name: named, namespace: default}
spec: {endpoints: [{fqdn: {hostname: app.default.svc.cluster.local, port: 80}}]}
---
apiVersion: GROUP
kind: Backend
metadata: {name: numbered, namespace: default}
spec: {endpoints: [{ip: {address: 10.246.7.1, port: 80}}]}
---
apiVersion: GROUP
kind: Backend
metadata: {name: unix, namespace: default}
spec: {endpoints: [{unix: {path: /sockets/echo.sock}}]}
---
apiVersion: GROUP
kind: Backend
metadata: {name: dynamic, namespace: default}
spec: {type: DynamicResolver}
---
apiVersion: GROUP
kind: Backend
metadata: {name: untrusted, namespace: default}
spec: {endpoints: [{ip: {address: 10.246.7.1, port: 80}}], tls: {caCertificateRefs: [{group: "", kind: ConfigMap, name: none}]}}
`

// imported is a ServiceImport, whose definition is that of the Multi-Cluster Services API without what it checks, and where
// its endpoints are.
const imported = `
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: {name: far, namespace: default}
spec: {type: ClusterSetIP, ports: [{port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: far, namespace: default, labels: {multicluster.kubernetes.io/service-name: far}}
addressType: IPv4
ports: [{name: "", port: 80, protocol: TCP}]
endpoints: [{addresses: [10.246.7.1]}]
`

const importDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: serviceimports.multicluster.x-k8s.io
  annotations: {api-approved.kubernetes.io: "https://github.com/kubernetes/enhancements/pull/5264"}
spec:
  group: multicluster.x-k8s.io
  scope: Namespaced
  names: {kind: ServiceImport, plural: serviceimports, singular: serviceimport, listKind: ServiceImportList}
  versions:
  - {name: v1alpha1, served: true, storage: true, subresources: {status: {}}, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

// xBackend is one of the Gateway API's experimental channel.
const xBackend = `
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: x, namespace: default}
spec: {type: ExternalHostname, externalHostname: {hostname: outside.example}, port: {port: 80}, protocol: HTTP11}
`

// reference is one of a route to a backend, and what becomes of it.
type reference struct {
	name, ref string
	host      string // of the request, if it matters
	upgrade   bool   // asks for a WebSocket
	want      string // in the answer; "" is a refusal, with 500
	told      string // in the route's status
}

func references() []reference {
	const app, far = `"pod": "app"`, `"name":"outside"`
	var all []reference
	add := func(name, ref, want string) { all = append(all, reference{name: name, ref: ref, want: want}) }
	refuse := func(name, ref, told string) { all = append(all, reference{name: name, ref: ref, told: told}) }
	add("service", "name: app, port: 80", app)
	add("named-port", "name: app, port: 81", app)
	add("headless", "name: headless, port: 80", app)
	add("h2c", "name: app, port: 82", `"proto": "HTTP/2.0"`)
	all = append(all, reference{name: "ws", ref: "name: app, port: 83", upgrade: true, want: "101"})
	add("https", "name: app, port: 85", `"serverName": "app.example"`)
	add("serviceimport", "group: multicluster.x-k8s.io, kind: ServiceImport, name: far, port: 80", far)
	add("xbackend", "group: gateway.networking.x-k8s.io, kind: XBackend, name: x", far)
	for _, group := range []string{"weir.dev", "gateway.envoyproxy.io"} {
		of := func(name string) string { return "group: " + group + ", kind: Backend, name: " + name }
		at := strings.ReplaceAll(group, ".", "-")
		add(at+"-fqdn", of("named"), app)
		add(at+"-ip", of("numbered"), far)
		add(at+"-unix", of("unix"), `"name":"beside"`)
		all = append(all, reference{name: at + "-dynamic", ref: of("dynamic"), host: outside, want: far})
		refuse(at+"-untrusted", of("untrusted"), "is not valid: spec.tls.caCertificateRefs[0]: there is no ConfigMap default/none")
		refuse(at+"-none", of("none"), "there is no Backend")
	}
	refuse("external", "name: external, port: 80", "is of type ExternalName, which can lead anywhere and is not taken: name the host in a Backend of weir.dev")
	refuse("bare-https", "name: app, port: 84", "BackendTLSPolicy")
	refuse("datagrams", "name: app, port: 86", "is of protocol UDP, which an HTTPRoute cannot forward to")
	refuse("no-port", "name: app, port: 99", "Service default/app has no port 99")
	refuse("no-service", "name: none, port: 80", "there is no Service default/none")
	refuse("other-namespace", "name: app, namespace: kube-system, port: 80", "no ReferenceGrant in kube-system allows an HTTPRoute of default to refer to it")
	refuse("other-kind", `group: "", kind: ConfigMap, name: authority`, "a ConfigMap cannot be a backend: refer to a Service")
	return all
}

// TestBackends has routes refer to backends of all kinds: those that can be had answer, and of the others the route's
// status says why not and what to do. Services of type ExternalName are taken once a switch says so.
func TestBackends(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental", Names: map[string]netip.Addr{outside: outsideAddress}})
	c.Run(t, "outside", kubetest.Programs()["weir"], "echo", "--address", outsideAddress.String()+":80", "--name", "outside")
	c.ApplyFiles(t, "deploy/crds/envoy-gateway/*.yaml")
	c.Apply(t, importDefinition)
	c.Install(t)
	a := newAuthority(t)
	certificate, key := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "app"}, DNSNames: []string{"app.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	quoted := func(text string) string { return fmt.Sprintf("%q", text) }
	c.Apply(t, strings.NewReplacer("<certificate>", quoted(certificate), "<key>", quoted(key), "<authority>", quoted(a.text)).Replace(backends))
	c.Apply(t, strings.ReplaceAll(own, "GROUP", "weir.dev/v1alpha1"))
	c.Apply(t, strings.ReplaceAll(own, "GROUP", "gateway.envoyproxy.io/v1alpha1"))
	c.Apply(t, imported)
	c.Apply(t, xBackend)
	for _, r := range references() {
		c.Apply(t, fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s, namespace: default}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /%[1]s}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /ws}}}]
    backendRefs: [{%[2]s}]
`, r.name, r.ref))
	}
	c.Running(t, "default", "app")
	c.Running(t, "default", "edge-weir")
	address := programmed(t, c)
	for _, r := range references() {
		t.Run(r.name, func(t *testing.T) {
			c.Until(t, "the route's status", func(ctx context.Context) error {
				o, err := c.Cluster.Get(ctx, fmt.Sprintf("{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: %s, namespace: default}}", r.name))
				if err != nil {
					return err
				}
				text := fmt.Sprint(o.Object["status"])
				if resolved := strings.Contains(text, "status:True type:ResolvedRefs"); resolved != (r.want != "") || !strings.Contains(text, r.told) {
					return errors.New(text)
				}
				return nil
			})
			c.Until(t, "the answer", func(ctx context.Context) error { return r.answers(ctx, address) })
		})
	}
	t.Run("external, allowed", func(t *testing.T) {
		arguments(t, c, "--allow-external-name")
		r := reference{name: "external", want: `"name":"outside"`}
		c.Until(t, "the answer", func(ctx context.Context) error { return r.answers(ctx, address) })
	})
}

// answers asks once, and says what is wrong with the answer.
func (r reference) answers(ctx context.Context, address string) error {
	path := "/" + r.name
	if !r.upgrade {
		path += "/x"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	req.Host = r.host
	if r.upgrade {
		for k, v := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": "http://edge",
		} {
			req.Header.Set(k, v)
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if r.want == "101" && resp.Header.Get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			return nil
		}
		return fmt.Errorf("%s, %v", resp.Status, resp.Header)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return err
	}
	if want := map[bool]int{true: 200, false: 500}[r.want != ""]; resp.StatusCode != want || !strings.Contains(string(body), r.want) {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return nil
}
