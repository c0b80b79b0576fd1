// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
)

// granted returns what the roles of a file of deploy grant: "verb group/resource".
func granted(t *testing.T, file string) map[string]bool {
	t.Helper()
	data, err := os.ReadFile("../../../deploy/" + file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for text := range strings.SplitSeq(string(data), "\n---\n") {
		var o struct {
			Kind  string
			Rules []struct {
				Groups    []string `yaml:"apiGroups"`
				Resources []string
				Verbs     []string
			}
		}
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		if o.Kind != "ClusterRole" {
			continue
		}
		for _, r := range o.Rules {
			for _, g := range r.Groups {
				for _, resource := range r.Resources {
					for _, v := range r.Verbs {
						out[v+" "+g+"/"+resource] = true
					}
				}
			}
		}
	}
	return out
}

// What deploy grants is what is read, written and provisioned, and no more: each right is used, and none is missing. Of a group
// whose kinds are many, one right is all of them.
func TestRights(t *testing.T) {
	want, have := map[string]bool{}, granted(t, "rbac.yaml")
	need := func(verb, group, resource string) {
		kind, _, _ := strings.Cut(resource, "/")
		if all := strings.Replace(resource, kind, "*", 1); have[verb+" "+group+"/"+all] {
			resource = all
		}
		want[verb+" "+group+"/"+resource] = true
	}
	for _, kind := range source.Types() {
		if kind.Files {
			continue
		}
		need("list", kind.Group, kind.Resource)
		need("watch", kind.Group, kind.Resource)
		if status.Of(kind.New()) != nil && kind.Group != "config.istio.io" { // Which had no statuses.
			need("get", kind.Group, kind.Resource) // As it is now, when somebody else has written it meanwhile.
			need("patch", kind.Group, kind.Resource+"/status")
		}
	}
	// Of earlier names of kinds only these are beside those of today: no apiserver that has these has the others.
	need("list", source.OldEnvoyProxy.Group, "envoyproxies")
	need("watch", source.OldEnvoyProxy.Group, "envoyproxies")
	for _, verb := range []string{"get", "list", "watch"} {
		need(verb, "gateway.networking.x-k8s.io", "xlistenersets")
	}
	need("patch", "gateway.networking.x-k8s.io", "xlistenersets/status")
	same(t, "rbac.yaml", have, want)

	have, want = granted(t, "control.yaml"), map[string]bool{"create authentication.k8s.io/tokenreviews": true}
	redis := map[string]bool{}
	for _, o := range infra.Kinds() {
		for _, verb := range []string{"create", "delete", "list", "patch"} {
			switch right := verb + " " + o.Group + "/" + o.Resource; {
			case o.Kind != "Secret":
				want[right] = true
			case verb != "list": // rbac.yaml has it.
				redis[right] = true
			}
		}
	}
	same(t, "control.yaml", have, want)
	same(t, "redis.yaml", granted(t, "redis.yaml"), redis)
}

func same(t *testing.T, file string, have, want map[string]bool) {
	t.Helper()
	for _, right := range slices.Sorted(maps.Keys(want)) {
		if !have[right] {
			t.Errorf("deploy/%s does not grant %s", file, right)
		}
	}
	for _, right := range slices.Sorted(maps.Keys(have)) {
		if !want[right] {
			t.Errorf("deploy/%s grants %s, which nobody needs", file, right)
		}
	}
}
