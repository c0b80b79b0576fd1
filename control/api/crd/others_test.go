// SPDX-License-Identifier: Apache-2.0

package crd_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/golden"
)

const head = `# CRDs of the kinds of this group that Weir reads, for a cluster that has not got those of their own project, which do as
# well. Their fields are those of Weir's types: the apiserver refuses, or drops, what is none. Written by
# go test ./control/api/crd -update.
`

// others are the groups of other projects whose CRDs are written from Weir's types, and
// their files.
func others() map[string]string {
	return map[string]string{
		"getambassador.io": "emissary/getambassador.io.yaml", "networking.istio.io": "istio/networking.istio.io.yaml",
		"security.istio.io": "istio/security.istio.io.yaml", "config.istio.io": "istio/config.istio.io.yaml",
		"gateway.envoyproxy.io": "envoy-gateway/gateway.envoyproxy.io.yaml", "config.gateway.envoyproxy.io": "envoy-gateway/config.gateway.envoyproxy.io.yaml",
	}
}

// TestOthers compares the CRDs of other projects' kinds that are installed with the types.
func TestOthers(t *testing.T) {
	want := map[string]string{}
	for _, k := range source.Types() {
		names := append([]source.Former{{Kind: k.Kind, Versions: k.Versions}}, k.Former...)
		for _, n := range names {
			file := others()[n.Group]
			if file == "" || k.Kind == source.EnvoyBackend { // That one has rules, and a file of its own.
				continue
			}
			want[file] = cmp.Or(want[file], head) + "---\n" + definition(t, n.Kind, k.Resource, n.Versions, k.New())
		}
	}
	if len(want) != len(others()) {
		t.Errorf("there are CRDs of %v", slices.Sorted(maps.Keys(want)))
	}
	for file, text := range want {
		path := filepath.Join("../../../deploy/crds", file)
		if golden.Updating() {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("%s is not what the types are (%v): run go test ./control/api/crd -update", path, err)
		}
	}
}

type fields = map[string]any

func definition(t *testing.T, kind source.Kind, plural string, versions []string, object any) string {
	t.Helper()
	properties := fields{"apiVersion": fields{"type": "string"}, "kind": fields{"type": "string"}, "metadata": fields{"type": "object"}, "status": anything("object")}
	of := reflect.TypeOf(object).Elem()
	for i := range of.NumField() {
		if f := of.Field(i); !f.Anonymous && nameOf(f) != "status" {
			properties[nameOf(f)] = schemaOfType(f.Type, nil)
		}
	}
	var list []any
	for i, v := range versions {
		list = append(list, fields{
			"name": v, "served": true, "storage": i == 0, "subresources": fields{"status": fields{}},
			"schema": fields{"openAPIV3Schema": fields{"type": "object", "properties": properties}},
		})
	}
	text, err := yaml.Marshal(fields{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": fields{"name": plural + "." + kind.Group},
		"spec": fields{
			"group": kind.Group, "scope": "Namespaced", "versions": list,
			"names": fields{"kind": kind.Kind, "listKind": kind.Kind + "List", "plural": plural, "singular": strings.ToLower(kind.Kind)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// anything is what may be all; of a type, if it is not "".
func anything(kind string) fields {
	out := fields{"x-kubernetes-preserve-unknown-fields": true}
	if kind != "" {
		out["type"] = kind
	}
	return out
}

func nameOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return cmp.Or(name, f.Name)
}

// schemaOfType is the schema of what a type reads. Within are the types that it is in: one that
// holds itself takes anything there.
func schemaOfType(of reflect.Type, within []reflect.Type) fields {
	if reflect.PointerTo(of).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return anything("") // It has several forms.
	}
	switch of.Kind() {
	case reflect.Pointer:
		return schemaOfType(of.Elem(), within)
	case reflect.String:
		return fields{"type": "string"}
	case reflect.Bool:
		return fields{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return fields{"type": "number"}
	case reflect.Slice:
		if of.Elem().Kind() == reflect.Uint8 {
			return fields{"type": "string"}
		}
		return fields{"type": "array", "items": schemaOfType(of.Elem(), within)}
	case reflect.Map:
		if of.Elem().Kind() == reflect.Interface {
			return anything("object")
		}
		return fields{"type": "object", "additionalProperties": schemaOfType(of.Elem(), within)}
	case reflect.Struct:
		if slices.Contains(within, of) {
			return anything("object")
		}
		properties := fields{}
		addFields(properties, of, append(slices.Clip(within), of))
		return fields{"type": "object", "properties": properties}
	case reflect.Interface:
		return anything("")
	}
	return fields{"type": "integer"}
}

// addFields adds those of a struct, and of what is embedded in it.
func addFields(to fields, of reflect.Type, within []reflect.Type) {
	for i := range of.NumField() {
		f := of.Field(i)
		switch name, _, _ := strings.Cut(f.Tag.Get("json"), ","); {
		case name == "-" || !f.IsExported():
		case f.Anonymous && name == "":
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			addFields(to, inner, within)
		default:
			to[nameOf(f)] = schemaOfType(f.Type, within)
		}
	}
}
