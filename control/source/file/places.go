// SPDX-License-Identifier: Apache-2.0

package file

import (
	"maps"
	"slices"
	"strings"
)

// places are where a document and its fields stand. They stay as long as its object does.
type places struct {
	line   int
	fields []place // by path
}

type place struct {
	path string
	line int32
}

// newPlaces returns the places of fields by their paths. paths are those that documents have in common.
func newPlaces(line int, fields map[string]int, paths map[string]string) *places {
	out := &places{line: line, fields: make([]place, 0, len(fields))}
	for _, path := range slices.Sorted(maps.Keys(fields)) {
		known, ok := paths[path]
		if !ok {
			known = path
			paths[path] = path
		}
		out.fields = append(out.fields, place{known, int32(fields[path])})
	}
	return out
}

func (p *places) find(path string) (line int, ok bool) {
	i, ok := slices.BinarySearchFunc(p.fields, path, func(f place, path string) int { return strings.Compare(f.path, path) })
	if !ok {
		return 0, false
	}
	return int(p.fields[i].line), true
}

// at returns the line of a field, or of what is nearest around it.
func (p *places) at(path string) int {
	for path = "." + strings.TrimPrefix(path, "."); path != ""; {
		if line, ok := p.find(path); ok {
			return line
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			break
		}
		path = path[:i]
	}
	return p.line
}

// below are the places of what stands at a path, as of a document of its own.
func (p *places) below(path string) *places {
	out := &places{line: p.at(path)}
	for _, f := range p.fields {
		if rest, ok := strings.CutPrefix(f.path, path); ok {
			out.fields = append(out.fields, place{rest, f.line})
		}
	}
	return out
}
