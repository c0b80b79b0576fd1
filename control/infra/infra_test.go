// SPDX-License-Identifier: Apache-2.0

package infra_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestName(t *testing.T) {
	seen := map[string]string{}
	for _, tt := range []struct{ gateway, class, want string }{
		{"edge", "weir", "edge-weir"},
		{"edge.example", "weir", "edge-example-weir-"},
		{"edge-example", "weir", "edge-example-weir"},
		{"7", "weir", "gateway-7-weir-"},
		{strings.Repeat("a", 253), "weir", strings.Repeat("a", 54) + "-"},
		{strings.Repeat("a", 252) + "b", "weir", strings.Repeat("a", 54) + "-"},
	} {
		got := infra.Name(tt.gateway, tt.class)
		if got != tt.want && !(strings.HasSuffix(tt.want, "-") && strings.HasPrefix(got, tt.want)) {
			t.Errorf("%.20s of %s is called %s, want %s", tt.gateway, tt.class, got, tt.want)
		}
		if bad := validation.IsDNS1035Label(got); len(bad) > 0 {
			t.Errorf("%s: %v", got, bad)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s are both called %s", tt.gateway, other, got)
		}
		seen[got] = tt.gateway
	}
}

const objects = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller, parametersRef: {group: weir.dev, kind: GatewayParameters, namespace: system, name: all}}
---
apiVersion: weir.dev/v1alpha1
kind: GatewayParameters
metadata: {name: all, namespace: system}
spec:
  autoscaling: {minReplicas: 2, maxReplicas: 5}
  service: {type: LoadBalancer, annotations: {cloud: internal}, externalTrafficPolicy: Local}
  resources: {requests: {cpu: 500m}, limits: {memory: 256Mi}}
---
apiVersion: weir.dev/v1alpha1
kind: GatewayParameters
metadata: {name: own, namespace: default}
spec: {replicas: 3, logLevel: debug, drainSeconds: 10, nodeSelector: {disk: ssd}, disruptionBudget: {maxUnavailable: 1}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, uid: 1b4e28ba-2fa1-11d2-883f-0016d3cca427}
spec:
  gatewayClassName: weir
  addresses: [{value: 192.0.2.7}]
  infrastructure: {labels: {team: edge}, annotations: {note: x}, parametersRef: {group: weir.dev, kind: GatewayParameters, name: own}}
  listeners: [{name: http, port: 80, protocol: HTTP}, {name: dns, port: 53, protocol: UDP}]
