// SPDX-License-Identifier: Apache-2.0

package infra_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
)

const patched = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller, parametersRef: {group: weir.dev, kind: GatewayParameters, namespace: system, name: all}}
---
apiVersion: weir.dev/v1alpha1
kind: GatewayParameters
metadata: {name: all, namespace: system}
spec:
  service: {type: NodePort, externalTrafficPolicy: Local}
  names: {Deployment: edge-proxies, Service: front}
  args: [--concurrency, "2"]
  bootstrap:
    type: Merge
    value: |
      layered_runtime: {layers: [{name: static, static_layer: {a: 1}}]}
      static_resources: {clusters: [{name: mine, type: STATIC, connect_timeout: 1s}]}
  autoscaling: {maxReplicas: 3}
  disruptionBudget: {maxUnavailable: 1}
  patches:
  - kind: Deployment
    value:
      spec:
        strategy: {$patch: replace, type: Recreate}
        template:
          metadata: {labels: {zone: a}}
          spec:
            tolerations: [{key: edge, operator: Exists}]
            volumes: [{name: config, emptyDir: {}}]
            containers:
            - {name: proxy, env: [{name: GODEBUG, value: x=1}], volumeMounts: [{name: config, mountPath: /tmp/x}]}
            - {name: beside, image: beside}
  - {kind: Service, type: JSONMerge, value: {spec: {ports: [{port: 443, name: tcp-443}], type: ClusterIP, externalTrafficPolicy: null}}}
  - {kind: PodDisruptionBudget, value: {spec: {maxUnavailable: null, minAvailable: 50%}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, uid: 1b4e28ba-2fa1-11d2-883f-0016d3cca427}
spec:
  gatewayClassName: weir
  listeners: [{name: http, port: 80, protocol: HTTP}]
`

// Patches change single fields, and leave what they do not speak of.
func TestPatches(t *testing.T) {
	text := map[string]string{}
	names := map[string]string{}
	for _, o := range made(t, plans(t, patched)[0], infra.Options{Image: "weir", Server: "x:1"}) {
		if o.Body == nil {
			continue
		}
		names[o.Kind] = o.Name
		data, err := json.Marshal(o.Body)
		if err != nil {
			t.Fatal(err)
		}
		text[o.Kind] = string(data)
	}
	has := func(kind string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			not := strings.HasPrefix(want, "!")
			if strings.Contains(text[kind], strings.TrimPrefix(want, "!")) == not {
				t.Errorf("%s: %s is not so:\n%s", kind, want, text[kind])
			}
		}
	}
	has(infra.Deployment, `"strategy":{"type":"Recreate"}`, `"zone":"a"`, `"key":"edge"`, `"weir-config"`, `"name":"GODEBUG"`, `"name":"POD_NAME"`,
		`"mountPath":"/tmp/x"`, `"mountPath":"/etc/weir"`, `"name":"beside"`, `"--concurrency","2"`, `!$patch`)
	has(infra.Service, `"port":443`, `"type":"ClusterIP"`, "!externalTrafficPolicy", `!"port":80`)
	has(infra.Budget, `"minAvailable":"50%"`, "!maxUnavailable")
	has(infra.Autoscaler, `"name":"edge-proxies"`)
	has("ConfigMap", `layered_runtime`, `weir.dev/ready`, `mine`)
	for kind, want := range map[string]string{
		infra.Deployment: "edge-proxies", infra.Service: "front", infra.ServiceAccount: "edge-weir", infra.Autoscaler: "edge-weir", "ConfigMap": "edge-weir",
	} {
		if names[kind] != want {
			t.Errorf("the %s is called %s, want %s", kind, names[kind], want)
		}
	}
}

// What cannot be done is found before anything is applied.
func TestCheck(t *testing.T) {
	patch := func(kind, value string) v1alpha1.GatewayParametersSpec {
		var v map[string]any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			t.Fatal(err)
		}
		return v1alpha1.GatewayParametersSpec{Patches: []v1alpha1.ObjectPatch{{Kind: kind, Value: v}}}
	}
	bootstrap := func(kind, value string) v1alpha1.GatewayParametersSpec {
		return v1alpha1.GatewayParametersSpec{Bootstrap: &v1alpha1.BootstrapParameters{Type: &kind, Value: &value}}
	}
	daemons := infra.DaemonSet
	daemonSet := patch(infra.DaemonSet, `{"spec": {"updateStrategy": {"type": "OnDelete"}}}`)
	daemonSet.Workload = &daemons
	for name, tt := range map[string]struct {
		spec v1alpha1.GatewayParametersSpec
		want string
	}{
		"nothing":           {v1alpha1.GatewayParametersSpec{}, ""},
		"a DaemonSet":       {daemonSet, ""},
		"a field":           {patch(infra.Deployment, `{"spec": {"replicaz": 1}}`), `Deployment: unknown field "replicaz"`},
		"a type":            {patch(infra.Deployment, `{"spec": {"minReadySeconds": "many"}}`), "Deployment: cannot unmarshal string"},
		"a list for a map":  {patch(infra.Deployment, `{"spec": []}`), "Deployment: "},
		"a list of texts":   {patch(infra.Deployment, `{"spec": {"template": {"spec": {"containers": ["x"]}}}}`), "Deployment: "},
		"no merge key":      {patch(infra.Deployment, `{"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}`), "Deployment: "},
		"a directive":       {patch(infra.Deployment, `{"spec": {"$patch": "explode"}}`), "Deployment: "},
		"another name":      {patch(infra.Service, `{"metadata": {"name": "x"}}`), "metadata.name, which has to stay"},
		"another selector":  {patch(infra.Service, `{"spec": {"selector": {"a": "b"}}}`), "spec.selector, which has to stay"},
		"no container":      {patch(infra.Deployment, `{"spec": {"template": {"spec": {"containers": [{"name": "proxy", "$patch": "delete"}]}}}}`), `take away the container "proxy"`},
		"other arguments":   {patch(infra.Deployment, `{"spec": {"template": {"spec": {"containers": [{"name": "proxy", "args": ["x"]}]}}}}`), `change its arguments`},
		"another kind":      {patch("Secret", `{}`), "Secret: there are patches of"},
		"no expression":     {v1alpha1.GatewayParametersSpec{Metrics: &v1alpha1.MetricsParameters{Include: []v1alpha1.NameMatch{{}, {Regex: new("(")}}}}, "metrics: include[1].regex is not a regular expression"},
		"no label":          {v1alpha1.GatewayParametersSpec{Names: map[string]string{infra.Service: "A.b"}}, `Service: "A.b" cannot be its name`},
		"no name to give":   {v1alpha1.GatewayParametersSpec{Names: map[string]string{infra.ServiceAccount: "a"}}, "keep their names"},
		"a bootstrap":       {bootstrap("Merge", "stats_flush_interval: 1s"), ""},
		"Envoy Gateway's":   {bootstrap("Replace", "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 19000}}}\nstats_flush_interval: 2s\ndynamic_resources: {ads_config: {api_type: DELTA_GRPC}}\nstatic_resources: {clusters: [{name: xds_cluster}], listeners: [{name: envoy-gateway-proxy-ready-0.0.0.0-19003}]}\n"), ""},
		"no YAML":           {bootstrap("Merge", "{"), "bootstrap: "},
		"an unknown field":  {bootstrap("Merge", "statz: 1"), `bootstrap: unknown field "statz"`},
		"another server":    {bootstrap("Merge", "dynamic_resources: {ads_config: {api_type: GRPC}}"), "bootstrap: dynamic_resources has to stay"},
		"another node":      {bootstrap("Merge", "node: {cluster: x}"), "bootstrap: node.cluster has to stay"},
		"another admin":     {bootstrap("Merge", "admin: {address: {socket_address: {address: 0.0.0.0}}}"), "bootstrap: admin.address.socket_address.address has to stay"},
		"no admin":          {bootstrap("Merge", "admin: {address: {pipe: {path: /a}, socket_address: null}}"), "bootstrap: "},
		"another port":      {bootstrap("Merge", "admin: {address: {socket_address: {port_value: 9901}}}"), ""},
		"the port of ready": {bootstrap("Merge", "admin: {address: {socket_address: {port_value: 19001}}}"), "bootstrap: admin.address.socket_address.port_value is that of"},
		"no bootstrap type": {bootstrap("Explode", "node: {}"), `bootstrap: the type "Explode"`},
	} {
		t.Run(name, func(t *testing.T) {
			problems := infra.Check(&tt.spec)
			got := ""
			if len(problems) > 0 {
				got = problems[0].Error()
			}
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("it says %q, want %q", got, tt.want)
			}
		})
	}
}

