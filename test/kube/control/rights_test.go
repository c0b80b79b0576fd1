// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"weir.dev/weir/test/kube/kubetest"
)

// A right is one of a role of deploy.
type right struct{ verb, group, resource string }

func (r right) String() string { return r.verb + " " + r.resource + "." + r.group }

// covers tells that a right is o, or all of a group's.
func (r right) covers(o right) bool {
	_, sub, _ := strings.Cut(o.resource, "/")
	all := r.resource == "*" || r.resource == "*/"+sub
	return r.verb == o.verb && r.group == o.group && (r.resource == o.resource || all)
}

// grants are the rights of a file of deploy, of roles of a kind.
func grants(t *testing.T, kind, file string) (out []right) {
	t.Helper()
	data, err := os.ReadFile(kubetest.Path("deploy/" + file))
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.SplitSeq(string(data), "\n---\n") {
		var o struct {
			Kind  string
			Rules []struct{ APIGroups, Resources, Verbs []string }
		}
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		for _, r := range o.Rules {
			if o.Kind != kind {
				break
			}
			for _, g := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, v := range r.Verbs {
						out = append(out, right{v, g, resource})
					}
				}
			}
		}
	}
	return out
}

// rules are those of a role that has all of some rights but those that without tells.
func rules(rights []right, without func(right) bool) string {
	var list []map[string]any
	for _, r := range rights {
		if !without(r) {
			list = append(list, map[string]any{"apiGroups": []string{r.group}, "resources": []string{r.resource}, "verbs": []string{r.verb}})
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// roled gives a user of a name a role of its own.
func roled(t *testing.T, c kubetest.Cluster, user, rules string) {
	t.Helper()
	c.Apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s}
rules: %[2]s
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[1]s}]
`, user, rules))
}

// definitions installs the kinds of all dialects.
func definitions(t *testing.T, c kubetest.Cluster) {
	t.Helper()
	c.ApplyFiles(t, "deploy/crds/envoy-gateway/*.yaml", "deploy/crds/emissary/*.yaml", "deploy/crds/istio/*.yaml")
	c.Apply(t, importDefinition)
	c.Apply(t, oldSetDefinition)
}

// oldSetDefinition is what ListenerSets were until they had the name.
const oldSetDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: xlistenersets.gateway.networking.x-k8s.io
  annotations: {api-approved.kubernetes.io: "https://github.com/kubernetes-sigs/gateway-api/pull/3213"}
spec:
  group: gateway.networking.x-k8s.io
  scope: Namespaced
  names: {kind: XListenerSet, plural: xlistenersets, singular: xlistenerset, listKind: XListenerSetList}
  versions:
  - {name: v1alpha1, served: true, storage: true, subresources: {status: {}}, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

// TestReadingRights takes each right to read away, one by one: who lacks it says so in one sentence, which names it and
// what to do. With WatchListClient off, lists are asked for as by older apiservers.
func TestReadingRights(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	definitions(t, c)
	c.ApplyFiles(t, "deploy/crds/*.yaml")
	all := grants(t, "ClusterRole", "rbac.yaml")
	var wg sync.WaitGroup
	places := make(chan struct{}, 3)
	for i, lacked := range all {
		if lacked.verb != "list" && lacked.verb != "watch" || lacked.resource == "pods" || lacked.resource == "nodes" { // These are read only where something needs them.
			continue
		}
		user := fmt.Sprintf("lacks-%d", i)
		roled(t, c, user, rules(all, func(r right) bool { return r == lacked }))
		config := another(t, c, func(u *clientcmdapi.AuthInfo) { u.Impersonate = user })
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			p, err := c.Launch(user, "/usr/bin/env", "KUBE_FEATURE_WatchListClient=false", kubetest.Programs()["weir"], "run", "--kubeconfig", config, "--admin", "", "--addresses", "10.246.9.0/24")
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Stop()
			err = c.Cluster.Until(t.Context(), lacked.String(), func(context.Context) error {
				for line := range strings.Lines(strings.ReplaceAll(p.Output(), `\"`, `"`)) {
					named := strings.Contains(line, fmt.Sprintf("cannot %s resource %q in API group %q", lacked.verb, lacked.resource, lacked.group)) ||
						lacked.resource == "*" && strings.Contains(line, "cannot "+lacked.verb+" resource") && strings.Contains(line, fmt.Sprintf("in API group %q", lacked.group))
					if named && strings.Contains(line, "forbids it: give the account the rights of deploy/rbac.yaml: ") {
						return nil
					}
				}
				return errors.New(p.Output())
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestRights has the control plane do all that it can do, and reads in the apiserver's audit that nothing of it was
// forbidden, and that it has used each right to write that deploy grants. Then it takes these away, one by one: the control
// plane says which it lacks, and goes on when it has it again.
func TestRights(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental", Audit: "system:serviceaccount:weir-system:weir-control"})
	definitions(t, c)
	c.Install(t)
	c.ApplyFiles(t, "deploy/redis.yaml")
	arguments(t, c, "--ratelimit-redis=redis://:open-sesame@"+redisAddress+":6379")
	fullRun(t, c)
	requests, err := c.Requests()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("RESULT %d requests", len(requests))
	for _, r := range requests {
		if r.Code == http.StatusForbidden {
			t.Errorf("forbidden: %+v", r)
		}
	}
	t.Run("taken away", func(t *testing.T) { takenAway(t, c) })
}

// unused returns the rights to write, of the files of deploy, that have not been used.
func unused(t *testing.T, c kubetest.Cluster) []string {
	t.Helper()
	requests, err := c.Requests()
	if err != nil {
		t.Fatal(err)
	}
	left := map[right]bool{}
	for _, r := range slices.Concat(grants(t, "ClusterRole", "rbac.yaml"), grants(t, "ClusterRole", "control.yaml"), grants(t, "Role", "control.yaml"), grants(t, "ClusterRole", "redis.yaml")) {
		// What is read has a test of its own. An object is got when somebody else has written it meanwhile.
		if r.verb != "get" && r.verb != "list" && r.verb != "watch" || r.group == "coordination.k8s.io" && r.verb == "get" {
			left[r] = true
		}
	}
	for _, q := range requests {
		verbs := []string{q.Verb}
		if q.Verb == "patch" && q.Code == http.StatusCreated { // The apiserver asks for both rights.
			verbs = append(verbs, "create")
		}
		for _, verb := range verbs {
			maps.DeleteFunc(left, func(r right, _ bool) bool { return r.covers(right{verb, q.Group, q.Resource}) })
		}
	}
	var out []string
	for r := range left {
		out = append(out, r.String())
	}
	slices.Sort(out)
	return out
}

// everything has an object of each kind whose status is written, and one of each that proxies may have.
const everything = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: default}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs:
    - {group: gateway.envoyproxy.io, kind: Backend, name: all}
    - {group: gateway.networking.x-k8s.io, kind: XBackend, name: all}
    - {group: weir.dev, kind: Backend, name: all}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: all, namespace: default}
spec: {parentRef: {name: edge}, listeners: [{name: more, port: 81, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: all, namespace: default}
spec: {parentRefs: [{name: edge}], hostnames: [grpc.example], rules: [{backendRefs: [{name: app, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: all, namespace: default}
spec: {parentRefs: [{name: edge}], hostnames: [tls.example], rules: [{backendRefs: [{name: app, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: all, namespace: default}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: app, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: all, namespace: default}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: app, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: all, namespace: default}
spec: {targetRefs: [{group: "", kind: Service, name: app, sectionName: none}], validation: {hostname: app.example, wellKnownCACertificates: System}}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: all, namespace: default}
spec: {type: ExternalHostname, externalHostname: {hostname: outside.example}, port: {port: 80}, protocol: HTTP11}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: all, namespace: default}
spec: {targetRefs: [{group: "", kind: Service, name: app}], retryConstraint: {budget: {percent: 20, interval: 10s}, minRetryRate: {count: 10, interval: 1s}}}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: all, namespace: default}
spec: {endpoints: [{ip: {address: 10.246.7.1, port: 80}}]}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: weir}
spec: {controller: weir.dev/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: all, namespace: default}
spec: {ingressClassName: weir, rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}]}
---
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: all, namespace: default}
spec: {port: 8080, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: all, namespace: default}
spec: {hostname: "*", requestPolicy: {insecure: {action: Route}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: all, namespace: default}
spec: {hostname: "*", prefix: /, service: app}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all, namespace: default}
spec: {hosts: [outside.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all, namespace: default}
spec: {}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: all, namespace: default}
spec: {endpoints: [{ip: {address: 10.246.7.1, port: 80}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: all, namespace: default}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}], timeout: {http: {requestTimeout: 10s}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: all, namespace: default}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}], cors: {allowOrigins: ["https://a.example"]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: all, namespace: default}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}], timeout: {http: {idleTimeout: 60s}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: all, namespace: default}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: all, namespace: default}
spec: {targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}, type: JSONPatch, jsonPatches: [{type: type.googleapis.com/envoy.config.listener.v3.Listener, name: a, operation: {op: remove, path: /a}}]}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XListenerSet
metadata: {name: old, namespace: default}
spec: {parentRef: {name: edge}, listeners: [{name: more, port: 81, protocol: HTTP}]}
`

// fullRun has the control plane do what it has rights for, until it has used all that write.
func fullRun(t *testing.T, c kubetest.Cluster) {
	t.Helper()
	become := func(class string) {
		t.Helper()
		if err := c.Patch(t.Context(), edgeGateway, fmt.Appendf(nil, `{"spec": {"gatewayClassName": %q}}`, class)); err != nil {
			t.Fatal(err)
		}
	}
	parameters := func(spec string) {
		t.Helper()
		c.Apply(t, fmt.Sprintf("{apiVersion: weir.dev/v1alpha1, kind: GatewayParameters, metadata: {name: three, namespace: default}, spec: %s}", spec))
	}
	there := func(kind string) {
		t.Helper()
		c.Until(t, kind+" to be there", func(ctx context.Context) error {
			_, err := c.Cluster.Get(ctx, "{apiVersion: "+kind+", metadata: {name: edge-weir, namespace: default}}")
			return err
		})
	}
	c.Apply(t, objects)
	c.Apply(t, classes)
	c.Apply(t, gatewayOf(80))
	c.Apply(t, everything)
	programmed(t, c)
	scale(t, c, 2)
	scale(t, c, 1)
	parameters(`{workload: DaemonSet}`)
	there("apps/v1, kind: DaemonSet")
	absent(t, c, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: edge-weir, namespace: default}}")
	parameters(`{autoscaling: {minReplicas: 1, maxReplicas: 2}, disruptionBudget: {maxUnavailable: 1}}`)
	there("autoscaling/v2, kind: HorizontalPodAutoscaler")
	there("policy/v1, kind: PodDisruptionBudget")
	parameters(`{replicas: 1}`)
	absent(t, c, "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: edge-weir, namespace: default}}")
	become("foreign") // All goes.
	for _, kind := range []string{"apps/v1, kind: Deployment", "v1, kind: Service", "v1, kind: ConfigMap", "v1, kind: ServiceAccount"} {
		absent(t, c, "{apiVersion: "+kind+", metadata: {name: edge-weir, namespace: default}}")
	}
	become("weir")
	programmed(t, c)
	c.Until(t, "each right to be used", func(context.Context) error {
		if list := unused(t, c); len(list) > 0 {
			return fmt.Errorf("nobody has used %s", strings.Join(list, ", "))
		}
		return nil
	})
}

