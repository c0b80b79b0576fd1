// SPDX-License-Identifier: Apache-2.0

// Package demo reads what "weir run" is given: files and folders of Envoy bootstraps, and at most one file
// of Weir's own kind Demo, which names backends to start in the same process and requests to try:
//
//	apiVersion: weir.dev/v1alpha1
//	kind: Demo
//	spec:
//	  backends:
//	    - {name: orders, address: "127.0.0.1:9001"}
//	    - name: fn-api
//	      address: 127.0.0.1:9002
//	      functions: [{app: hello-app, path: /v1, answer: Hello V1}]
//	  requests:
//	    - curl: curl -s http://127.0.0.1:8080/orders/7
//	      expect: answered by orders
//
// The package does not read bootstraps itself: it only tells them from the Demo.
package demo

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	"weir.dev/weir/internal/suggest"
)

// The identity of the kind.
const (
	APIVersion = "weir.dev/v1alpha1"
	Kind       = "Demo"
)

// Demo is the spec of a Demo.
type Demo struct {
	// Backends are started before the proxies.
	Backends []Backend
	// Requests are printed once all is up.
	Requests []Request
}

// A Backend is an echo server in this process or, if it has functions, a server of the Fn Project with these.
type Backend struct {
	// Name is what it calls itself in its answers. Required, and unique.
	Name string
	// Address is "host:port" or "unix:PATH". Required, and unique.
	Address string
	// Functions are those of a server of Fn.
	Functions []Function
}

// A Function answers every call with the same text.
type Function struct {
	// App and Path are where it is called: /t/APP/PATH and /r/APP/PATH. Path begins with a slash. Required.
	App, Path string
	// ID has it called by /invoke/ID, too. Empty is none.
	ID string
	// Answer is the text. Required.
	Answer string
}

// A Request is one line to try.
type Request struct {
	// Curl is a command line, beginning with "curl ". Required.
	Curl string
	// Expect says in a few words what comes of it. Required.
	Expect string
}

// Parse reads a Demo strictly. Its error holds every problem, one a line, each with the file's name, line
// and field and what would be right.
func Parse(name string, data []byte) (*Demo, error) {
	root, err := document(name, data)
	if err != nil {
		return nil, err
	}
	r := &reader{file: name}
	d := r.demo(root)
	if err := errors.Join(r.problems...); err != nil {
		return nil, err
	}
	return d, nil
}

// document parses one YAML document (JSON is one, too) into its root node.
func document(name string, data []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s: the file is empty", name)
	}
	return doc.Content[0], nil
}

// reader walks the nodes of one file and collects problems.
type reader struct {
	file     string
	problems []error
}

// bad notes a problem at a node. reason says what is wrong and what would be right.
func (r *reader) bad(n *yaml.Node, path, reason string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s:%d: %s: %s", r.file, n.Line, path, fmt.Sprintf(reason, args...)))
}

func (r *reader) demo(n *yaml.Node) *Demo {
	d := &Demo{}
	root := r.mapping(n, "demo", "apiVersion", "kind", "metadata", "spec")
	if v, ok := root["apiVersion"]; ok && v.Value != APIVersion {
		r.bad(v, "apiVersion", "%q is not known: write %s", v.Value, APIVersion)
	}
	if m, ok := root["metadata"]; ok {
		r.mapping(m, "metadata", "name")
	}
	spec, ok := root["spec"]
	if !ok {
		r.bad(n, "spec", "missing")
		return d
	}
	fields := r.mapping(spec, "spec", "backends", "requests")
	r.each(fields["backends"], "spec.backends", func(n *yaml.Node, path string) {
		f := r.mapping(n, path, "name", "address", "functions")
		b := Backend{Name: r.text(n, f, path, "name"), Address: r.text(n, f, path, "address"), Functions: r.functions(f["functions"], path+".functions")}
		if !strings.HasPrefix(b.Address, "unix:") && b.Address != "" {
			if _, port, err := net.SplitHostPort(b.Address); err != nil || port == "" {
				r.bad(f["address"], path+".address", "%q is not an address: write host:port or unix:PATH", b.Address)
			}
		}
		if slices.ContainsFunc(d.Backends, func(o Backend) bool { return o.Name == b.Name }) {
			r.bad(n, path+".name", "another backend is called %q", b.Name)
		}
		if slices.ContainsFunc(d.Backends, func(o Backend) bool { return o.Address == b.Address }) {
			r.bad(n, path+".address", "another backend listens on %q", b.Address)
		}
		d.Backends = append(d.Backends, b)
	})
	r.each(fields["requests"], "spec.requests", func(n *yaml.Node, path string) {
		f := r.mapping(n, path, "curl", "expect")
		q := Request{Curl: r.text(n, f, path, "curl"), Expect: r.text(n, f, path, "expect")}
		if q.Curl != "" && !strings.HasPrefix(q.Curl, "curl ") {
			r.bad(f["curl"], path+".curl", "%q is not a command: it begins with \"curl \"", q.Curl)
		}
		d.Requests = append(d.Requests, q)
	})
	return d
}

