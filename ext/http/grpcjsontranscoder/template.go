// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"errors"
	"fmt"
	"strings"
)

// Segments of a template that stand for others.
const (
	one  = "*"
	many = "**"
)

// template is a path template (google.api.HttpRule, "Path template syntax"):
//
//	Template = "/" Segments [ ":" LITERAL ]
//	Segments = Segment { "/" Segment }
//	Segment  = "*" | "**" | LITERAL | "{" FieldPath [ "=" Segments ] "}"
type template struct {
	segments []string // literals, one or many
	vars     []variable
	verb     string
}

// variable binds the parts from start to end to a field. With rest, that is all
// parts from start.
type variable struct {
	path       []string
	start, end int
	rest       bool
}

// several reports whether the variable may hold more than one part.
func (v *variable) several() bool { return v.rest || v.end-v.start > 1 }

// templateParser is a cursor in a template.
type templateParser struct {
	s   string
	pos int
	t   template
}

func parseTemplate(s string) (*template, error) {
	p := &templateParser{s: s}
	if !p.take('/') {
		return nil, errors.New("does not begin with a slash")
	}
	if p.pos < len(s) {
		if err := p.segments(false); err != nil {
			return nil, err
		}
	}
	if p.take(':') {
		p.t.verb = s[p.pos:]
		p.pos = len(s)
		if p.t.verb == "" || strings.ContainsAny(p.t.verb, "/:{}*") {
			return nil, fmt.Errorf("%q is not a custom verb", p.t.verb)
		}
	}
	if p.pos < len(s) {
		return nil, fmt.Errorf("%q is unexpected at byte %d", s[p.pos], p.pos)
	}
	for i, seg := range p.t.segments {
		if seg == many && i < len(p.t.segments)-1 {
			return nil, errors.New("** is not the last segment")
		}
	}
	seen := map[string]bool{}
	for _, v := range p.t.vars {
		name := strings.Join(v.path, ".")
		if seen[name] {
			return nil, fmt.Errorf("the variable %s is there twice", name)
		}
		seen[name] = true
	}
	return &p.t, nil
}

func (p *templateParser) take(c byte) bool {
	if p.pos < len(p.s) && p.s[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

// until returns what comes before the first of the characters in stop.
func (p *templateParser) until(stop string) string {
	rest := p.s[p.pos:]
	if i := strings.IndexAny(rest, stop); i >= 0 {
		rest = rest[:i]
	}
	p.pos += len(rest)
	return rest
}

func (p *templateParser) segments(within bool) error {
	for {
		if err := p.segment(within); err != nil {
			return err
		}
		if !p.take('/') {
			return nil
		}
	}
}

func (p *templateParser) segment(within bool) error {
	switch {
	case p.take('*'):
		seg := one
		if p.take('*') {
			seg = many
		}
		p.t.segments = append(p.t.segments, seg)
		return nil
	case p.take('{'):
		if within {
			return errors.New("a variable is within another")
		}
		return p.variable()
	}
	lit := p.until("/:{}*")
	if lit == "" {
		return fmt.Errorf("a segment is empty at byte %d", p.pos)
	}
	p.t.segments = append(p.t.segments, lit)
	return nil
}

func (p *templateParser) variable() error {
	v := variable{start: len(p.t.segments)}
	name := p.until("=}{/*")
	v.path = strings.Split(name, ".")
	for _, f := range v.path {
		if !isIdentifier(f) {
			return fmt.Errorf("%q is not the path of a field", name)
		}
	}
	if p.take('=') {
		if err := p.segments(true); err != nil {
			return err
		}
	} else {
		p.t.segments = append(p.t.segments, one)
	}
	if !p.take('}') {
		return fmt.Errorf("the variable %s does not end with a brace", name)
	}
	v.end = len(p.t.segments)
	v.rest = p.t.segments[v.end-1] == many
	p.t.vars = append(p.t.vars, v)
	return nil
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// tree finds the rule of a path: a literal is preferred to *, and that to **.
type tree struct {
	root  node
	verbs map[string]bool
	// anyVerb takes what stands behind the last colon for a verb even if no
	// template has it.
	anyVerb bool
}

type node struct {
	literal   map[string]*node
	one, many *node
	rules     map[ending]*rule
}

// ending is what must be right at the end of a path; a method "*" is any.
type ending struct{ method, verb string }

// add puts a rule into the tree, or returns the one that has its place.
func (t *tree) add(method string, tpl *template, r *rule) *rule {
	n := &t.root
	for _, seg := range tpl.segments {
		var next **node
		switch seg {
		case one:
			next = &n.one
		case many:
			next = &n.many
		default:
			c := n.literal[seg]
			if c == nil {
				if n.literal == nil {
					n.literal = map[string]*node{}
				}
				c = &node{}
				n.literal[seg] = c
			}
			n = c
			continue
		}
		if *next == nil {
			*next = &node{}
		}
		n = *next
	}
	e := ending{method, tpl.verb}
	if old := n.rules[e]; old != nil {
		return old
	}
	if n.rules == nil {
		n.rules = map[ending]*rule{}
	}
	n.rules[e] = r
	if tpl.verb != "" {
		if t.verbs == nil {
			t.verbs = map[string]bool{}
		}
		t.verbs[tpl.verb] = true
	}
	return nil
}

// find returns the rule of a request and the parts of its path.
func (t *tree) find(method, path string) (*rule, []string) {
	path, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, nil
	}
	verb := ""
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		if v := path[i+1:]; t.anyVerb || t.verbs[v] {
			path, verb = path[:i], v
		}
	}
	path = strings.TrimRight(path, "/")
	var parts []string
	if path != "" {
		parts = strings.Split(path, "/")
	}
	return t.root.find(parts, ending{method, verb}), parts
}

// find looks below n. Every node of the tree is looked at once at most, so a
// path cannot make this take longer than the rules do.
func (n *node) find(parts []string, e ending) *rule {
	if len(parts) == 0 {
		if r := n.rule(e); r != nil || n.many == nil {
			return r
		}
		return n.many.rule(e)
	}
	if c := n.literal[parts[0]]; c != nil {
		if r := c.find(parts[1:], e); r != nil {
			return r
		}
	}
	if n.one != nil {
		if r := n.one.find(parts[1:], e); r != nil {
			return r
		}
	}
	if n.many != nil {
		return n.many.rule(e)
	}
	return nil
}

func (n *node) rule(e ending) *rule {
	if r := n.rules[e]; r != nil {
		return r
	}
	return n.rules[ending{one, e.verb}]
}
