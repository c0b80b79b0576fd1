// SPDX-License-Identifier: Apache-2.0

// Package cel matches requests and connections by expressions of the Common
// Expression Language over Envoy's attributes (request, response, source,
// destination, connection, upstream, metadata, filter_state, xds). Attributes
// are looked up only when the expression asks for them.
//
// An evaluation allocates, unlike the rest of package match, and its cost is
// bounded by [MaxCost].
package cel

import (
	celgo "cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/xds/attribute"
)

// MaxCost bounds one evaluation, in CEL's units of cost: an expression that
// exceeds it fails, and so does not match.
const MaxCost = 1_000_000

// Compiler compiles expressions. It may be used by one goroutine at a time;
// making one is costly, so that it should be kept.
type Compiler struct{ env *celgo.Env }

// NewCompiler returns a compiler that knows Envoy's attributes.
func NewCompiler() (*Compiler, error) {
	env, err := attribute.NewEnv()
	if err != nil {
		return nil, err
	}
	return &Compiler{env: env}, nil
}

// Program is a compiled expression. It may be used by any number of
// goroutines.
type Program struct{ p celgo.Program }

func (c *Compiler) program(ast *celgo.Ast) (*Program, error) {
	p, err := c.env.Program(ast, celgo.EvalOptions(celgo.OptOptimize), celgo.CostLimit(MaxCost))
	if err != nil {
		return nil, err
	}
	return &Program{p: p}, nil
}

// Match reports whether the expression is true. One that fails, such as by
// asking for an attribute that is missing, is not.
func (p *Program) Match(d match.Data) bool {
	v, ok := p.Eval(d)
	return ok && v.Value() == true
}

// MatchValue makes a Program a matcher of matcher trees. The input's value does
// not matter: the expression sees everything.
func (p *Program) MatchValue(_ match.Value, d match.Data) bool { return p.Match(d) }

// Eval returns the expression's value, and false if it fails.
func (p *Program) Eval(d match.Data) (ref.Val, bool) {
	v, _, err := p.p.Eval(activation{d})
	if err != nil || types.IsUnknownOrError(v) {
		return nil, false
	}
	return v, true
}

// activation resolves the attributes' first names.
type activation struct{ d match.Data }

func (activation) Parent() interpreter.Activation { return nil }

func (a activation) ResolveName(name string) (any, bool) {
	d := a.d
	switch name {
	case "request":
		return newObject(requestNames[:], func(n string) (any, bool) { return requestAttr(d, n) }), true
	case "response":
		return newObject(responseNames[:], func(n string) (any, bool) { return responseAttr(d, n) }), true
	case "source":
		return newObject(endNames[:], func(n string) (any, bool) { return sourceAttr(d, n) }), true
	case "destination":
		return newObject(endNames[:], func(n string) (any, bool) { return destinationAttr(d, n) }), true
	case "connection":
		return newObject(connectionNames[:], func(n string) (any, bool) { return connectionAttr(d, n) }), true
	case "upstream":
		return newObject(upstreamNames[:], func(n string) (any, bool) { return upstreamAttr(d, n) }), true
	case "metadata":
		return map[string]any{"filter_metadata": dynamicMetadata(d)}, true
	case "filter_state":
		return filterState(d), true
	case "xds":
		return newObject(xdsNames[:], func(n string) (any, bool) { return xdsAttr(d, n) }), true
	}
	return nil, false
}

// input is xds.type.matcher.v3.HttpAttributesCelMatchInput: it is always
// there.
type input struct{}

func (input) Get(match.Data) match.Value { return match.Value{Present: true} }