// functions returns those of a backend.
func (r *reader) functions(n *yaml.Node, path string) []Function {
	var out []Function
	r.each(n, path, func(n *yaml.Node, path string) {
		f := r.mapping(n, path, "app", "path", "id", "answer")
		one := Function{App: r.text(n, f, path, "app"), Path: r.text(n, f, path, "path"), Answer: r.text(n, f, path, "answer")}
		if f["id"] != nil {
			one.ID = r.text(n, f, path, "id")
		}
		if one.Path != "" && !strings.HasPrefix(one.Path, "/") {
			r.bad(f["path"], path+".path", "%q is not a path: it begins with a slash", one.Path)
		}
		if slices.ContainsFunc(out, func(o Function) bool { return o.App == one.App && o.Path == one.Path || o.ID != "" && o.ID == one.ID }) {
			r.bad(n, path, "another function has the same path or id")
		}
		out = append(out, one)
	})
	return out
}

// mapping returns the fields of n by name, and notes those that are unknown or stand twice.
func (r *reader) mapping(n *yaml.Node, path string, known ...string) map[string]*yaml.Node {
	out := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		r.bad(n, path, "want fields %s, not %s", strings.Join(known, ", "), describe(n))
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.bad(key, path, "a field's name is text")
		case !slices.Contains(known, key.Value):
			remedy := "there are " + strings.Join(known, ", ")
			if near, ok := suggest.Nearest(key.Value, slices.Values(known)); ok {
				remedy = fmt.Sprintf("did you mean %q?", near)
			}
			r.bad(key, path, "unknown field %q (%s)", key.Value, remedy)
		case out[key.Value] != nil:
			r.bad(key, path, "field %q stands twice", key.Value)
		default:
			out[key.Value] = value
		}
	}
	return out
}

// each calls f for every member of a list; a field that is not there is an empty list.
func (r *reader) each(n *yaml.Node, path string, f func(n *yaml.Node, path string)) {
	if n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.bad(n, path, "want a list, not %s", describe(n))
		return
	}
	for i, m := range n.Content {
		f(m, fmt.Sprintf("%s[%d]", path, i))
	}
}

// text returns a field that must be there and hold text on one line.
func (r *reader) text(at *yaml.Node, fields map[string]*yaml.Node, path, name string) string {
	n, ok := fields[name]
	path += "." + name
	switch {
	case !ok:
		if at.Kind == yaml.MappingNode {
			r.bad(at, path, "missing")
		}
	case n.Kind != yaml.ScalarNode || n.Tag != "!!str":
		r.bad(n, path, "want text, not %s", describe(n))
	case strings.TrimSpace(n.Value) == "":
		r.bad(n, path, "empty")
	case strings.ContainsAny(n.Value, "\r\n"):
		r.bad(n, path, "want one line")
	default:
		return n.Value
	}
	return ""
}

// describe names what a node is to somebody who wrote it.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "fields"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return fmt.Sprintf("%q", n.Value)
}
