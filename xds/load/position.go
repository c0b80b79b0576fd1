// SPDX-License-Identifier: Apache-2.0

package load

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds"
)

// A Position is a place in a file. Line and Column count from 1.
type Position struct {
	File   string
	Line   int
	Column int
}

// Positions remembers where each field of a message was written. Paths are those
// of Problem.Path: proto field names joined by dots, "[2]" for an element,
// `["key"]` for a map's value; what is inside an Any follows without a step of its
// own. A nil *Positions knows nothing and may be asked.
type Positions struct {
	at map[string]Position
}

func newPositions() *Positions { return &Positions{at: map[string]Position{}} }

// Exact returns where the path itself stands, and whether it stands in a document.
func (p *Positions) Exact(path string) (Position, bool) {
	if p == nil {
		return Position{}, false
	}
	at, ok := p.at[path]
	return at, ok
}

// At returns where path was written or, if it was not, the nearest field around it.
func (p *Positions) At(path string) (Position, bool) {
	if p == nil {
		return Position{}, false
	}
	for {
		if at, ok := p.at[path]; ok {
			return at, true
		}
		if path == "" {
			return Position{}, false
		}
		path = parent(path)
	}
}

// Line is At without the file and column: 0 if nothing is known.
func (p *Positions) Line(path string) int {
	at, _ := p.At(path)
	return at.Line
}

// Origin returns the origin of what stands at path.
func (p *Positions) Origin(path string) xds.Origin {
	at, _ := p.At(path)
	return xds.Origin{File: at.File, Line: at.Line, Field: path}
}

// Locate fills in file, line and column of the problems that have a path and no
// line yet, and returns the slice.
func (p *Positions) Locate(problems []xds.Problem) []xds.Problem {
	for i := range problems {
		if q := &problems[i]; q.Line == 0 {
			if at, ok := p.At(q.Path); ok {
				q.File, q.Line, q.Column = at.File, at.Line, at.Column
			}
		}
	}
	return problems
}

// parent cuts the last step off a path.
func parent(path string) string {
	if strings.HasSuffix(path, `"]`) {
		// A quoted key may hold any character, so its start is searched from the left.
		for i := 0; i < len(path); {
			k := strings.Index(path[i:], `["`)
			if k < 0 {
				break
			}
			start := i + k
			quoted, err := strconv.QuotedPrefix(path[start+1:])
			if err != nil {
				break
			}
			end := start + 1 + len(quoted) + 1
			if end == len(path) {
				return path[:start]
			}
			i = end
		}
	}
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// overlay takes over the positions of a second message that is about to be merged
// into base: elements that the merge appends move behind those already there.
func (p *Positions) overlay(o *Positions, base proto.Message) {
	shifts := map[string]int{}
	for path, at := range o.at {
		list, index, rest, ok := firstElement(path)
		if !ok {
			if path != "" {
				p.at[path] = at
			}
			continue
		}
		shift, known := shifts[list]
		if !known {
			shift = listLen(base.ProtoReflect(), list)
			shifts[list] = shift
		}
		p.at[list+"["+strconv.Itoa(index+shift)+"]"+rest] = at
	}
}

// firstElement splits a path at its first step into a list.
func firstElement(path string) (list string, index int, rest string, ok bool) {
	open := strings.IndexByte(path, '[')
	if open < 0 {
		return "", 0, "", false
	}
	end := strings.IndexByte(path[open:], ']')
	if end < 0 {
		return "", 0, "", false
	}
	index, err := strconv.Atoi(path[open+1 : open+end])
	if err != nil {
		return "", 0, "", false // a map's key: the value is replaced as a whole.
	}
	return path[:open], index, path[open+end+1:], true
}

// listLen returns the length of the list at a path of plain message fields, or 0
// where the path leaves the message (into an Any, which a merge replaces).
func listLen(m protoreflect.Message, path string) int {
	steps := strings.Split(path, ".")
	for i, step := range steps {
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(step))
		if fd == nil || !m.Has(fd) {
			return 0
		}
		if i == len(steps)-1 {
			if !fd.IsList() {
				return 0
			}
			return m.Get(fd).List().Len()
		}
		if fd.Message() == nil || fd.IsList() || fd.IsMap() {
			return 0
		}
		m = m.Get(fd).Message()
	}
	return 0
}
