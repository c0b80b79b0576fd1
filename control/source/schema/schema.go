// SPDX-License-Identifier: Apache-2.0

// Package schema checks objects as an apiserver does by their CRD's schema: fields
// that are not known, types, limits, patterns, and rules in CEL; and it sets
// defaults. Objects from a cluster have passed all that; those from files pass here.
//
// What it does not do: rules about the object before a change (oldSelf), and pruning
// of unknown fields, which are problems here.
package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"weir.dev/weir/control/api/crd"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/suggest"
)

// Required is what is wrong with a field that has to be there and is not.
const Required = "is required"

// A Set has the schemas of the kinds that have one.
type Set struct{ schemas map[source.Kind]*Schema }

// Load reads all schemas of package crd.
func Load() (*Set, error) {
	out := &Set{schemas: map[source.Kind]*Schema{}}
	celEnv, err := newEnv()
	if err != nil {
		return nil, err
	}
	for _, t := range source.Types() {
		data, err := crd.Schemas.ReadFile(strings.ToLower(t.Kind.Kind) + "." + t.Group + ".json")
		if err != nil {
			continue // Kubernetes' own kinds have none.
		}
		s := &Schema{}
		if err := json.Unmarshal(data, s); err != nil {
			return nil, fmt.Errorf("schema of %s: %w", t.Kind, err)
		}
		if err := s.compile(celEnv); err != nil {
			return nil, fmt.Errorf("schema of %s: %w", t.Kind, err)
		}
		out.schemas[t.Kind] = s
	}
	return out, nil
}

// Get returns the schema of a kind, or nil.
func (s *Set) Get(k source.Kind) *Schema { return s.schemas[k] }

// A Schema is a node of a CRD's schema.
type Schema struct {
	Type                 string             `json:"type"`
	Format               string             `json:"format"`
	Default              any                `json:"default"`
	Enum                 []any              `json:"enum"`
	Pattern              string             `json:"pattern"`
	Minimum              *float64           `json:"minimum"`
	Maximum              *float64           `json:"maximum"`
	MinLength            *int               `json:"minLength"`
	MaxLength            *int               `json:"maxLength"`
	MinItems             *int               `json:"minItems"`
	MaxItems             *int               `json:"maxItems"`
	MaxProperties        *int               `json:"maxProperties"`
	Required             []string           `json:"required"`
	Properties           map[string]*Schema `json:"properties"`
	AdditionalProperties *Schema            `json:"additionalProperties"`
	Items                *Schema            `json:"items"`
	AnyOf                []*Schema          `json:"anyOf"`
	OneOf                []*Schema          `json:"oneOf"`
	Not                  *Schema            `json:"not"`
	ListType             string             `json:"x-kubernetes-list-type"`
	ListKeys             []string           `json:"x-kubernetes-list-map-keys"`
	Validations          []*Validation      `json:"x-kubernetes-validations"`

	pattern *regexp.Regexp
}

func (s *Schema) compile(env *env) error {
	if s == nil {
		return nil
	}
	if s.Pattern != "" {
		var err error
		if s.pattern, err = regexp.Compile(s.Pattern); err != nil {
			return err
		}
	}
	for _, v := range s.Validations {
		v.env = env
	}
	for _, p := range s.Properties {
		if err := p.compile(env); err != nil {
			return err
		}
	}
	for _, p := range slices.Concat(s.AnyOf, s.OneOf, []*Schema{s.AdditionalProperties, s.Items, s.Not}) {
		if err := p.compile(env); err != nil {
			return err
		}
	}
	return nil
}

// A Problem is a field that is not as the schema asks.
type Problem struct{ Path, Reason string }

// Complete checks an object, of which metadata is left out, and sets the defaults of
// fields that it lacks.
func (s *Schema) Complete(object map[string]any) []Problem {
	w := &walker{}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		switch p := s.Properties[name]; {
		case name == "metadata" || name == "status":
		case p == nil:
			w.unknown(name, name, s.Properties)
		default:
			object[name] = w.visit(p, object[name], name)
		}
	}
	for _, name := range s.Required {
		if _, ok := object[name]; !ok {
			w.bad(name, Required)
		}
	}
	return w.problems
}

