// SPDX-License-Identifier: Apache-2.0

package v2

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Change is what became of one field of v2, for documents.
type Change struct {
	// Message of v3 that has the field no more, or not in that form.
	Message protoreflect.FullName
	// Old is the field, New what it became; "" if it is dropped.
	Old, New string
	// Refused tells that a file with the field is not read.
	Refused bool
	Why     string
}

// Changes are all fields that v2 had otherwise, by message.
func Changes() []Change {
	all := rules()
	var out []Change
	for _, name := range slices.Sorted(maps.Keys(all)) {
		m := all[name]
		if m.extension != nil {
			out = append(out, Change{Message: name, Old: "config", New: "typed_config", Why: "a configuration says of what type it is"})
		}
		for _, r := range m.fields {
			c := Change{Message: name, Old: r.old, New: r.now, Why: r.why, Refused: r.now == nowhere}
			if c.Refused {
				c.New = ""
			}
			out = append(out, c)
		}
	}
	return out
}
