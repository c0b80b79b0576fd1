// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"io/fs"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds/ledger"
	"weir.dev/weir/xds/legacy/v1"
	"weir.dev/weir/xds/legacy/v2"
	"weir.dev/weir/xds/load"
)

// Legacy writes docs/envoy-legacy.md: what becomes of the fields of Envoy's API v1 and v2, as the tables of
// package legacy tell it, and what is then done with them, as the ledgers of the tree do.
func Legacy(tree fs.FS) (string, error) {
	books, err := readBooks(tree)
	if err != nil {
		return "", err
	}
	l := &legacy{ledgers: map[string]map[string]ledger.Entry{}, types: load.NewTypes()}
	for _, b := range books {
		for message, entries := range b.entries {
			if l.ledgers[message] == nil {
				l.ledgers[message] = map[string]ledger.Entry{}
			}
			for _, e := range entries {
				l.ledgers[message][e.Field] = e
			}
		}
	}
	l.WriteString("# What becomes of Envoy's API v1 and v2\n\n" +
		"`make update` writes this page from the tables of [xds/legacy](../xds/legacy), which tests hold to Envoy's messages and to\n" +
		"the list of all fields of v1, and from the ledgers ([support.md](support.md)). The third column tells what is done with the field\n" +
		"of v3: *yes* it is honoured, *ignored* or **refused** for the reason that [support.md](support.md) tells, *see* its own fields are\n" +
		"told under its message. How it is used: [guide](guide/legacy.md).\n")
	l.v1()
	l.v2()
	l.names()
	return l.String(), nil
}

type legacy struct {
	strings.Builder
	ledgers map[string]map[string]ledger.Entry
	types   *load.Types
}

func (l *legacy) v1() {
	l.WriteString("\n# API v1\n")
	for _, o := range v1.Objects() {
		fmt.Fprintf(l, "\n## v1: %s\n\n", o.Name)
		if o.Message != "" {
			fmt.Fprintf(l, "Becomes `%s`.%s\n\n", o.Message, l.absent(o.Message))
		}
		l.WriteString("| v1 | v3 | | Why |\n|---|---|---|---|\n")
		for _, f := range o.Fields {
			verdict := ""
			if f.Path() {
				verdict = l.verdict(o.Message, strings.Split(f.To, "."))
			}
			l.row(f.Name, f.To, f.Path(), verdict, f.Refused, f.Why)
		}
	}
}

func (l *legacy) v2() {
	types := 0
	for range v2.Types() {
		types++
	}
	fmt.Fprintf(l, "\n# API v2\n\nv3 has %d messages of v2 under names of its own ([types.txt](../xds/legacy/v2/types.txt)), with the same fields but for these.\n"+
		"What became of each message's other fields is told in [support.md](support.md).\n", types)
	last := protoreflect.FullName("")
	for _, c := range v2.Changes() {
		if c.Message != last {
			last = c.Message
			fmt.Fprintf(l, "\n## v2: %s\n\n%s| v2 | v3 | | Why |\n|---|---|---|---|\n", c.Message, strings.TrimPrefix(l.absent(string(c.Message))+"\n\n", "\n\n"))
		}
		path, _, _ := strings.Cut(c.New, ":")
		path, _, _ = strings.Cut(path, ",")
		verdict := ""
		if c.New != "" {
			verdict = l.verdict(string(c.Message), strings.Split(path, "."))
		}
		l.row(c.Old, c.New, true, verdict, c.Refused, c.Why)
	}
}

func (l *legacy) names() {
	for _, k := range v2.Kinds() {
		fmt.Fprintf(l, "\n## Names: %s\n\n| Before | Now | |\n|---|---|---|\n", k.Name)
		for _, x := range k.Extensions {
			for _, old := range append(x.Old, "") {
				if old == "" && len(x.Old) > 0 {
					continue
				}
				cell := ""
				if old != "" {
					cell = "`" + old + "`"
				}
				fmt.Fprintf(l, "| %s | `%s` | %s |\n", cell, x.Name, strings.TrimSpace(l.absent(x.Type)))
			}
		}
	}
}

// row writes one field.
func (l *legacy) row(old, now string, path bool, verdict string, refused bool, why string) {
	switch {
	case refused:
		now, verdict = "", "**refused**"
	case now == "":
		verdict = "dropped"
	case path:
		now = "`" + now + "` "
	default:
		now += " "
	}
	fmt.Fprintf(l, "| `%s` | %s| %s | %s |\n", old, now, verdict, strings.ReplaceAll(why, "|", `\|`))
}

// absent says that Weir does not read a message, if it does not.
func (l *legacy) absent(message string) string {
	if _, ok := l.ledgers[message]; ok {
		return ""
	}
	return " Weir does not read it."
}

// verdict finds what the ledgers say of a path of fields in a message; "" if they say nothing, as of what
// stands in an extension.
func (l *legacy) verdict(message string, path []string) string {
	entries := l.ledgers[message]
	for n := len(path); n > 0; n-- {
		e, ok := entries[strings.Join(path[:n], ".")]
		if !ok {
			continue
		}
		switch {
		case e.Verdict == ledger.See && n < len(path):
			return l.verdict(e.Reason, path[n:])
		case e.Verdict == ledger.See:
			return fmt.Sprintf("[see](support.md#%s)", anchor(e.Reason))
		case e.Verdict == ledger.Yes:
			return "yes"
		case e.Verdict == ledger.Ignored:
			return "*ignored*"
		default:
			return "**refused**"
		}
	}
	return l.expanded(message, path)
}

// expanded follows a path into a field that has no line of its own, because those within it have.
func (l *legacy) expanded(message string, path []string) string {
	mt, ok := l.types.Find(message)
	if !ok {
		return ""
	}
	fd := mt.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	if fd == nil || fd.Message() == nil {
		return ""
	}
	inner := string(fd.Message().FullName())
	switch {
	case l.ledgers[inner] == nil:
		return ""
	case len(path) == 1:
		return fmt.Sprintf("[see](support.md#%s)", anchor(inner))
	}
	return l.verdict(inner, path[1:])
}
