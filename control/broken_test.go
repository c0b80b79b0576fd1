// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/source"
)

// TestBrokenAmongGood has 1,000 objects that are wrong among 5,000 that are not: those are served as if they were alone,
// and each of these says in its status where it is wrong and why.
func TestBrokenAmongGood(t *testing.T) {
	good, broken := 5000, 1000
	if testing.Short() {
		good, broken = 500, 100
	}
	all := controltest.Objects(t, edge)
	for i := range good {
		all = append(all, routeOf(fmt.Sprint("good-", i), func(*gwapiv1.HTTPRoute) {})...)
	}
	ways := []struct {
		change     func(*gwapiv1.HTTPRoute)
		path, says string
	}{
		{func(o *gwapiv1.HTTPRoute) { o.Spec.Rules[0].BackendRefs[0].Name = "none" }, "spec.rules[0].backendRefs[0]", "there is no Service default/none"},
		{func(o *gwapiv1.HTTPRoute) {
			kind, value := gwapiv1.PathMatchRegularExpression, "("
			o.Spec.Rules[0].Matches = []gwapiv1.HTTPRouteMatch{{Path: &gwapiv1.HTTPPathMatch{Type: &kind, Value: &value}}}
		}, "spec.rules[0].matches[0].path.value", "is not a regular expression"},
		{func(o *gwapiv1.HTTPRoute) {
			section := gwapiv1.SectionName("none")
			o.Spec.ParentRefs[0].SectionName = &section
		}, "spec.parentRefs[0]", "none"},
		{func(o *gwapiv1.HTTPRoute) {
			other := gwapiv1.Namespace("other")
			o.Spec.Rules[0].BackendRefs[0].Namespace = &other
		}, "spec.rules[0].backendRefs[0]", "no ReferenceGrant"},
	}
	for i := range broken {
		all = append(all, routeOf(fmt.Sprint("broken-", i), ways[i%len(ways)].change)...)
	}
	w := controltest.NewWorld(t, control.Options{})
	w.Apply(all...)

	table, _ := w.Snapshot().Routes().Get("default/edge/80")
	served := map[string]string{}
	for _, vh := range table.GetVirtualHosts() {
		for _, r := range vh.GetRoutes() {
			served[vh.GetDomains()[0]] = r.GetRoute().GetCluster()
		}
	}
	for i := range good {
		if got, want := served[fmt.Sprintf("good-%d.example.com", i)], fmt.Sprintf("default/good-%d/80", i); got != want {
			t.Fatalf("good-%d leads to %q", i, got)
		}
	}
	said := 0
	for _, u := range w.Statuses() {
		name, ok := strings.CutPrefix(u.Key.Name.Name, "broken-")
		if !ok {
			if len(u.Problems) > 0 {
				t.Errorf("%s: %v", u.Key, u.Problems)
			}
			continue
		}
		said++
		i := 0
		if _, err := fmt.Sscan(name, &i); err != nil {
			t.Fatal(err)
		}
		if way := ways[i%len(ways)]; len(u.Problems) != 1 || !strings.HasPrefix(u.Problems[0].Path, way.path) || !strings.Contains(u.Problems[0].Message, way.says) {
			t.Fatalf("%s: %v, want %s: %s", u.Key, u.Problems, way.path, way.says)
		}
	}
	if said != broken {
		t.Errorf("%d of %d say what is wrong", said, broken)
	}
}

// routeOf returns a Service and a route to it, for a host of the same name, which is changed.
func routeOf(name string, change func(*gwapiv1.HTTPRoute)) []source.Change {
	at := source.Name{Namespace: "default", Name: name}
	meta := metav1.ObjectMeta{Namespace: at.Namespace, Name: at.Name}
	port := gwapiv1.PortNumber(80)
	o := &gwapiv1.HTTPRoute{ObjectMeta: meta}
	o.Spec.ParentRefs = []gwapiv1.ParentReference{{Name: "edge"}}
	o.Spec.Hostnames = []gwapiv1.Hostname{gwapiv1.Hostname(name + ".example.com")}
	ref := gwapiv1.HTTPBackendRef{BackendRef: gwapiv1.BackendRef{BackendObjectReference: gwapiv1.BackendObjectReference{Name: gwapiv1.ObjectName(name), Port: &port}}}
	o.Spec.Rules = []gwapiv1.HTTPRouteRule{{BackendRefs: []gwapiv1.HTTPBackendRef{ref}}}
	change(o)
	s := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	return []source.Change{
		{Key: source.Key{Kind: source.HTTPRoute, Name: at}, Object: o},
		{Key: source.Key{Kind: source.Service, Name: at}, Object: s},
	}
}
