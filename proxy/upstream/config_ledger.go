// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"cmp"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds"
)

// A Ledger says of each field of some messages whether it is honoured. It is parsed of
// a fields.txt: a line "[full.message.Name]" begins a message; each other line is
//
//	<field.path> yes | rejected: <reason> | ignored: <reason>
//
// A path names a field, and all below it that have no line of their own. Lines that
// begin with # and empty lines are skipped.
type Ledger map[protoreflect.FullName]map[string]ledgerLine

type ledgerLine struct{ status, reason string }

// ParseLedger reads a ledger.
func ParseLedger(text string) (Ledger, error) {
	l, section := Ledger{}, protoreflect.FullName("")
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			section = protoreflect.FullName(strings.Trim(line, "[]"))
			l[section] = map[string]ledgerLine{}
			continue
		}
		path, rest, _ := strings.Cut(line, " ")
		status, reason, _ := strings.Cut(rest, ":")
		reason = strings.TrimSpace(reason)
		known := status == "yes" || (status == "rejected" || status == "ignored") && reason != ""
		if !known || l[section] == nil || l[section][path] != (ledgerLine{}) {
			return nil, fmt.Errorf("ledger line %d: %q makes no sense", i+1, line)
		}
		l[section][path] = ledgerLine{status, reason}
	}
	return l, nil
}

// Check tells of each field that is set and not honoured: an error if it is rejected or
// has no line, a warning if it is ignored. A message without a section is an error.
func (l Ledger) Check(m proto.Message) []xds.Problem {
	r := m.ProtoReflect()
	lines := l[r.Descriptor().FullName()]
	if lines == nil {
		return []xds.Problem{{Reason: fmt.Sprintf("message %s is not known", r.Descriptor().FullName())}}
	}
	var out []xds.Problem
	checkFields(lines, r, "", "", ledgerLine{}, &out)
	return out
}

func checkFields(lines map[string]ledgerLine, m protoreflect.Message, key, path string, above ledgerLine, out *[]xds.Problem) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := string(f.Name())
		k, p := joinPath(key, name), joinPath(path, name)
		line := cmp.Or(lines[k], above)
		switch {
		case line.status == "rejected":
			*out = append(*out, xds.Problem{Path: p, Reason: line.reason, Remedy: "remove the field"})
			return true
		case line.status == "ignored":
			*out = append(*out, xds.Problem{Severity: xds.Warning, Path: p, Reason: "has no effect: " + line.reason})
			return true
		case isLeaf(f):
			if line.status == "" {
				*out = append(*out, xds.Problem{Path: p, Reason: "this field is not known", Remedy: "remove the field"})
			}
			return true
		case f.IsList():
			for i := range v.List().Len() {
				checkFields(lines, v.List().Get(i).Message(), k, fmt.Sprintf("%s[%d]", p, i), line, out)
			}
			return true
		}
		checkFields(lines, v.Message(), k, p, line, out)
		return true
	})
}

// isLeaf tells whether a field's value is taken as a whole: scalars, maps, empty
// messages and the well-known ones.
func isLeaf(f protoreflect.FieldDescriptor) bool {
	if f.IsMap() || f.Message() == nil || f.Message().Fields().Len() == 0 {
		return true
	}
	switch p := f.Message().FullName().Parent(); p {
	case "google.protobuf", "xds.core.v3":
		return true
	}
	return false
}

// Uncovered returns what a ledger lacks, the leaf fields without a line, and what it
// has too many of, the lines that name no field. Both are empty in a good ledger.
func (l Ledger) Uncovered(messages ...protoreflect.MessageDescriptor) (missing, extra []string) {
	for _, d := range messages {
		lines, used := l[d.FullName()], map[string]bool{}
		walkFields(d, "", false, lines, used, map[protoreflect.FullName]bool{}, func(path string) {
			missing = append(missing, string(d.FullName())+": "+path)
		})
		for path := range lines {
			if !used[path] {
				extra = append(extra, string(d.FullName())+": "+path)
			}
		}
	}
	return missing, extra
}

func walkFields(d protoreflect.MessageDescriptor, key string, covered bool, lines map[string]ledgerLine, used map[string]bool, open map[protoreflect.FullName]bool, miss func(string)) {
	open[d.FullName()] = true
	defer delete(open, d.FullName())
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		k := joinPath(key, string(f.Name()))
		_, here := lines[k]
		used[k] = used[k] || here
		if isLeaf(f) || open[f.Message().FullName()] {
			if !here && !covered {
				miss(k)
			}
			continue
		}
		walkFields(f.Message(), k, covered || here, lines, used, open, miss)
	}
}
