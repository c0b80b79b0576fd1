// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/internal/golden"
)

// TestSchemas compares the schemas with the CRDs of the module sigs.k8s.io/gateway-api.
func TestSchemas(t *testing.T) {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "config/crd/experimental/gateway.networking.*.yaml"))
	n := 0
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var crd map[string]any
		if err := yaml.Unmarshal(data, &crd); err != nil {
			t.Fatal(err)
		}
		if crd["kind"] != "CustomResourceDefinition" || strings.Contains(f, "xmeshes") { // Meshes are not read.
			continue
		}
		n++
		name, want := schemaOf(t, crd)
		if golden.Updating() {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Schemas.ReadFile(name)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what the module has (%v): run go test ./control/api/crd -update", name, err)
		}
	}
	if n != 12 {
		t.Errorf("%d CRDs: is there a new one?", n)
	}
}

// TestInstalled compares the schemas of Weir's own kinds, and of what it has in common with
// others, with the CRDs that are
// installed.
func TestInstalled(t *testing.T) {
	files, err := filepath.Glob("../../../deploy/crds/weir.dev_*.yaml")
	files = append(files, "../../../deploy/crds/envoy-gateway/gateway.envoyproxy.io_backends.yaml")
	if err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { compareInstalled(t, file) })
	}
}

func compareInstalled(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var crd map[string]any
	if err := yaml.Unmarshal(data, &crd); err != nil {
		t.Fatal(err)
	}
	name, want := schemaOf(t, crd)
	data, err = Schemas.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var own map[string]any
	if err := json.Unmarshal(data, &own); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(own)
	if err != nil || string(got)+"\n" != string(want) {
		t.Errorf("%s is\n%s\n%v, and what is installed\n%s", name, got, err, want)
	}
}

func schemaOf(t *testing.T, crd map[string]any) (name string, data []byte) {
	t.Helper()
	spec := crd["spec"].(map[string]any)
	versions := spec["versions"].([]any)
	newest := versions[0].(map[string]any)
	for _, v := range versions {
		if v.(map[string]any)["name"] == "v1" {
			newest = v.(map[string]any)
		}
	}
	s := strip(newest["schema"].(map[string]any)["openAPIV3Schema"]).(map[string]any)
	delete(s["properties"].(map[string]any), "status")
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	kind := spec["names"].(map[string]any)["kind"].(string)
	return strings.ToLower(kind) + "." + spec["group"].(string) + ".json", append(data, '\n')
}

// strip leaves descriptions out, which are not fields that are called so.
func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "description")
		for k, x := range v {
			if k == "properties" {
				for n, p := range x.(map[string]any) {
					x.(map[string]any)[n] = strip(p)
				}
				continue
			}
			v[k] = strip(x)
		}
	case []any:
		for i := range v {
			v[i] = strip(v[i])
		}
	}
	return v
}