type walker struct{ problems []Problem }

func (w *walker) bad(path, format string, args ...any) {
	w.problems = append(w.problems, Problem{path, fmt.Sprintf(format, args...)})
}

func (w *walker) unknown(path, name string, known map[string]*Schema) {
	hint := ""
	if near, ok := suggest.Nearest(name, maps.Keys(known)); ok {
		hint = fmt.Sprintf(" (did you mean %q?)", near)
	}
	w.bad(path, "unknown field%s", hint)
}

// visit checks a value and returns it with its defaults.
func (w *walker) visit(s *Schema, v any, path string) any {
	before := len(w.problems)
	if !w.typed(s, v, path) {
		return v
	}
	switch x := v.(type) {
	case map[string]any:
		w.object(s, x, path)
	case []any:
		w.list(s, x, path)
	case string:
		w.text(s, x, path)
	case int64:
		w.number(s, float64(x), path)
	case float64:
		w.number(s, x, path)
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(e any) bool { return same(e, v) }) {
		var all []string
		for _, e := range s.Enum {
			all = append(all, fmt.Sprint(e))
		}
		w.bad(path, "is %v: there are %s", v, strings.Join(all, ", "))
	}
	w.combined(s, v, path)
	if len(w.problems) == before { // Rules may rely on what the schema says.
		for _, rule := range s.Validations {
			if reason := rule.check(v); reason != "" {
				w.bad(path, "%s", reason)
			}
		}
	}
	return v
}

func same(a, b any) bool {
	if f, ok := a.(float64); ok {
		if i, ok := b.(int64); ok {
			return f == float64(i)
		}
	}
	return reflect.DeepEqual(a, b)
}

func (w *walker) typed(s *Schema, v any, path string) bool {
	ok, got := true, ""
	switch v.(type) {
	case map[string]any:
		ok, got = s.Type == "object", "fields"
	case []any:
		ok, got = s.Type == "array", "a list"
	case string:
		ok, got = s.Type == "string", strconv.Quote(v.(string))
	case int64:
		ok, got = s.Type == "integer" || s.Type == "number", fmt.Sprint(v)
	case float64:
		ok, got = s.Type == "number", fmt.Sprint(v)
	case bool:
		ok, got = s.Type == "boolean", fmt.Sprint(v)
	case nil:
		ok, got = false, "nothing"
	}
	if s.Type != "" && !ok {
		want := map[string]string{
			"object": "fields", "array": "a list", "string": "a text (in quotes, if it looks like a number)",
			"integer": "a whole number", "number": "a number", "boolean": "true or false",
		}[s.Type]
		w.bad(path, "is %s, and should be %s", got, want)
		return false
	}
	return true
}

func (w *walker) object(s *Schema, m map[string]any, path string) {
	if s.Properties == nil && s.AdditionalProperties == nil {
		return // Anything goes.
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at := path + "." + name
		switch p := s.Properties[name]; {
		case p != nil && m[name] == nil:
			delete(m, name) // A null is a field left out.
		case p != nil:
			m[name] = w.visit(p, m[name], at)
		case s.AdditionalProperties != nil:
			m[name] = w.visit(s.AdditionalProperties, m[name], path+"["+strconv.Quote(name)+"]")
		default:
			w.unknown(at, name, s.Properties)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		if _, ok := m[name]; ok || p.Default == nil {
			continue
		}
		m[name] = w.visit(p, normal(p.Default), path+"."+name)
	}
	for _, name := range s.Required {
		if _, ok := m[name]; !ok {
			w.bad(path+"."+name, Required)
		}
	}
	if s.MaxProperties != nil && len(m) > *s.MaxProperties {
		w.bad(path, "has %d fields, and may have %d", len(m), *s.MaxProperties)
	}
}

// normal copies a default, with whole numbers as the reader of files has them.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = normal(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = normal(x)
		}
		return out
	case float64:
		if v == math.Trunc(v) {
			return int64(v)
		}
	}
	return v
}

