// SPDX-License-Identifier: Apache-2.0

package format

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// syntax says what may follow an operator's name.
type syntax uint8

const (
	bare   syntax = 0
	needs  syntax = 1 << iota // an argument is required
	takes                     // an argument is allowed
	length                    // ":Z" is allowed
)

type entry struct {
	syntax syntax
	make   Constructor
}

// lookup makes the operator of a token.
func lookup(t token, o *Options) (Operator, error) {
	if mk, ok := o.Operators[t.name]; ok {
		return construct(t, entry{takes | length, mk})
	}
	switch t.name {
	case "COALESCE":
		return construct(t, entry{needs | length, func(arg string, _ bool) (Operator, error) { return coalesce(arg, t.max, o) }})
	case "HOSTNAME":
		return construct(t, entry{bare, func(string, bool) (Operator, error) { return hostname(o) }})
	case "ENVIRONMENT":
		return construct(t, entry{needs | length, func(arg string, _ bool) (Operator, error) { return environment(arg, o) }})
	}
	if mk, ok := timed[t.name]; ok {
		return construct(t, entry{mk.syntax, func(arg string, _ bool) (Operator, error) { return mk.make(arg, o) }})
	}
	if e, ok := builtins[t.name]; ok {
		return construct(t, e)
	}
	return Operator{}, unknown(t.name, o)
}

func construct(t token, e entry) (Operator, error) {
	switch {
	case e.syntax&needs != 0 && t.arg == "":
		return Operator{}, fmt.Errorf("%s needs an argument: %%%s(...)%%", t.name, t.name)
	case e.syntax&(needs|takes) == 0 && t.arg != "":
		return Operator{}, fmt.Errorf("%s takes no argument", t.name)
	case e.syntax&length == 0 && t.max >= 0:
		return Operator{}, fmt.Errorf("%s takes no length", t.name)
	}
	run, err := e.make(t.arg, t.has)
	if err != nil {
		return Operator{}, fmt.Errorf("%s: %w", t.name, err)
	}
	if run.Text == nil {
		return Operator{}, fmt.Errorf("%s: an operator without text", t.name)
	}
	return run, nil
}

// Names returns the names of all built-in operators, sorted.
func Names() []string {
	names := []string{"COALESCE", "ENVIRONMENT", "HOSTNAME"}
	names = slices.AppendSeq(names, maps.Keys(builtins))
	names = slices.AppendSeq(names, maps.Keys(timed))
	slices.Sort(names)
	return names
}

func unknown(name string, o *Options) error {
	switch name {
	case "CEL", "TYPED_CEL", "FILE_CONTENT", "SECRET":
		return fmt.Errorf("%s is not available here", name)
	}
	names := slices.AppendSeq(Names(), maps.Keys(o.Operators))
	return fmt.Errorf("there is no operator %.64s; the nearest is %s", name, nearest(name, names))
}

// coalesce is %COALESCE({"operators": [...]})%: the first operator with a
// value that is not empty. most is the length of the whole, which JSON too is
// cut to.
func coalesce(arg string, most int, o *Options) (Operator, error) {
	var config struct {
		Operators []json.RawMessage `json:"operators"`
	}
	if err := strictJSON(arg, &config); err != nil {
		return Operator{}, fmt.Errorf("its argument must be a JSON object with a list \"operators\": %w", err)
	}
	if len(config.Operators) == 0 {
		return Operator{}, errors.New("its list \"operators\" is empty")
	}
	ops := make([]op, 0, len(config.Operators))
	for i, raw := range config.Operators {
		one := struct {
			Command   string `json:"command"`
			Param     string `json:"param"`
			MaxLength *int   `json:"max_length"`
		}{}
		if err := json.Unmarshal(raw, &one.Command); err != nil {
			if err := strictJSON(string(raw), &one); err != nil {
				return Operator{}, fmt.Errorf("operators[%d]: a name or an object with \"command\": %w", i, err)
			}
		}
		if one.Command == "COALESCE" {
			// Nesting would say nothing more and could be deep.
			return Operator{}, fmt.Errorf("operators[%d]: COALESCE within COALESCE", i)
		}
		t := token{name: one.Command, arg: one.Param, has: one.Param != "", max: -1}
		if one.MaxLength != nil {
			if t.max = *one.MaxLength; t.max < 0 {
				return Operator{}, fmt.Errorf("operators[%d]: max_length is negative", i)
			}
		}
		run, err := lookup(t, o)
		if err != nil {
			return Operator{}, fmt.Errorf("operators[%d]: %w", i, err)
		}
		ops = append(ops, op{run: run, max: t.max})
	}
	return firstOf(ops, most), nil
}

func firstOf(ops []op, most int) Operator {
	cut := slices.Clone(ops)
	for i := range cut {
		if p := &cut[i]; most >= 0 && (p.max < 0 || p.max > most) {
			p.max = most
		}
	}
	return Operator{
		Text: func(dst []byte, c Context) ([]byte, bool) {
			start := len(dst)
			for i := range ops {
				out := ops[i].rawText(dst, c, true)
				if len(out) > start {
					return out, true
				}
				dst = out
			}
			return dst, false
		},
		JSON: func(dst []byte, c Context) ([]byte, bool) {
			for i := range cut {
				out, ok := cut[i].appendJSON(dst, c)
				if n := len(dst); ok && string(out[n:]) != `""` && string(out[n:]) != "null" {
					return out, true
				}
				dst = out[:len(dst)]
			}
			return dst, false
		},
	}
}

func strictJSON(s string, into any) error {
	d := json.NewDecoder(strings.NewReader(s))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one value")
	}
	return nil
}
