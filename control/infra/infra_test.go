// SPDX-License-Identifier: Apache-2.0

package infra_test

import (
	"context"
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
	"k8s.io/apimachinery/pkg/util/validation"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/golden"
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
	changes, problems := controltest.Parse(t, &golden.Archive{Files: []golden.File{{Name: "in.yaml", Data: text}}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return control.NewTranslator(control.Options{Provision: true}).Apply(changes).Plans
}

// A Gateway's parameters win over its class's, field by field, and all of it is in the objects.
func TestObjects(t *testing.T) {
	all := plans(t, objects)
	if len(all) != 1 {
		t.Fatalf("there are %d plans", len(all))
	}
	made := map[string]map[string]any{}
	for _, o := range all[0].Objects(infra.Options{Image: "weir", Server: "weir-control.weir-system.svc:18000", CA: "PEM"}) {
		if o.Name != "edge-weir" || o.Namespace != "default" {
			t.Errorf("%s is %s/%s", o.Resource, o.Namespace, o.Name)
		}
		made[o.Resource] = o.Body
	}
	has := func(resource string, wants ...string) {
		t.Helper()
		text := fmt.Sprint(made[resource])
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
	if made["horizontalpodautoscalers"] != nil {
		t.Error("a Gateway whose parameters have replicas is scaled by its class's")
	}

	scaled := plans(t, strings.Replace(objects, "replicas: 3, ", "", 1))[0]
	clear(made)
	for _, o := range scaled.Objects(infra.Options{}) {
		made[o.Resource] = o.Body
	}
	has("horizontalpodautoscalers", owner, "minReplicas:2", "maxReplicas:5", "averageUtilization:80")
	if strings.Contains(fmt.Sprint(made["deployments"]["spec"]), "replicas:") {
		t.Error("the Deployment of proxies that are scaled has a number of its own")
	}
}

// What proxies start from is a bootstrap that can be read.
func TestBootstrap(t *testing.T) {
	for _, o := range plans(t, objects)[0].Objects(infra.Options{Server: "x:1"}) {
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

func TestNothingToRun(t *testing.T) {
	for name, text := range map[string]string{
		"no parameters": strings.Replace(objects, "name: own}}", "name: none}}", 1),
		"no listener":   strings.NewReplacer("protocol: HTTP", "protocol: x.org/a", "protocol: UDP", "protocol: x.org/b").Replace(objects),
		"another class": strings.Replace(objects, "gatewayClassName: weir", "gatewayClassName: x", 1),
	} {
		if all := plans(t, text); len(all) > 0 {
			t.Errorf("%s: there is a plan %+v", name, all[0])
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
}

func (c *cluster) Apply(_ context.Context, o infra.Object) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad {
		return errors.New("not now")
	}
	c.times[o.Resource]++
	return nil
}

// Plans are applied when somebody runs the Provisioner, again when that failed, when
// something has gone, and from time to time.
func TestProvisioner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{bad: true, times: map[string]int{}}
		p := infra.NewProvisioner(c, infra.Options{}, slog.New(slog.DiscardHandler))
		name := source.Name{Namespace: "default", Name: "edge"}
		p.Provision([]*infra.Plan{{Gateway: name, Class: "weir", Labels: map[string]string{}, Annotations: map[string]string{}}}, nil)
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
		p.Provision(nil, []source.Name{name})
		p.Again(name)
		time.Sleep(time.Hour)
		applied(3)
		cancel()
		wg.Wait()
	})
}
