// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A Problem is one place where a rule is broken.
type Problem struct {
	Rule  string // its name, as exceptions write it
	Where string // a file or a folder
	Line  int    // 0: the whole of it
	What  string // the import, name or thing that breaks the rule
	Says  string // a sentence
}

// String is one line: where, what is wrong, and the rule's name.
func (p Problem) String() string {
	where := p.Where
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, p.Line)
	}
	return fmt.Sprintf("%s: %s [%s]", where, p.Says, p.Rule)
}

// CheckImports holds direct imports to the rooms, the arrows and the rule on kits.
func CheckImports(t *Tree, r *Rules) []Problem {
	var out []Problem
	bad := func(f *File, what, says string, args ...any) {
		out = append(out, Problem{"import", f.Path, 0, what, fmt.Sprintf(says, args...)})
	}
	for _, p := range t.Packages {
		room, ok := r.Room(p.Dir)
		if !ok {
			out = append(out, Problem{"import", p.Dir, 0, p.Dir, "no row of the import table names this package"})
			continue
		}
		for _, f := range p.Files {
			for _, i := range f.Imports {
				ours, isOurs := i.Ours()
				first, _, _ := strings.Cut(i.Path, "/")
				switch {
				case ours == p.Dir: // An external test of its own package.
				case !isOurs && !strings.Contains(first, "."): // The standard library.
				case f.Test && isOurs && kit(ours):
				case isOurs && !allowed(r, room, f, ours, true):
					bad(f, ours, "imports %s, which its room may not", ours)
				case !isOurs && !allowed(r, room, f, i.Path, false):
					bad(f, i.Path, "imports %s, which its room may not", i.Path)
				case isOurs && !f.Test && against(r, p.Dir, ours):
					bad(f, ours, "imports %s: that arrow points the other way", ours)
				case isOurs && !f.Test && kit(ours) && !kit(p.Dir):
					out = append(out, Problem{"kit", f.Path, 0, ours, "imports the test kit " + ours + " outside a test"})
				}
			}
		}
	}
	return out
}

// allowed tells whether a file of a room may import a path.
func allowed(r *Rules, room Room, f *File, imported string, ours bool) bool {
	pick := func(room Room) []string {
		if ours {
			return room.Ours
		}
		return room.Others
	}
	return matchAny(pick(room), imported) || f.Test && matchAny(pick(r.tests()), imported)
}

// against tells whether an import points against the arrows. A package may import what lies below it.
func against(r *Rules, dir, imported string) bool {
	if strings.HasPrefix(imported, dir+"/") {
		return false
	}
	return slices.ContainsFunc(r.Arrows, func(b Ban) bool {
		return matchAny(b.Packages, dir) && matchAny(b.Imports, imported)
	})
}

// CheckDependencies holds all that a package depends on, through others as well, to the third table. deps
// has the dependencies of each package by import path, as go list tells them.
func CheckDependencies(deps map[string][]string, r *Rules) []Problem {
	var out []Problem
	for pkg, all := range deps {
		dir, ok := strings.CutPrefix(pkg, Module+"/")
		if !ok {
			continue
		}
		for _, ban := range r.Never {
			if !matchAny(ban.Packages, dir) {
				continue
			}
			for _, d := range all {
				if matchAny(ban.Imports, d) {
					out = append(out, Problem{"import", dir, 0, d, "depends on " + d + ", if only through others"})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// protobuf are the packages of Envoy's messages and of what they are made with.
func protobuf() []string {
	return []string{"github.com/envoyproxy/*", "github.com/cncf/xds/*", "google.golang.org/protobuf/*", "google.golang.org/genproto/*"}
}

// checkProto keeps messages out of all files of the proxy but those that compile configuration. The admin
// answers with messages and is on no request's path; an extension is found by its message.
func checkProto(t *Tree, bad func(Problem)) {
	for _, p := range t.Packages {
		if !matchAny([]string{"proxy", "proxy/*", "ext/*"}, p.Dir) || kit(p.Dir) || p.Dir == "proxy/admin" || p.Dir == "proxy/extension" {
			continue
		}
		p.source(func(f *File) {
			name := path.Base(f.Path)
			if name == "config.go" || strings.HasPrefix(name, "config_") || name == "client.go" {
				return
			}
			for _, i := range f.Imports {
				if matchAny(protobuf(), i.Path) {
					bad(Problem{"proto", f.Path, 0, i.Path, "imports " + i.Path + " outside config.go"})
				}
			}
		})
	}
}

// registry is the number of imports from which on a file is a list of messages, which has to give each of
// hundreds a name of its own and is not asked how others call it.
const registry = 60

// checkAlias finds packages known by several aliases. The one that most files use is taken for the right one.
func checkAlias(t *Tree, bad func(Problem)) {
	versioned := regexp.MustCompile(`/v[0-9]+((alpha|beta)[0-9]+)?$`)
	files := map[string]map[string][]*File{} // by path and alias
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if len(f.Imports) >= registry {
				continue
			}
			for _, i := range f.Imports {
				switch {
				case !versioned.MatchString(i.Path) || i.Alias == "_":
				case i.Alias != "":
					if files[i.Path] == nil {
						files[i.Path] = map[string][]*File{}
					}
					files[i.Path][i.Alias] = append(files[i.Path][i.Alias], f)
				case matchAny(protobuf()[:2], i.Path):
					bad(Problem{"alias", f.Path, 0, i.Path, "imports " + i.Path + " without an alias such as routev3"})
				}
			}
		}
	}
	for p, byAlias := range files {
		aliases := slices.SortedFunc(maps.Keys(byAlias), func(a, b string) int {
			return cmp.Or(len(byAlias[b])-len(byAlias[a]), strings.Compare(a, b))
		})
		for _, wrong := range aliases[1:] {
			for _, f := range byAlias[wrong] {
				bad(Problem{"alias", f.Path, 0, p, fmt.Sprintf("calls %s %s, which others call %s", p, wrong, aliases[0])})
			}
		}
	}
}