`

// plans returns what objects come to.
func plans(t *testing.T, text string) []*infra.Plan {
	t.Helper()
	changes := controltest.Objects(t, text)
	return control.NewTranslator(control.Options{Provision: true}).Apply(changes).Plans
}

// made returns the objects of a Plan.
func made(t *testing.T, p *infra.Plan, o infra.Options) []infra.Object {
	t.Helper()
	out, err := p.Objects(o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A Gateway's parameters win over its class's, field by field, and all of it is in the objects.
func TestObjects(t *testing.T) {
	all := plans(t, objects)
	if len(all) != 1 {
		t.Fatalf("there are %d plans", len(all))
	}
	bodies := map[string]map[string]any{}
	for _, o := range made(t, all[0], infra.Options{Image: "weir", Server: "weir-control.weir-system.svc:18000", CA: "PEM"}) {
		if o.Name != "edge-weir" || o.Namespace != "default" {
			t.Errorf("%s is %s/%s", o.Resource, o.Namespace, o.Name)
		}
		bodies[o.Resource] = o.Body
	}
	has := func(resource string, wants ...string) {
		t.Helper()
		text := fmt.Sprint(bodies[resource])
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %s:\n%s", resource, want, text)
			}
		}
	}
	owner := "ownerReferences:[map[apiVersion:gateway.networking.k8s.io/v1 controller:true kind:Gateway name:edge uid:1b4e28ba-2fa1-11d2-883f-0016d3cca427]]"
	has("serviceaccounts", owner, "team:edge", "note:x", "automountServiceAccountToken:false")
	has("configmaps", owner, `cluster: "default/edge"`, `target_uri: "weir-control.weir-system.svc:18000"`, "ca.crt:PEM")
	has("deployments", owner, "replicas:3", "--log-level debug", "--drain-time-s 10", "terminationGracePeriodSeconds:20", "disk:ssd", "requests:map[cpu:500m]",
		"limits:map[memory:256Mi]", "image:weir", "serviceAccountName:edge-weir", "audience:weir-control", "team:edge", "weir.dev/bootstrap:")
	has("services", owner, "type:LoadBalancer", "externalTrafficPolicy:Local", "cloud:internal", "note:x", "loadBalancerIP:192.0.2.7",
		"map[name:udp-53 port:53 protocol:UDP targetPort:8053]", "map[name:tcp-80 port:80 protocol:TCP targetPort:8080]")
	has("poddisruptionbudgets", owner, "maxUnavailable:1")
	if bodies["horizontalpodautoscalers"] != nil {
		t.Error("a Gateway whose parameters have replicas is scaled by its class's")
	}

	scaled := plans(t, strings.Replace(objects, "replicas: 3, ", "", 1))[0]
	clear(bodies)
	for _, o := range made(t, scaled, infra.Options{}) {
		bodies[o.Resource] = o.Body
	}
	has("horizontalpodautoscalers", owner, "minReplicas:2", "maxReplicas:5", "averageUtilization:80")
	if strings.Contains(fmt.Sprint(bodies["deployments"]["spec"]), "replicas:") {
		t.Error("the Deployment of proxies that are scaled has a number of its own")
	}
}

// In a namespace of the system, what belongs to Gateways of all namespaces is told apart, and
// owned by none.
func TestSystemNamespace(t *testing.T) {
	for _, o := range made(t, plans(t, objects)[0], infra.Options{Namespaces: infra.Namespaces{All: "system"}}) {
		at := infra.Namespaces{All: "system"}.Place(source.Name{Namespace: "default", Name: "edge"}, "weir")
		if o.Namespace != "system" || o.Name != at.Name || !strings.HasPrefix(o.Name, "default-edge-weir-") {
			t.Errorf("%s is %s/%s", o.Resource, o.Namespace, o.Name)
		}
		text := fmt.Sprint(o.Body)
		if o.Body != nil && (strings.Contains(text, "ownerReferences") || !strings.Contains(text, "weir.dev/gateway:default/edge") || !strings.Contains(text, "weir.dev/gateway-namespace:default")) {
			t.Errorf("%s: %s", o.Resource, text)
		}
	}
	seen := map[source.Name]bool{}
	for _, of := range []source.Name{{Namespace: "a-b", Name: "c"}, {Namespace: "a", Name: "b-c"}, {Namespace: strings.Repeat("a", 63), Name: strings.Repeat("b", 253)}} {
		at := infra.Namespaces{All: "system"}.Place(of, "weir")
		if seen[at] || len(validation.IsDNS1035Label(at.Name)) > 0 {
			t.Errorf("%v is at %v", of, at)
		}
		seen[at] = true
	}
}

const emissary = `
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: https, namespace: emissary}
spec: {ambassador_id: [public], port: 8443, protocol: HTTPS, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: other, namespace: emissary}
spec: {ambassador_id: [public], port: 8080, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: all, namespace: apps}
spec: {ambassador_id: [public], hostname: "*.example.com", tlsSecret: {name: certificate}}
---
apiVersion: weir.dev/v1alpha1
kind: GatewayParameters
metadata: {name: emissary-public, namespace: weir-system}
spec: {replicas: 2}
`

// The gateways of other dialects are no objects: their proxies are in the control plane's
// namespace, are nobody's, and are run as the parameters of their name say.
func TestOtherDialects(t *testing.T) {
	changes := controltest.Objects(t, emissary)
	at := infra.Namespaces{Own: "weir-system"}
	all := control.NewTranslator(control.Options{Provision: true, Namespaces: at}).Apply(changes).Plans
	if len(all) != 1 || all[0].Gateway != (source.Name{Name: "emissary-public"}) {
		t.Fatalf("the plans are %+v", all)
	}
	for _, o := range made(t, all[0], infra.Options{Namespaces: at}) {
		if o.Namespace != "weir-system" || o.Name != "emissary-public" {
			t.Errorf("%s is %s/%s", o.Resource, o.Namespace, o.Name)
		}
		text := fmt.Sprint(o.Body)
		if o.Body != nil && (strings.Contains(text, "ownerReferences") || !strings.Contains(text, "weir.dev/gateway:emissary-public") || strings.Contains(text, "gateway.networking")) {
			t.Errorf("%s: %s", o.Resource, text)
		}
		for resource, want := range map[string]string{
			"deployments": "replicas:2", "configmaps": `cluster: "emissary-public"`,
			"services": "[map[name:tcp-8080 port:8080 protocol:TCP targetPort:8080] map[name:tcp-80 port:80 protocol:TCP targetPort:8080] " +
				"map[name:tcp-8443 port:8443 protocol:TCP targetPort:8443] map[name:tcp-443 port:443 protocol:TCP targetPort:8443]]",
		} {
			if o.Resource == resource && !strings.Contains(text, want) {
				t.Errorf("%s lack %s:\n%s", resource, want, text)
			}
		}
	}
	for _, served := range []string{"gateway-api", "ingress"} {
		if all := control.NewTranslator(control.Options{Provision: true, Dialects: []string{served}}).Apply(changes).Plans; len(all) > 0 {
			t.Errorf("who serves %s has %+v", served, all)
		}
	}
}

func TestParseGateway(t *testing.T) {
	for text, want := range map[string]source.Name{
		"default/edge": {Namespace: "default", Name: "edge"}, "ingress-weir": {Name: "ingress-weir"},
		"": {}, "/edge": {}, "default/": {}, "a/b/c": {},
	} {
		if got, ok := infra.ParseGateway(text); ok != (want.Name != "") || ok && got != want {
			t.Errorf("%q is %v, %v", text, got, ok)
		}
	}
}

const shared = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: edge.example}
spec: {controllerName: weir.dev/gateway-controller, parametersRef: {group: weir.dev, kind: GatewayParameters, namespace: system, name: all}}
---
apiVersion: weir.dev/v1alpha1
kind: GatewayParameters
metadata: {name: all, namespace: system}
spec: {mergeGateways: true, replicas: 2}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: young, namespace: b, uid: y, creationTimestamp: "2026-01-02T00:00:00Z"}
spec:
  gatewayClassName: edge.example
  infrastructure: {labels: {team: young, only: young}}
  listeners: [{name: http, port: 80, protocol: HTTP, hostname: b.example}, {name: more, port: 81, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: old, namespace: a, uid: o, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  gatewayClassName: edge.example
  infrastructure: {labels: {team: old}}
  listeners: [{name: http, port: 80, protocol: HTTP, hostname: a.example}]
`

