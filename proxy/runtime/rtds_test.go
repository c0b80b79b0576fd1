// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/xds"
)

// A layer of a management server takes its place among the others; once it is gone, the
// layers below hold, and what is wrong leaves the last good one.
func TestDiscoveredLayers(t *testing.T) {
	r, store := load(t, `{"layers":[
{"name":"below","static_layer":{"a":1,"b":1}},
{"name":"first","rtds_layer":{"name":"one","rtds_config":{"ads":{}}}},
{"name":"second","rtds_layer":{"name":"two","rtds_config":{"ads":{}}}},
{"name":"above","static_layer":{"b":9}},
{"name":"admin","admin_layer":{}}]}`)
	d := resource.NewDirectory(nil)
	if err := r.Discover(d); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Awaited()); n != 2 {
		t.Fatalf("%d layers are awaited", n)
	}
	ready := func(i int) bool {
		select {
		case <-r.Awaited()[i].Ready():
			return true
		default:
			return false
		}
	}
	set := func(name string, values map[string]any) error {
		s, err := structpb.NewStruct(values)
		if err != nil {
			t.Fatal(err)
		}
		return d.Set(resource.ID{Kind: xds.KindRuntime, Name: name}, s, "1")
	}
	check := func(want string) {
		t.Helper()
		a, _ := r.Int("a")
		b, _ := r.Int("b")
		c, _ := r.String("c.d")
		if got := fmt.Sprint(a, b, c); got != want {
			t.Errorf("a, b and c.d are %s, want %s", got, want)
		}
	}
	check("1 9")
	if ready(0) || ready(1) {
		t.Error("ready before anything came")
	}
	if err := set("one", map[string]any{"a": 2, "b": 2, "c": map[string]any{"d": "x"}}); err != nil {
		t.Error(err)
	}
	check("2 9x")
	if !ready(0) || ready(1) {
		t.Error("not the first alone is ready")
	}
	if err := set("two", map[string]any{"a": 3}); err != nil {
		t.Error(err)
	}
	check("3 9x")
	if err := set("two", map[string]any{"a": []any{1}}); err == nil || !strings.Contains(err.Error(), "layer: a: a runtime value is") {
		t.Errorf("error is %v", err)
	}
	check("3 9x")
	if err := r.Modify(map[string]string{"a": "4"}); err != nil {
		t.Error(err)
	}
	check("4 9x")
	if err := r.Modify(map[string]string{"a": ""}); err != nil {
		t.Error(err)
	}
	d.Remove(resource.ID{Kind: xds.KindRuntime, Name: "two"})
	check("2 9x")
	d.Remove(resource.ID{Kind: xds.KindRuntime, Name: "one"})
	check("1 9")
	m := metrics(store)
	for name, want := range map[string]uint64{"runtime.update_success": 2, "runtime.update_rejected": 1, "runtime.update_attempt": 3} {
		if got := m[name].Count; got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	if got := m["runtime.num_layers"].Level; got != 5 {
		t.Errorf("there are %d layers", got)
	}
}
