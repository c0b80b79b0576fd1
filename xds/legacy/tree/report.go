// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"fmt"
	"iter"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/internal/suggest"
	"weir.dev/weir/xds"
)

// A Report collects what was changed in a document, and what cannot be.
type Report struct {
	// File is the document's name.
	File string
	// Most is how many notes, and how many problems, are kept; 0 is 200.
	Most int

	Notes    []xds.Note
	Problems []xds.Problem

	notesLeft, problemsLeft int
}

func (r *Report) most() int {
	if r.Most > 0 {
		return r.Most
	}
	return 200
}

// Note tells that old, which stands at at in the object at path, became what is now.
func (r *Report) Note(at *yaml.Node, path, name, old, now, why string) {
	if len(r.Notes) >= r.most() {
		r.notesLeft++
		return
	}
	n := xds.Note{File: r.File, Path: path, Name: Clip(name), Old: Clip(old), New: Clip(now), Why: why}
	if at != nil {
		n.Line = at.Line
	}
	r.Notes = append(r.Notes, n)
}

// Refuse tells that what stands at path cannot be taken over, why, and what would be
// right.
func (r *Report) Refuse(at *yaml.Node, path, reason, remedy string) {
	if len(r.Problems) >= r.most() {
		r.problemsLeft++
		return
	}
	p := xds.Problem{File: r.File, Path: path, Reason: reason, Remedy: remedy}
	if at != nil {
		p.Line, p.Column = at.Line, at.Column
	}
	r.Problems = append(r.Problems, p)
}

// Unknown refuses a name that is none of those known, with the nearest of them or,
// if none is near, with otherwise as the remedy.
func (r *Report) Unknown(at *yaml.Node, path, what, name string, known iter.Seq[string], otherwise string) {
	remedy := otherwise
	if near, ok := suggest.Nearest(name, known); ok {
		remedy = "did you mean " + Quote(near) + "?"
	}
	r.Refuse(at, path, "unknown "+what+" "+Quote(name), remedy)
}

// End tells how many notes and problems were too many to keep.
func (r *Report) End() {
	if r.notesLeft > 0 {
		r.Notes = append(r.Notes, xds.Note{File: r.File, Old: fmt.Sprintf("so much: %d further places", r.notesLeft), New: "of a newer form, too"})
	}
	if r.problemsLeft > 0 {
		r.Problems = append(r.Problems, xds.Problem{File: r.File, Reason: fmt.Sprintf("%d more problems", r.problemsLeft), Remedy: "mend those above first"})
	}
	r.notesLeft, r.problemsLeft = 0, 0
}