// Gateways that share their proxies have one of each object, which is called after their class,
// in the namespace of the control plane, and is none's.
func TestShared(t *testing.T) {
	all := plans(t, shared)
	if len(all) != 1 {
		t.Fatalf("there are %d plans", len(all))
	}
	if got := fmt.Sprint(all[0].Ports); got != "[{80 8080 false} {81 8081 false}]" {
		t.Errorf("the ports are %s", got)
	}
	for _, n := range []infra.Namespaces{{Own: "weir-system"}, {Own: "weir-system", All: "proxies"}} {
		for _, o := range made(t, all[0], infra.Options{Namespaces: n}) {
			if want := cmp.Or(n.All, n.Own); o.Namespace != want || !strings.HasPrefix(o.Name, "class-edge-example-") || len(validation.IsDNS1035Label(o.Name)) > 0 {
				t.Errorf("%s is %s/%s, want it in %s", o.Resource, o.Namespace, o.Name, want)
			}
			text := fmt.Sprint(o.Body)
			if o.Body != nil && (strings.Contains(text, "ownerReferences") || strings.Contains(text, "networking.k8s.io/gateway-name:") ||
				!strings.Contains(text, "weir.dev/gateway:class-edge.example") || !strings.Contains(text, "gateway-class-name:edge.example") ||
				!strings.Contains(text, "team:old") || !strings.Contains(text, "only:young")) {
				t.Errorf("%s: %s", o.Resource, text)
			}
			if o.Resource == "configmaps" && !strings.Contains(text, `node: {cluster: "class-edge.example"}`) {
				t.Errorf("the bootstrap is %s", text)
			}
		}
	}
	of, ok := infra.GatewayOf(&corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Labels: map[string]string{infra.ManagedBy: infra.ManagedByWeir}, Annotations: map[string]string{infra.GatewayAnnotation: "class-edge.example"},
	}})
	if want := (source.Name{Name: "class-edge.example"}); !ok || of != want {
		t.Errorf("the Service is of %v", of)
	}
}

// What proxies start from is a bootstrap that can be read.
func TestBootstrap(t *testing.T) {
	for _, o := range made(t, plans(t, objects)[0], infra.Options{Server: "x:1"}) {
		if o.Resource != "configmaps" {
			continue
		}
		text := o.Body["data"].(map[string]any)["bootstrap.yaml"].(string)
		b, _, problems := load.Bootstraps([]load.Document{{Name: "bootstrap.yaml", Data: []byte(text)}}, load.Options{})
		if xds.HasErrors(problems) || b.GetNode().GetCluster() != "default/edge" {
			t.Errorf("%v: %v", b.GetNode(), problems)
		}
		return
	}
	t.Error("there is no ConfigMap")
}