func TestJSONPatch(t *testing.T) {
	kind := "JSONPatch"
	spec := v1alpha1.GatewayParametersSpec{Bootstrap: &v1alpha1.BootstrapParameters{Type: &kind, JSONPatches: []v1alpha1.JSONPatchOperation{
		{Op: "add", Path: "/stats_flush_interval", Value: "3s"},
	}}}
	plan := &infra.Plan{Gateway: source.Name{Namespace: "a", Name: "b"}, Labels: map[string]string{}, Annotations: map[string]string{}, Parameters: spec}
	if text := fmt.Sprint(made(t, plan, infra.Options{Server: "x:1"})[1].Body); !strings.Contains(text, `"stats_flush_interval": "3s"`) {
		t.Error(text)
	}
	spec.Bootstrap.JSONPatches[0].Op = "remove"
	if problems := infra.Check(&spec); len(problems) != 1 || problems[0].Kind != "" {
		t.Errorf("what is not there can be removed: %v", problems)
	}
}

// FuzzCheck has patches of any form make no more than problems.
func FuzzCheck(f *testing.F) {
	f.Add(infra.Deployment, `{"spec": {"template": {"spec": {"containers": [{"name": "proxy", "$patch": "delete"}]}}}}`, "a: b")
	f.Add(infra.Service, `{"spec": {"$setElementOrder/ports": [{"port": 80}], "ports": [{"port": 80, "$retainKeys": ["x"]}]}}`, "static_resources: []")
	f.Add(infra.Budget, `{"$deleteFromPrimitiveList/spec": [1], "spec": null}`, "[]")
	f.Fuzz(func(_ *testing.T, kind, value, bootstrap string) {
		var v map[string]any
		if json.Unmarshal([]byte(value), &v) != nil {
			return
		}
		infra.Check(&v1alpha1.GatewayParametersSpec{
			Patches: []v1alpha1.ObjectPatch{{Kind: kind, Value: v}}, Bootstrap: &v1alpha1.BootstrapParameters{Value: &bootstrap},
		})
	})
}

// Of two Gateways whose parameters give an object one name, the first by name has it.
func TestTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{times: map[string]int{}}
		p := infra.NewProvisioner(c, infra.Options{Server: "x:1", Controller: "weir.dev/gateway-controller"}, slog.New(slog.DiscardHandler))
		plan := func(gateway, service string) *infra.Plan {
			return &infra.Plan{
				Gateway: source.Name{Namespace: "default", Name: gateway}, Class: "weir", Labels: map[string]string{}, Annotations: map[string]string{},
				Parameters: v1alpha1.GatewayParametersSpec{Names: map[string]string{infra.Service: service}},
			}
		}
		a, b := plan("a", "front"), plan("b", "front")
		p.Provision([]*infra.Plan{b, a}, []source.Name{a.Gateway, b.Gateway})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.Run(ctx) })
		applied := func(want int) {
			t.Helper()
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.times["services"] != want {
				t.Errorf("Services are applied %d times, want %d", c.times["services"], want)
			}
		}
		applied(1)
		p.Provision([]*infra.Plan{plan("b", "back")}, []source.Name{a.Gateway, b.Gateway})
		applied(2)
		cancel()
		wg.Wait()
	})
}
