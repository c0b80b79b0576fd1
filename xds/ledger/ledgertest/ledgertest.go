// SPDX-License-Identifier: Apache-2.0

// Package ledgertest compares a fields.txt with the messages it is about, so that a
// new version of Envoy's API cannot bring a field that nobody has decided on.
package ledgertest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"weir.dev/weir/internal/golden"
	"weir.dev/weir/xds/ledger"
)

// Run fails for each field that file lacks, has too much or has not decided on.
// Each of the messages must have a section. With -update missing sections and
// fields are added to the file as "TODO", on which the test fails until somebody
// decides.
func Run(t *testing.T, file string, messages ...proto.Message) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil && (!os.IsNotExist(err) || !golden.Updating()) {
		t.Fatal(err)
	}
	text := string(data)
	complaints, added := compare(text, messages)
	for _, c := range complaints {
		t.Errorf("%s: %s", file, c)
	}
	if golden.Updating() && len(added) > 0 {
		if err := os.WriteFile(file, []byte(insert(text, added)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// RunStruct is Run for the type of a TypedStruct, which is no message: fields are
// all that its value may have, as typedstruct.Fields lists them.
func RunStruct(t *testing.T, file string, name protoreflect.FullName, fields ...string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Parse(string(data))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for _, f := range fields {
		if e, ok := l.Lookup(name, f); !ok || e.Verdict == ledger.Undecided {
			t.Errorf("%s: %s.%s is missing or undecided", file, name, f)
		}
	}
	for e := range l.Entries() {
		if e.Message == name && !slices.Contains(fields, e.Field) {
			t.Errorf("%s: line %d: %s has no field %s", file, e.Line, name, e.Field)
		}
	}
}

// compare returns what is wrong with text and, for each section, the lines that
// would make it complete.
func compare(text string, messages []proto.Message) (complaints []string, added map[protoreflect.FullName][]string) {
	l, err := ledger.Parse(text)
	if err != nil {
		return []string{err.Error()}, nil
	}
	c := &comparison{ledger: l, used: map[protoreflect.FullName]map[string]bool{}, added: map[protoreflect.FullName][]string{}}
	names := map[protoreflect.FullName]bool{}
	for e := range l.Entries() {
		names[e.Message] = true
	}
	for _, m := range messages {
		names[m.ProtoReflect().Descriptor().FullName()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		mt, err := protoregistry.GlobalTypes.FindMessageByName(name)
		if err != nil {
			c.complain("%s is not a message that this program has", name)
			continue
		}
		c.used[name] = map[string]bool{}
		if !l.Has(name) {
			c.complain("no section for %s", name)
			c.added[name] = nil
		}
		c.message(mt.Descriptor(), name, "")
	}
	for e := range l.Entries() {
		switch used, ok := c.used[e.Message]; {
		case !ok:
		case !used[e.Field]:
			c.complain("line %d: %s has no field %s", e.Line, e.Message, e.Field)
		case e.Verdict == ledger.Undecided:
			c.complain("line %d: %s.%s is undecided", e.Line, e.Message, e.Field)
		}
	}
	return c.complaints, c.added
}

type comparison struct {
	ledger     *ledger.Ledger
	used       map[protoreflect.FullName]map[string]bool
	added      map[protoreflect.FullName][]string
	complaints []string
}

func (c *comparison) complain(format string, args ...any) {
	c.complaints = append(c.complaints, fmt.Sprintf(format, args...))
}

func (c *comparison) message(md protoreflect.MessageDescriptor, section protoreflect.FullName, path string) {
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		at := string(fd.Name())
		if path != "" {
			at = path + "." + at
		}
		c.field(fd, section, at)
	}
}

func (c *comparison) field(fd protoreflect.FieldDescriptor, section protoreflect.FullName, at string) {
	inner := ledger.Nested(fd)
	e, ok := c.ledger.Lookup(section, at)
	if ok {
		c.used[section][at] = true
		switch {
		case e.Verdict == ledger.See && (inner == nil || string(inner.FullName()) != e.Reason):
			c.complain("line %d: %s is not a %s", e.Line, at, e.Reason)
		case e.Verdict == ledger.Yes && inner != nil:
			c.complain(`line %d: %s is a message: write "see %s", or a line for each of its fields`, e.Line, at, inner.FullName())
		}
		return
	}
	switch {
	case inner != nil && c.ledger.Expands(section, at):
		c.message(inner, section, at)
	case inner != nil && c.ledger.Has(inner.FullName()):
	case inner != nil:
		c.miss(section, at, "  TODO  # or: see "+string(inner.FullName()))
	default:
		c.miss(section, at, "  TODO")
	}
}

func (c *comparison) miss(section protoreflect.FullName, at, rest string) {
	if c.ledger.Has(section) {
		c.complain("%s.%s is missing", section, at)
	}
	c.added[section] = append(c.added[section], at+rest)
}

// insert puts the added lines at the end of their sections.
func insert(text string, added map[protoreflect.FullName][]string) string {
	var out, blank strings.Builder
	done := map[protoreflect.FullName]bool{}
	var section protoreflect.FullName
	flush := func() {
		if !done[section] {
			done[section] = true
			for _, line := range added[section] {
				out.WriteString(line + "\n")
			}
		}
	}
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			line += "\n"
		}
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "message "); ok && strings.Contains(name, ".") {
			flush()
			section = protoreflect.FullName(strings.TrimSpace(name))
		}
		// Blank lines before the next section stay before it.
		if strings.TrimSpace(line) == "" {
			blank.WriteString(line)
			continue
		}
		out.WriteString(blank.String())
		blank.Reset()
		out.WriteString(line)
	}
	flush()
	for _, name := range slices.Sorted(maps.Keys(added)) {
		if !done[name] {
			if out.Len() > 0 {
				out.WriteString("\n")
			}
			fmt.Fprintf(&out, "message %s\n", name)
			section = name
			flush()
		}
	}
	return out.String()
}
