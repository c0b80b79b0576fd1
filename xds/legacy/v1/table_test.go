// SPDX-License-Identifier: Apache-2.0

package v1_test

import (
	_ "embed"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds/legacy/v1"
	"weir.dev/weir/xds/load"
)

// fields are the fields of every object of v1, as Envoy's last schemas of it and its
// first have them: a line for each object.
//
//go:embed testdata/fields.txt
var fields string

// TestEveryFieldOfV1IsKnown holds the tables to the list of all fields.
func TestEveryFieldOfV1IsKnown(t *testing.T) {
	objects := v1.Objects()
	lines := 0
	for line := range strings.Lines(fields) {
		name, list, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		lines++
		has := map[string]bool{}
		found := false
		for _, o := range objects {
			if o.Name != name {
				continue
			}
			found = true
			for _, f := range o.Fields {
				has[f.Name] = true
			}
		}
		if !found {
			t.Errorf("no object is called %q", name)
			continue
		}
		for _, f := range strings.Fields(list) {
			if !has[f] {
				t.Errorf("%s: %s is not known", name, f)
			}
		}
	}
	if lines < 40 {
		t.Errorf("the list has %d objects", lines)
	}
}

// TestTablesLeadSomewhere holds the tables to the descriptors of v3: what a field
// becomes is a field there, or is told in words.
func TestTablesLeadSomewhere(t *testing.T) {
	types := load.NewTypes()
	for _, o := range v1.Objects() {
		if o.Message == "" {
			continue
		}
		mt, ok := types.Find(o.Message)
		if !ok {
			if !types.Known(o.Message) && !types.Known(o.Message[:strings.LastIndexByte(o.Message, '.')]) {
				t.Errorf("%s: there is no %s", o.Name, o.Message)
			}
			continue
		}
		for _, f := range o.Fields {
			if f.To == "" && f.Why == "" {
				t.Errorf("%s: %s is dropped without a reason", o.Name, f.Name)
			}
			if f.Path() && !leads(mt.Descriptor(), f.To) {
				t.Errorf("%s: %s became %s, which %s does not have", o.Name, f.Name, f.To, o.Message)
			}
		}
	}
}

// leads reports whether a path is one of the message's; what an Any holds is not seen.
func leads(md protoreflect.MessageDescriptor, path string) bool {
	for _, step := range strings.Split(path, ".") {
		if md == nil {
			return false
		}
		if md.FullName() == "google.protobuf.Any" {
			return true
		}
		fd := md.Fields().ByName(protoreflect.Name(step))
		if fd == nil {
			return false
		}
		md = fd.Message()
	}
	return true
}

// TestNamesAreUnique: a document has a table for each object.
func TestNamesAreUnique(t *testing.T) {
	var names []string
	for _, o := range v1.Objects() {
		names = append(names, o.Name+" "+o.Message)
	}
	slices.Sort(names)
	if n := len(names); n != len(slices.Compact(names)) {
		t.Errorf("an object is listed twice: %q", names)
	}
}
