// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"strings"
)

// A Note tells of one thing that was written in the form of an older version of
// Envoy's API, and what it was read as. It is no Problem: the configuration works.
type Note struct {
	// File and Line (from 1; 0 is unknown) are where it stands.
	File string
	Line int
	// Path leads to the object, in the words of the file.
	Path string
	// Name of the object, if it has one.
	Name string
	// Old is the field as the file has it, New what it became; "" if it was dropped.
	Old, New string
	// Why it changed, or is not needed any more.
	Why string
}

// String formats the note on one line:
//
//	edge.yaml:12: static_resources.clusters[0] "shop": hosts is now load_assignment: v3 has endpoints with more than an address
func (n Note) String() string {
	var b strings.Builder
	if n.File != "" {
		b.WriteString(n.File)
		if n.Line > 0 {
			fmt.Fprintf(&b, ":%d", n.Line)
		}
		b.WriteString(": ")
	}
	if n.Path != "" {
		b.WriteString(n.Path)
		if n.Name != "" {
			fmt.Fprintf(&b, " %q", n.Name)
		}
		b.WriteString(": ")
	}
	b.WriteString(n.Old)
	if n.New == "" {
		b.WriteString(" is dropped")
	} else {
		b.WriteString(" is now " + n.New)
	}
	if n.Why != "" {
		b.WriteString(": " + n.Why)
	}
	return oneLine(b.String())
}