// Proxies say on which node they run, in a way that can be read, and of which zone their Pod is.
func TestPlace(t *testing.T) {
	for _, o := range made(t, plans(t, objects)[0], infra.Options{Server: "x:1"}) {
		if o.Kind != infra.Deployment {
			continue
		}
		text, err := json.Marshal(o.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`"--service-zone","$(ZONE)","--config-yaml","node: {metadata: {NODE_NAME: \"$(NODE_NAME)\"}}"`,
			`{"name":"NODE_NAME","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}}`,
			`{"name":"ZONE","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['topology.kubernetes.io/zone']"}}}`,
		} {
			if !strings.Contains(string(text), want) {
				t.Errorf("it lacks %s: %s", want, text)
			}
		}
		return
	}
	t.Error("there is no Deployment")
}

func TestNothingToRun(t *testing.T) {
	for name, text := range map[string]string{
		"no parameters": strings.Replace(objects, "name: own}}", "name: none}}", 1),
		"of the class":  strings.Replace(objects, "name: all}}", "name: none}}", 1),
		"no listener":   strings.NewReplacer("protocol: HTTP", "protocol: x.org/a", "protocol: UDP", "protocol: x.org/b").Replace(objects),
		"another class": strings.Replace(objects, "gatewayClassName: weir", "gatewayClassName: x", 1),
	} {
		if all := plans(t, text); len(all) > 0 {
			t.Errorf("%s: there is a plan %+v", name, all[0])
		}
	}
}

// Parameters that become unusable leave the proxies that run as they are: these go on serving, what changes included.
func TestParametersBreak(t *testing.T) {
	parse := func(text string) []source.Change {
		changes := controltest.Objects(t, text)
		return changes
	}
	for name, gone := range map[string]string{"the Gateway's": "name: own}}", "its class's": "name: all}}"} {
		tr := control.NewTranslator(control.Options{Provision: true})
		tr.Apply(parse(objects))
		broken := strings.Replace(objects, gone, "name: none}}", 1)
		got := tr.Apply(parse(strings.Replace(broken, "port: 80", "port: 81", 1)))
		edge := source.Name{Namespace: "default", Name: "edge"}
		if all := tr.Gateways(); len(all) != 1 || all[0] != edge {
			t.Errorf("%s: the Gateways that are ours are %v", name, all)
		}
		for _, p := range got.Plans {
			if p != nil {
				t.Errorf("%s: there is a plan %+v", name, p)
			}
		}
		serves := false
		for _, l := range tr.Resources(edge).Listeners {
			serves = serves || l.Name == "default/edge/81"
		}
		if !serves {
			t.Errorf("%s: what the Gateway says is not served any more", name)
		}
	}
}

func TestAddresses(t *testing.T) {
	s := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ClusterIPs: []string{"10.0.0.1"}}}
	if got := infra.Addresses(s); len(got) != 0 {
		t.Errorf("a load balancer without an address is at %v", got)
	}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {Hostname: "lb.example"}}
	if got := infra.Addresses(s); !slices.Equal(got, []string{"192.0.2.1", "lb.example"}) {
		t.Errorf("it is at %v", got)
	}
	s.Spec.Type = corev1.ServiceTypeClusterIP
	if got := infra.Addresses(s); !slices.Equal(got, []string{"10.0.0.1"}) {
		t.Errorf("a ClusterIP is at %v", got)
	}
}

// cluster keeps what is applied; it fails as long as it is told to.
type cluster struct {
	mu    sync.Mutex
	bad   bool
	times map[string]int
	// there are the objects of before, by resource and name, and whose they are.
	there map[string]source.Name
	// asked, if not nil, is called when what is there is asked for.
	asked func()
}

func (c *cluster) Provisioned(_ context.Context, controller string) ([]infra.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked != nil {
		c.asked()
	}
	if controller != "weir.dev/gateway-controller" {
		return nil, fmt.Errorf("asked for what is of %q", controller)
	}
	var out []infra.Object
	for at, gateway := range c.there {
		resource, name, _ := strings.Cut(at, "/")
		out = append(out, infra.Object{Resource: resource, Namespace: gateway.Namespace, Name: name, Gateway: gateway, UID: "x"})
	}
	return out, nil
}

func (c *cluster) Apply(_ context.Context, o infra.Object) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad {
		return errors.New("not now")
	}
	if o.UID != "" && o.Body == nil {
		delete(c.there, o.Resource+"/"+o.Name)
		return nil
	}
	c.times[o.Resource]++
	return nil
}

