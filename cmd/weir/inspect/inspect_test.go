// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/golden"
	"weir.dev/weir/xds"
)

// TestWhatIsTold writes objects.yaml, chooses with the words of select.txt, and compares what is told in brief, or in
// the format of format.txt.
func TestWhatIsTold(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, a *golden.Archive) map[string]string {
		dir := t.TempDir()
		p := load(t, a, dir)
		var selectors []Selector
		words, _ := a.Get("select.txt")
		for _, word := range strings.Fields(words) {
			s, err := ParseSelector(word)
			if err != nil {
				t.Fatal(err)
			}
			selectors = append(selectors, s)
		}
		write := Brief
		if format, _ := a.Get("format.txt"); strings.TrimSpace(format) == "yaml" {
			write = YAML
		}
		b := &strings.Builder{}
		if err := write(b, p, selectors); err != nil {
			t.Fatal(err)
		}
		return map[string]string{"told": strings.ReplaceAll(b.String(), dir+"/", "")}
	})
}

// load reads objects.yaml, or the answer of a proxy in dump.json.
func load(t *testing.T, a *golden.Archive, dir string) *Picture {
	t.Helper()
	if dump, ok := a.Get("dump.json"); ok {
		p, err := ReadDump([]byte(dump))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	text, _ := a.Get("objects.yaml")
	file := filepath.Join(dir, "objects.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Files(control.Options{}, file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSelectors(t *testing.T) {
	for text, want := range map[string]struct {
		key source.Key
		is  bool
	}{
		"httproute":                {source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "a", Name: "b"}}, true},
		"HTTPRoutes/b":             {source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "a", Name: "b"}}, true},
		"httproute/a/b":            {source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "a", Name: "b"}}, true},
		"httproute/c/b":            {source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "a", Name: "b"}}, false},
		"gtw":                      {source.Key{Kind: source.Gateway, Name: source.Name{Namespace: "a", Name: "b"}}, true},
		"backend.weir.dev":         {source.Key{Kind: source.Backend, Name: source.Name{Namespace: "a", Name: "b"}}, true},
		"svc/b":                    {source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "a", Name: "b"}}, false},
		"cluster/default/shop/80":  {source.Key{Kind: source.Service, Name: source.Name{Namespace: "default", Name: "shop"}}, false},
		"gatewayclasses/something": {source.Key{Kind: source.GatewayClass, Name: source.Name{Name: "something"}}, true},
	} {
		s, err := ParseSelector(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := s.object(want.key); got != want.is {
			t.Errorf("%s chooses %s: %t", text, want.key, got)
		}
	}
	if _, err := ParseSelector("htproute/x"); err == nil || !strings.Contains(err.Error(), "did you mean httproute?") {
		t.Errorf("%v", err)
	}
}

// TestStatusesOfAClusterAreTold tells the status that stands in the cluster, and that there is none.
func TestStatusesOfAClusterAreTold(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(file, []byte(small), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Files(control.Options{}, file)
	if err != nil {
		t.Fatal(err)
	}
	var objects []source.Change
	for _, i := range p.Items {
		c := source.Change{Key: i.Key, Object: i.Object.DeepCopyObject().(source.Object)}
		if r, ok := c.Object.(*gwapiv1.HTTPRoute); ok {
			own := gwapiv1.RouteParentStatus{ParentRef: r.Spec.ParentRefs[0], ControllerName: control.DefaultController}
			own.Conditions = i.Status.Status.(*gwapiv1.RouteStatus).Parents[0].Conditions
			own.Conditions[0].Reason, own.Conditions[0].Status = "SaidByTheCluster", "False"
			other := own
			other.ControllerName = "example.com/other"
			r.Status.Parents = []gwapiv1.RouteParentStatus{other, own}
		}
		objects = append(objects, c)
	}
	b := &strings.Builder{}
	if err := Brief(b, Objects(control.Options{}, objects), nil); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Count(got, "SaidByTheCluster") != 1 || strings.Count(got, "not written yet") != 2 {
		t.Errorf("told:\n%s", got)
	}
}

const small = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: edge}]}
`

// TestPartsOfMany: what is told of all routes is found by looking at each once.
func TestPartsOfMany(t *testing.T) {
	const n = 20000
	b := &xds.Builder{}
	table := &routev3.RouteConfiguration{Name: "infra/edge/80"}
	for i := range n {
		name := fmt.Sprintf("c/%d", i)
		b.Clusters().Put(name, &clusterv3.Cluster{Name: name}, xds.Origin{})
		table.VirtualHosts = append(table.VirtualHosts, &routev3.VirtualHost{Name: name, Routes: []*routev3.Route{
			{Name: fmt.Sprintf("httproute/a/r%d/rule/0/match/0", i), Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name}}}},
			{Name: fmt.Sprintf("httproute/a/r%d", i)}, {Name: "other"},
		}})
	}
	b.Routes().Put(table.GetName(), table, xds.Origin{})
	all := newWhole(b.Build(""))
	for i := range n {
		key := source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "a", Name: fmt.Sprintf("r%d", i)}}
		got := all.part(key, nil)
		rc, _ := got.Routes().Get(table.GetName())
		if len(rc.GetVirtualHosts()) != 1 || len(rc.GetVirtualHosts()[0].GetRoutes()) != 1 || strings.Join(got.Clusters().Names(), " ") != fmt.Sprintf("c/%d", i) {
			t.Fatalf("%s: %v %v", key, rc, got.Clusters().Names())
		}
	}
	start := testing.AllocsPerRun(1, func() {
		all.part(source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "a", Name: "r7"}}, nil)
	})
	if start > 100 {
		t.Errorf("%v allocations for one route of %d", start, n)
	}
}