const edgeGateway = `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: default}}`

// takenAway takes rights to write from the control plane that runs, one at a time, and has it do what it needs them for.
func takenAway(t *testing.T, c kubetest.Cluster) {
	role := func(name, rules string) {
		t.Helper()
		c.Apply(t, fmt.Sprintf("{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: %s}, rules: %s}", name, rules))
	}
	said := func() string {
		t.Helper()
		out := ""
		c.Until(t, "what the control plane says", func(ctx context.Context) error {
			pods, err := c.Pods(ctx, "weir-system", "app.kubernetes.io/name=weir-control")
			if err != nil || len(pods) != 1 {
				return fmt.Errorf("there are %d: %w", len(pods), err)
			}
			out, err = c.Output(ctx, "weir-system", pods[0].Name, "")
			return err
		})
		return strings.ReplaceAll(out, `\"`, `"`)
	}
	n := 0
	change := func() { // The objects of the proxies are others.
		t.Helper()
		n++
		if err := c.Patch(t.Context(), edgeGateway, fmt.Appendf(nil, `{"spec": {"infrastructure": {"annotations": {"change": "%d"}}}}`, n)); err != nil {
			t.Fatal(err)
		}
	}
	await := func(before int, lacked right, remedy string) {
		t.Helper()
		c.Until(t, "it to say that it lacks "+lacked.String(), func(context.Context) error {
			out := said()[before:]
			for line := range strings.Lines(out) {
				if strings.Contains(line, fmt.Sprintf("cannot %s resource %q in API group %q", lacked.verb, lacked.resource, lacked.group)) && strings.Contains(line, remedy) {
					return nil
				}
			}
			return errors.New(out[max(0, len(out)-2000):])
		})
	}
	provision := grants(t, "ClusterRole", "control.yaml")
	for _, lacked := range provision {
		// What is to be deleted that a Gateway never has is deleted each time; of the others, and of what is made anew, the
		// verb is the same code's.
		always := map[string]string{"daemonsets": "delete", "horizontalpodautoscalers": "delete", "poddisruptionbudgets": "delete"}[lacked.resource]
		if lacked.verb != always && (lacked.verb != "patch" || always != "") {
			continue
		}
		before := len(said())
		role("weir-provision", rules(provision, func(r right) bool { return r == lacked }))
		change()
		await(before, lacked, "give the control plane the rights of deploy/control.yaml: ")
	}
	role("weir-provision", rules(provision, func(right) bool { return false }))

	// Without any right to write statuses, each of them is told.
	all := grants(t, "ClusterRole", "rbac.yaml")
	role("weir", rules(all, func(r right) bool { return r.verb == "patch" }))
	before := len(said())
	c.Delete(t, everything)
	c.Apply(t, everything)
	change()
	for _, lacked := range all {
		switch lacked.resource {
		case "*/status":
			lacked.resource = map[string]string{"networking.istio.io": "serviceentries/status", "security.istio.io": "authorizationpolicies/status"}[lacked.group]
		case "gatewayclasses/status": // Of which nothing is new.
			continue
		}
		if lacked.verb == "patch" {
			await(before, lacked, "give the account the rights of deploy/rbac.yaml: ")
		}
	}
	role("weir", rules(all, func(right) bool { return false }))
	since(t, c)
}
