// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"regexp"
	"strings"

	"weir.dev/weir/proxy/match"
)

// Limits of a URI template, as in Envoy.
const (
	maxTemplateVars = 5
	maxTemplateName = 16
)

// pathChars are the characters of a path segment that '*' matches: RFC 3986's
// pchar without '*' and '='.
const pathChars = `a-zA-Z0-9\-._~%!$&'()+,;:@`

// uriTemplate is a parsed path template such as /users/{id}/**: '*' is one
// segment, '**' any number of them, and {name} and {name=*/x/**} are
// variables.
type uriTemplate struct {
	expr string
	vars []string
	// deep tells that a '**' was seen: no operator may follow it.
	deep bool
}

// parseTemplate reads a template.
func parseTemplate(s string) (*uriTemplate, error) {
	if s == "" || s[0] != '/' {
		return nil, fmt.Errorf("template %q does not begin with /", s)
	}
	t := &uriTemplate{}
	var expr strings.Builder
	rest := s[1:]
	expr.WriteByte('/')
	for rest != "" {
		part, n, err := t.segment(rest)
		if err != nil {
			return nil, fmt.Errorf("template %q: %w", s, err)
		}
		expr.WriteString(part)
		rest = rest[n:]
		switch {
		case rest == "":
		case rest[0] == '/':
			expr.WriteByte('/')
			rest = rest[1:]
		default: // A suffix, such as .m3u8 in {name}.m3u8, ends the template.
			if strings.ContainsRune(rest, '/') || !isLiteral(rest) {
				return nil, fmt.Errorf("template %q: %q may not follow a variable or operator", s, rest)
			}
			expr.WriteString(regexp.QuoteMeta(rest))
			rest = ""
		}
	}
	t.expr = expr.String()
	return t, nil
}

// segment reads what stands before the next '/', or a variable, and returns
// its expression and length.
func (t *uriTemplate) segment(s string) (string, int, error) {
	switch s[0] {
	case '*':
		n := 1
		if strings.HasPrefix(s, "**") {
			n = 2
		}
		expr, err := t.operator(s[:n])
		return expr, n, err
	case '{':
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return "", 0, fmt.Errorf("%q has no closing brace", s)
		}
		expr, err := t.variable(s[1:end])
		return expr, end + 1, err
	}
	lit, _, _ := strings.Cut(s, "/")
	if !isLiteral(lit) {
		return "", 0, fmt.Errorf("segment %q has characters a path may not have", lit)
	}
	return regexp.QuoteMeta(lit), len(lit), nil
}

func (t *uriTemplate) operator(op string) (string, error) {
	if t.deep {
		return "", fmt.Errorf("%s follows **, which must be the last operator", op)
	}
	if op == "**" {
		t.deep = true
		return "[" + pathChars + "/]*", nil
	}
	return "[" + pathChars + "]+", nil
}

func (t *uriTemplate) variable(s string) (string, error) {
	name, pattern, hasPattern := strings.Cut(s, "=")
	if !isVariable(name) {
		return "", fmt.Errorf("variable %q: a name is a letter and up to %d letters, digits and underscores", name, maxTemplateName-1)
	}
	for _, v := range t.vars {
		if v == name {
			return "", fmt.Errorf("variable %q occurs twice", name)
		}
	}
	if len(t.vars) == maxTemplateVars {
		return "", fmt.Errorf("more than %d variables", maxTemplateVars)
	}
	t.vars = append(t.vars, name)
	if !hasPattern {
		pattern = "*"
	}
	var parts []string
	for _, p := range strings.Split(pattern, "/") {
		switch {
		case p == "*" || p == "**":
			expr, err := t.operator(p)
			if err != nil {
				return "", err
			}
			parts = append(parts, expr)
		case isLiteral(p):
			parts = append(parts, regexp.QuoteMeta(p))
		default:
			return "", fmt.Errorf("variable %q: %q is no segment", name, p)
		}
	}
	return "(" + strings.Join(parts, "/") + ")", nil
}

func isVariable(s string) bool {
	if s == "" || len(s) > maxTemplateName {
		return false
	}
	for i := range len(s) {
		c := lower(s[i])
		if ('a' > c || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '_') {
			return false
		}
	}
	return true
}

func isLiteral(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := lower(s[i])
		if ('a' > c || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("-._~%!$&'()+,;:@", c) < 0 {
			return false
		}
	}
	return true
}

// matcher compiles the template to what matches whole paths.
func (t *uriTemplate) matcher() (*match.Regex, error) { return match.NewRegex(t.expr, 0) }

// templateRewrite makes a new path of a template's variables.
type templateRewrite struct {
	re    *regexp.Regexp // the matching template, with a group per variable
	parts []templatePart
}

// templatePart is a literal, or a variable's group.
type templatePart struct {
	text  string
	group int // 0 for a literal
}

// newTemplateRewrite reads a rewrite such as /new/{id}, whose variables are
// those of the template matched.
func newTemplateRewrite(s string, of *uriTemplate) (*templateRewrite, error) {
	if s == "" || s[0] != '/' {
		return nil, fmt.Errorf("rewrite %q does not begin with /", s)
	}
	re, err := regexp.Compile(`\A(?:` + of.expr + `)\z`)
	if err != nil {
		return nil, err
	}
	w := &templateRewrite{re: re}
	for s != "" {
		lit, rest, found := strings.Cut(s, "{")
		if lit != "" {
			if !isLiteral(strings.ReplaceAll(lit, "/", "a")) || strings.Contains(lit, "//") {
				return nil, fmt.Errorf("rewrite: %q is no path", lit)
			}
			w.parts = append(w.parts, templatePart{text: lit})
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, fmt.Errorf("rewrite: {%s has no closing brace", rest)
		}
		group := 0
		for i, v := range of.vars {
			if v == name {
				group = i + 1
			}
		}
		if group == 0 {
			return nil, fmt.Errorf("rewrite: variable %q is not in the template matched", name)
		}
		w.parts = append(w.parts, templatePart{group: group})
		s = after
	}
	return w, nil
}

// append appends the new path, and reports false if path does not match.
func (w *templateRewrite) append(dst []byte, path string) ([]byte, bool) {
	m := w.re.FindStringSubmatchIndex(path)
	if m == nil {
		return dst, false
	}
	for _, p := range w.parts {
		if p.group == 0 {
			dst = append(dst, p.text...)
		} else {
			dst = append(dst, path[m[2*p.group]:m[2*p.group+1]]...)
		}
	}
	return dst, true
}
