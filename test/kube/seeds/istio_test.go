// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"weir.dev/weir/internal/fnserver"
	"weir.dev/weir/test/kube/kubetest"
)

// helloIngress is the document's Ingress, of extensions/v1beta1, as kubectl convert makes it one of today.
const helloIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: hello-app-ingress
  namespace: default
  annotations: {kubernetes.io/ingress.class: istio}
spec:
  rules:
  - http: {paths: [{path: "/.*", pathType: ImplementationSpecific, backend: {service: {name: hello-app-service, port: {number: 80}}}}]}
`

// helloFunctions are the document's functions without its proxies: a native backend.
const helloFunctions = `
apiVersion: weir.dev/v1alpha1
kind: Function
metadata: {name: hello-v1, namespace: default}
spec: {fn: {server: {name: my-fn-api, port: 80}, app: hello-app, route: /v1}}
---
apiVersion: weir.dev/v1alpha1
kind: Function
metadata: {name: hello-v2, namespace: default}
spec: {fn: {server: {name: my-fn-api, port: 80}, app: hello-app, route: /v2}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: functions}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: functions, namespace: default}
spec: {gatewayClassName: functions, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: functions, namespace: default}
spec:
  parentRefs: [{name: functions}]
  rules:
  - backendRefs:
    - {group: weir.dev, kind: Function, name: hello-v1, weight: 50}
    - {group: weir.dev, kind: Function, name: hello-v2, weight: 50}
`

// What the document's functions answer.
const (
	helloV1 = `{"message":"Hello V1"}`
	helloV2 = `{"message":"Hello V2"}`
)

// testIstio deploys what the document about Istio and Fn does, with a server of Fn and its functions beside the cluster:
// requests go to any version until the rule of 2018 is there, then as it says, and no request fails when its weights
// change. Then the functions are backends themselves.
func testIstio(t *testing.T, c kubetest.Cluster) {
	s := fnserver.New()
	defer s.Close()
	s.Add(fnserver.Function{App: "hello-app", Path: "/v1", ID: "V1", Run: fnserver.Text(helloV1)})
	s.Add(fnserver.Function{App: "hello-app", Path: "/v2", ID: "V2", Run: fnserver.Text(helloV2)})
	ln, err := net.Listen("tcp", fnAddress+":80")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: s}
	served := make(chan error, 1)
	go func() { served <- h.Serve(ln) }()
	defer func() {
		_ = h.Close()
		<-served
	}()
	beside(t, c, "default", "my-fn-api", fnAddress, 80)

	c.ApplyFiles(t, "deploy/crds/istio/*.yaml")
	c.Apply(t, helloApp(t)+"---"+helloIngress)
	for _, name := range []string{"hello-app-deployment-v1", "hello-app-deployment-v2"} {
		c.Running(t, "default", name)
	}
	ip := address(t, c, "weir-system", "ingress-istio")
	url := "http://" + ip + "/"
	until(t, c, "200 "+helloV1, "GET", url, "")
	until(t, c, "200 "+helloV2, "GET", url, "")
	told(t, c, "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: hello-app-ingress, namespace: default}}", "ip:"+ip)

	rule, err := os.ReadFile(kubetest.Path("examples/seeds/001-istio-fn/v1-rule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	weights := func(v1, v2 string) {
		c.Apply(t, strings.NewReplacer("{version: v1}, weight: 100", "{version: v1}, weight: "+v1, "{version: v2}, weight: 0", "{version: v2}, weight: "+v2).Replace(string(rule)))
	}
	clients := begin(t, url)
	weights("100", "0")
	clients.splits(t, c, map[string]int{helloV1: 100})
	weights("50", "50")
	clients.splits(t, c, map[string]int{helloV1: 50, helloV2: 50})
	weights("0", "100")
	clients.splits(t, c, map[string]int{helloV2: 100})
	clients.end(t)

	c.Apply(t, helloFunctions)
	url = "http://" + address(t, c, "default", "functions-functions") + "/"
	until(t, c, "200 "+helloV1, "GET", url, "")
	until(t, c, "200 "+helloV2, "GET", url, "")
	clients = begin(t, url)
	clients.splits(t, c, map[string]int{helloV1: 50, helloV2: 50})
	c.Apply(t, strings.NewReplacer("hello-v1, weight: 50", "hello-v1, weight: 0", "hello-v2, weight: 50", "hello-v2, weight: 100").Replace(helloFunctions))
	clients.splits(t, c, map[string]int{helloV2: 100})
	clients.end(t)
}

// helloApp is the document's Service and Deployments, which are of extensions/v1beta1, as kubectl convert makes them ones
// of today.
func helloApp(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(kubetest.Path("examples/seeds/001-istio-fn/hello-app.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all, _, found := strings.Cut(string(text), "---\napiVersion: extensions/v1beta1\nkind: Ingress")
	if !found {
		t.Fatal("the Ingress is not the last object")
	}
	for _, version := range []string{"v1", "v2"} {
		name := "metadata: {name: hello-app-deployment-" + version + "}\nspec:\n"
		all = strings.Replace(all, name, name+"  selector: {matchLabels: {app: hello-app, version: "+version+"}}\n", 1)
	}
	return strings.ReplaceAll(all, "extensions/v1beta1", "apps/v1")
}
