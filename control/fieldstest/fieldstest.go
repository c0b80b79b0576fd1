// SPDX-License-Identifier: Apache-2.0

// Package fieldstest holds the ledgers of dialects and policies to the Go types of the
// objects that they read.
package fieldstest

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/xds/ledger"
)

// Run compares a ledger with the fields that its messages have: each has a line, each
// line is one, and none is undecided.
func Run(t *testing.T, text string, messages map[string][]string) {
	t.Helper()
	got := map[string][]string{}
	for e := range ledger.MustParse(text).Entries() {
		if e.Verdict == ledger.Undecided {
			t.Errorf("fields.txt:%d: %s is undecided", e.Line, e.Field)
		}
		got[string(e.Message)] = append(got[string(e.Message)], e.Field)
	}
	for name, want := range messages {
		for _, f := range want {
			if !slices.Contains(got[name], f) {
				t.Errorf("message %s lacks: %s TODO", name, f)
			}
		}
		for _, f := range got[name] {
			if !slices.Contains(want, f) {
				t.Errorf("message %s has %s, which the type has not", name, f)
			}
		}
	}
}

// Spec returns the paths of all leaves of an object's spec.
func Spec(spec any) []string { return Leaves(spec, "spec") }

// Leaves returns the paths of all fields of v that are not made of fields, below root.
// Lists and maps have no step of their own.
func Leaves(v any, root string) []string {
	var out []string
	leaves(reflect.TypeOf(v), root, &out)
	return out
}

func leaves(typ reflect.Type, path string, out *[]string) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		typ = typ.Elem()
	}
	if !made(typ) {
		*out = append(*out, path)
		return
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "metadata" || name == "-" || f.Name == "TypeMeta":
		case name == "" && f.Anonymous:
			leaves(f.Type, path, out)
		case path == "":
			leaves(f.Type, name, out)
		default:
			leaves(f.Type, path+"."+name, out)
		}
	}
}

// made reports whether a type is made of fields that have names; one that reads itself
// in its own way is not.
func made(typ reflect.Type) bool {
	switch typ {
	case reflect.TypeFor[metav1.LabelSelector](), reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.Duration]():
		return false
	}
	if typ.Kind() != reflect.Struct {
		return false
	}
	for i := range typ.NumField() {
		if f := typ.Field(i); f.Tag.Get("json") == "" && !f.Anonymous {
			return false
		}
	}
	return true
}
