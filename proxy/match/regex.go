// SPDX-License-Identifier: Apache-2.0

package match

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// MaxRegexSize is the largest program a regular expression may compile to, in
// instructions of Go's RE2 machine. Matching costs time proportional to it and
// to the input, so it bounds what a tenant's expression can cost.
const MaxRegexSize = 10000

// maxRegexText bounds an expression's source before it is parsed at all.
const maxRegexText = 16 << 10

// Regex is a regular expression that must match the whole of a string, as
// Envoy asks of safe_regex (RE2::FullMatch). It runs in linear time.
type Regex struct {
	re     *regexp.Regexp
	prefix string
}

// NewRegex compiles an expression in RE2's syntax. maxSize, if not 0, tightens
// MaxRegexSize.
func NewRegex(expr string, maxSize int) (*Regex, error) {
	if maxSize == 0 || maxSize > MaxRegexSize {
		maxSize = MaxRegexSize
	}
	tree, err := checkRegex(expr, maxSize)
	if err != nil {
		return nil, err
	}
	re, err := regexp.Compile(`\A(?:` + expr + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", expr, err)
	}
	return &Regex{re: re, prefix: literalPrefix(tree)}, nil
}

// checkRegex parses expr by itself, before anything is put around it, and
// measures its program.
func checkRegex(expr string, maxSize int) (*syntax.Regexp, error) {
	if len(expr) > maxRegexText {
		return nil, fmt.Errorf("regular expression of %d bytes is longer than %d", len(expr), maxRegexText)
	}
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", expr, err)
	}
	tree = tree.Simplify()
	prog, err := syntax.Compile(tree)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", expr, err)
	}
	if n := len(prog.Inst); n > maxSize {
		return nil, fmt.Errorf("regular expression %q: its program has %d instructions, more than %d", expr, n, maxSize)
	}
	return tree, nil
}

// Match reports whether the whole of s matches.
func (r *Regex) Match(s string) bool { return r.re.MatchString(s) }

// MatchBytes is Match on bytes.
func (r *Regex) MatchBytes(b []byte) bool { return r.re.Match(b) }

// LiteralPrefix returns what every match begins with, "" if nothing is known.
func (r *Regex) LiteralPrefix() string { return r.prefix }

// literalPrefix finds the literal a full match of re must begin with.
func literalPrefix(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return string(re.Rune)
		}
	case syntax.OpCapture:
		return literalPrefix(re.Sub[0])
	case syntax.OpConcat:
		subs := re.Sub
		for len(subs) > 0 && (subs[0].Op == syntax.OpBeginText || subs[0].Op == syntax.OpBeginLine) {
			subs = subs[1:]
		}
		if len(subs) > 0 {
			return literalPrefix(subs[0])
		}
	}
	return ""
}

// Rewrite replaces every match of an expression, as
// envoy.type.matcher.v3.RegexMatchAndSubstitute does with RE2::GlobalReplace.
type Rewrite struct {
	re    *regexp.Regexp
	parts []rewritePart
}

// rewritePart is a literal, or the group with the given number.
type rewritePart struct {
	text  string
	group int // -1 for a literal
}

// NewRewrite compiles an expression and its substitution, in which \0 to \9
// stand for groups and \\ for a backslash.
func NewRewrite(expr, substitution string, maxSize int) (*Rewrite, error) {
	if maxSize == 0 || maxSize > MaxRegexSize {
		maxSize = MaxRegexSize
	}
	if _, err := checkRegex(expr, maxSize); err != nil {
		return nil, err
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", expr, err)
	}
	w := &Rewrite{re: re}
	for substitution != "" {
		i := strings.IndexByte(substitution, '\\')
		if i < 0 {
			w.parts = append(w.parts, rewritePart{substitution, -1})
			break
		}
		if i > 0 {
			w.parts = append(w.parts, rewritePart{substitution[:i], -1})
		}
		if i+1 == len(substitution) {
			return nil, fmt.Errorf("substitution ends in a single backslash: write \\\\")
		}
		c := substitution[i+1]
		substitution = substitution[i+2:]
		switch {
		case c == '\\':
			w.parts = append(w.parts, rewritePart{`\`, -1})
		case '0' <= c && c <= '9':
			if int(c-'0') > re.NumSubexp() {
				return nil, fmt.Errorf("substitution names group \\%c, but the expression has %d", c, re.NumSubexp())
			}
			w.parts = append(w.parts, rewritePart{"", int(c - '0')})
		default:
			return nil, fmt.Errorf("substitution has \\%c: only \\0 to \\9 and \\\\ are known", c)
		}
	}
	return w, nil
}

// Append appends s to dst with every match replaced.
func (w *Rewrite) Append(dst []byte, s string) []byte {
	at := 0
	for _, m := range w.re.FindAllStringSubmatchIndex(s, -1) {
		dst = append(dst, s[at:m[0]]...)
		for _, p := range w.parts {
			switch {
			case p.group < 0:
				dst = append(dst, p.text...)
			case m[2*p.group] >= 0:
				dst = append(dst, s[m[2*p.group]:m[2*p.group+1]]...)
			}
		}
		at = m[1]
	}
	return append(dst, s[at:]...)
}