// Plans are applied when somebody runs the Provisioner, again when that failed, when
// something has gone, and from time to time.
func TestProvisioner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{bad: true, times: map[string]int{}}
		p := infra.NewProvisioner(c, infra.Options{Controller: "weir.dev/gateway-controller"}, slog.New(slog.DiscardHandler))
		name := source.Name{Namespace: "default", Name: "edge"}
		p.Provision([]*infra.Plan{{Gateway: name, Class: "weir", Labels: map[string]string{}, Annotations: map[string]string{}}}, []source.Name{name})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.Run(ctx) })
		applied := func(want int) {
			t.Helper()
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, resource := range []string{"serviceaccounts", "configmaps", "deployments", "services", "horizontalpodautoscalers", "poddisruptionbudgets"} {
				if c.times[resource] != want {
					t.Fatalf("applied %v, want each %d times", slices.Sorted(maps.Keys(c.times)), want)
				}
			}
		}
		applied(0)
		c.mu.Lock()
		c.bad = false
		c.mu.Unlock()
		time.Sleep(3 * time.Second)
		applied(1)
		p.Again(name)
		applied(2)
		time.Sleep(5 * time.Minute)
		applied(3)
		p.Provision(nil, nil)
		p.Again(name)
		time.Sleep(time.Hour)
		applied(3)
		cancel()
		wg.Wait()
	})
}

// What Gateways have no more is removed: of those that are not ours, and of another class
// that one had before. Of one that asks for what there is not, everything stays.
func TestStrays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		edge, broken, gone := source.Name{Namespace: "default", Name: "edge"}, source.Name{Namespace: "default", Name: "broken"}, source.Name{Namespace: "default", Name: "gone"}
		c := &cluster{times: map[string]int{}, there: map[string]source.Name{
			"services/edge-weir": edge, "services/edge-old": edge, "services/broken-weir": broken, "services/gone-weir": gone, "deployments/gone-weir": gone,
		}}
		p := infra.NewProvisioner(c, infra.Options{Controller: "weir.dev/gateway-controller"}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.Run(ctx) })
		left := func(want ...string) {
			t.Helper()
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			if got := slices.Sorted(maps.Keys(c.there)); !slices.Equal(got, want) {
				t.Errorf("there is %v, want %v", got, want)
			}
		}
		time.Sleep(time.Hour)
		left("deployments/gone-weir", "services/broken-weir", "services/edge-old", "services/edge-weir", "services/gone-weir") // Nothing is known yet.
		plan := func(class string) []*infra.Plan {
			return []*infra.Plan{{Gateway: edge, Class: class, Labels: map[string]string{}, Annotations: map[string]string{}}}
		}
		p.Provision(plan("weir"), []source.Name{edge, broken})
		left("services/broken-weir", "services/edge-weir")
		c.mu.Lock()
		c.bad = true
		c.mu.Unlock()
		p.Provision(plan("new"), []source.Name{edge, broken})
		left("services/broken-weir", "services/edge-weir") // The new ones are not there yet.
		c.mu.Lock()
		c.bad = false
		c.mu.Unlock()
		time.Sleep(time.Minute)
		left("services/broken-weir")
		p.Provision(nil, []source.Name{edge})
		left()
		cancel()
		wg.Wait()
	})
}

// What its Gateway has no more is removed although another Plan comes while that is found out.
func TestStraysOfTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		edge := source.Name{Namespace: "default", Name: "edge"}
		c := &cluster{times: map[string]int{}, there: map[string]source.Name{"services/edge-weir": edge, "services/edge-old": edge}}
		p := infra.NewProvisioner(c, infra.Options{Controller: "weir.dev/gateway-controller"}, slog.New(slog.DiscardHandler))
		provision := func() {
			p.Provision([]*infra.Plan{{Gateway: edge, Class: "weir", Labels: map[string]string{}, Annotations: map[string]string{}}}, []source.Name{edge})
		}
		c.asked = sync.OnceFunc(provision)
		provision()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.Run(ctx) })
		synctest.Wait()
		c.mu.Lock()
		if got := slices.Sorted(maps.Keys(c.there)); !slices.Equal(got, []string{"services/edge-weir"}) {
			t.Errorf("there is %v", got)
		}
		c.mu.Unlock()
		cancel()
		wg.Wait()
	})
}

// What is looked for is what is applied.
func TestKinds(t *testing.T) {
	var want []string
	for _, o := range infra.Kinds() {
		want = append(want, o.Group+"/"+o.Version+"/"+o.Resource)
	}
	var got []string
	for _, o := range made(t, counted(t, &infra.Redis{URL: "redis://:word@redis:6379"}), infra.Options{}) {
		got = append(got, o.Group+"/"+o.Version+"/"+o.Resource)
	}
	if !slices.Equal(got, want) {
		t.Errorf("applied is %v, and looked for %v", got, want)
	}
}
