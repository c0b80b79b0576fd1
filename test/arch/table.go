// SPDX-License-Identifier: Apache-2.0

// Package arch holds the tree to the rules that stand in ARCHITECTURE.md: who may import whom, and what a
// file may hold. The tables there are its only configuration; an exception that no longer occurs is as wrong
// as a rule that is broken. It reads source and import lists and runs no code of the tree.
package arch

import (
	"fmt"
	"slices"
	"strings"
)

// Rules is what the tables say.
type Rules struct {
	Rooms      []Room      // who may import what
	Arrows     []Ban       // direct imports that point the wrong way
	Never      []Ban       // what may not come in even through others
	Named      []string    // the names of the rules on files
	Exceptions []Exception // where a rule does not hold
}

// A Room is a row of the first table: packages that may import the same things.
type Room struct {
	Packages, Ours, Others []string // patterns
}

// A Ban is a row of the second or third table.
type Ban struct {
	Packages, Imports []string // patterns
}

// An Exception is a place where a rule does not hold, and why.
type Exception struct {
	Rule, Where, What, Reason string
}

// testsRoom is the name of the row that test files may import from besides that of their package.
const testsRoom = "tests of every room"

// ParseRules reads the tables of a Markdown text, which it knows by their headings.
func ParseRules(markdown string) (*Rules, error) {
	r := &Rules{}
	found := map[string]bool{}
	head := ""
	for n, line := range strings.Split(markdown, "\n") {
		cells, ok := row(line)
		switch {
		case !ok:
			head = ""
			continue
		case head == "":
			head = strings.Join(cells, "|")
			found[head] = true
			continue
		case strings.Trim(strings.Join(cells, ""), "-: ") == "":
			continue // The line below a table's heading.
		}
		patterns := func(i int) []string { return quoted(cells[i]) }
		if want := strings.Count(head, "|") + 1; len(cells) != want {
			return nil, fmt.Errorf("line %d: %d cells in a table of %d", n+1, len(cells), want)
		}
		switch head {
		case "Room|Ours|Others":
			r.Rooms = append(r.Rooms, Room{patterns(0), patterns(1), patterns(2)})
		case "Package|Must not import":
			r.Arrows = append(r.Arrows, Ban{patterns(0), patterns(1)})
		case "Room|Never depends on":
			r.Never = append(r.Never, Ban{patterns(0), patterns(1)})
		case "Rule|Says":
			r.Named = append(r.Named, patterns(0)...)
		case "Rule|Where|What|Reason":
			e := Exception{bare(cells[0]), bare(cells[1]), bare(cells[2]), cells[3]}
			if e.Reason == "" {
				return nil, fmt.Errorf("line %d: an exception without a reason", n+1)
			}
			r.Exceptions = append(r.Exceptions, e)
		}
	}
	for _, h := range []string{"Room|Ours|Others", "Package|Must not import", "Room|Never depends on", "Rule|Says", "Rule|Where|What|Reason"} {
		if !found[h] {
			return nil, fmt.Errorf("no table with the heading %s", strings.ReplaceAll(h, "|", " | "))
		}
	}
	return r, nil
}

// row splits a line of a table into its cells.
func row(line string) ([]string, bool) {
	line = strings.TrimSpace(line)
	if len(line) < 2 || line[0] != '|' || line[len(line)-1] != '|' {
		return nil, false
	}
	cells := strings.Split(line[1:len(line)-1], "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells, true
}

// quoted returns what stands in backquotes in a cell.
func quoted(cell string) []string {
	var out []string
	for i, part := range strings.Split(cell, "`") {
		if i%2 == 1 {
			out = append(out, part)
		}
	}
	return out
}

func bare(cell string) string { return strings.Trim(cell, "`") }

// Match tells whether a path matches a pattern of the tables: "*" is one path element, and at the end one or
// more.
func Match(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if last := len(want) - 1; want[last] == "*" && len(got) > len(want) {
		got = got[:len(want)]
	}
	return slices.EqualFunc(want, got, func(w, g string) bool { return w == "*" || w == g })
}

func matchAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return Match(p, path) })
}

// Room returns the row that names a package most closely: the one with the most elements that are not "*".
func (r *Rules) Room(pkg string) (Room, bool) {
	var best Room
	at := -1
	for _, room := range r.Rooms {
		for _, p := range room.Packages {
			if !Match(p, pkg) {
				continue
			}
			closeness := 0
			for e := range strings.SplitSeq(p, "/") {
				if e != "*" {
					closeness++
				}
			}
			if closeness > at {
				best, at = room, closeness
			}
		}
	}
	return best, at >= 0
}

// tests returns the row for test files.
func (r *Rules) tests() Room {
	i := slices.IndexFunc(r.Rooms, func(room Room) bool { return slices.Contains(room.Packages, testsRoom) })
	if i < 0 {
		return Room{}
	}
	return r.Rooms[i]
}