func (w *walker) list(s *Schema, l []any, path string) {
	if s.Items != nil {
		for i := range l {
			l[i] = w.visit(s.Items, l[i], fmt.Sprintf("%s[%d]", path, i))
		}
	}
	if s.MinItems != nil && len(l) < *s.MinItems {
		w.bad(path, "has %d entries, and needs at least %d", len(l), *s.MinItems)
	}
	if s.MaxItems != nil && len(l) > *s.MaxItems {
		w.bad(path, "has %d entries, and may have %d", len(l), *s.MaxItems)
	}
	if s.ListType == "map" || s.ListType == "set" {
		w.distinct(s, l, path)
	}
}

func (w *walker) distinct(s *Schema, l []any, path string) {
	seen := map[string]bool{}
	for i, v := range l {
		key := fmt.Sprint(v)
		if m, ok := v.(map[string]any); ok && s.ListType == "map" {
			var parts []string
			for _, k := range s.ListKeys {
				parts = append(parts, fmt.Sprintf("%s %v", k, m[k]))
			}
			key = strings.Join(parts, ", ")
		}
		if seen[key] {
			w.bad(fmt.Sprintf("%s[%d]", path, i), "stands twice (%s)", key)
		}
		seen[key] = true
	}
}

func (w *walker) text(s *Schema, v, path string) {
	n := utf8.RuneCountInString(v)
	switch {
	case s.MinLength != nil && n < *s.MinLength:
		w.bad(path, "is too short: at least %d characters", *s.MinLength)
	case s.MaxLength != nil && n > *s.MaxLength:
		w.bad(path, "is too long: at most %d characters", *s.MaxLength)
	case s.pattern != nil && !s.pattern.MatchString(v):
		w.bad(path, "%q is not of the form %s", v, s.Pattern)
	}
}

func (w *walker) number(s *Schema, v float64, path string) {
	switch {
	case s.Minimum != nil && v < *s.Minimum:
		w.bad(path, "is %v: at least %v", v, *s.Minimum)
	case s.Maximum != nil && v > *s.Maximum:
		w.bad(path, "is %v: at most %v", v, *s.Maximum)
	case s.Format == "int32" && (v > math.MaxInt32 || v < math.MinInt32):
		w.bad(path, "is %v, which is too large", v)
	}
}

// combined checks anyOf, oneOf and not.
func (w *walker) combined(s *Schema, v any, path string) {
	switch {
	case len(s.AnyOf) > 0 && matches(s.AnyOf, v) == 0, len(s.OneOf) > 0 && matches(s.OneOf, v) != 1:
		w.bad(path, "is of none of the forms that are allowed")
	case s.Not != nil && matches([]*Schema{s.Not}, v) == 1:
		w.bad(path, "is of a form that is not allowed")
	}
}

// matches counts the schemas that v is right by.
func matches(list []*Schema, v any) int {
	n := 0
	for _, s := range list {
		alone := &walker{}
		if alone.partial(s, v); len(alone.problems) == 0 {
			n++
		}
	}
	return n
}

// partial checks v against a part of a schema, which says only what it adds.
func (w *walker) partial(s *Schema, v any) {
	switch x := v.(type) {
	case map[string]any:
		for name, p := range s.Properties {
			if field, ok := x[name]; ok {
				w.partial(p, field)
			}
		}
		for _, name := range s.Required {
			if _, ok := x[name]; !ok {
				w.bad(name, Required)
			}
		}
	case string:
		w.text(s, x, "")
		if ip, err := netip.ParseAddr(x); s.Format == "ipv4" && (err != nil || !ip.Is4()) || s.Format == "ipv6" && (err != nil || !ip.Is6()) {
			w.bad("", "is no address")
		}
	case []any:
		if s.MaxItems != nil && len(x) > *s.MaxItems || s.MinItems != nil && len(x) < *s.MinItems {
			w.bad("", "has not so many entries")
		}
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(e any) bool { return same(e, v) }) {
		w.bad("", "is another")
	}
	w.combined(s, v, "")
}
