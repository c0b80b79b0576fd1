// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a Problem stops a configuration from being used.
type Severity uint8

const (
	// Error is a problem with which the resource cannot be used.
	Error Severity = iota
	// Warning is a problem the configuration works with, though perhaps not as
	// its author meant.
	Warning
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// A Problem is one thing wrong with a configuration, told so that a person can
// put it right. It is data: the same list feeds the command line, the status of
// objects and the dashboard. All fields but Reason may be empty.
type Problem struct {
	Severity Severity
	// Kind and Name tell the resource, such as KindCluster and "backend".
	Kind Kind
	Name string
	// Path leads to the field from the message that was read, in proto field
	// names: static_resources.listeners[0].filter_chains[0].
	Path string
	// File, Line and Column (both from 1; 0 is unknown) are where it stands.
	File   string
	Line   int
	Column int
	// Reason says what is wrong, in lower case.
	Reason string
	// Remedy says what would be right, in lower case.
	Remedy string
}

// Error formats the problem on one line:
//
//	edge.yaml:12: static_resources.listeners[0]: unknown field "filterz" (did you mean "filters"?)
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	} else if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Severity == Warning {
		b.WriteString("warning: ")
	}
	if p.Kind != "" && p.Name != "" {
		fmt.Fprintf(&b, "%s %q: ", p.Kind, p.Name)
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Reason)
	if p.Remedy != "" {
		fmt.Fprintf(&b, " (%s)", p.Remedy)
	}
	return oneLine(b.String())
}

// String is Error.
func (p Problem) String() string { return p.Error() }

// oneLine keeps text that came from a configuration from breaking a log apart.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// HasErrors reports whether any of the problems is an Error.
func HasErrors(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Severity == Error })
}

// Err joins the problems that are Errors, or returns nil if none is.
func Err(problems []Problem) error {
	var errs []error
	for _, p := range problems {
		if p.Severity == Error {
			errs = append(errs, p)
		}
	}
	return errors.Join(errs...)
}

// Sort orders problems as a reader of the files would meet them: by file, line,
// column, path and reason.
func Sort(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Reason, b.Reason),
		)
	})
}
