// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"errors"
	"fmt"

	celgo "cel.dev/cel-go/cel"
	expr "cel.dev/expr"
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	exprv1 "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/xds/attribute"
)

// CompileText compiles an expression in CEL's syntax. It is checked for types
// and names.
func (c *Compiler) CompileText(s string) (*Program, error) {
	ast, err := attribute.Compile(c.env, s)
	if err != nil {
		return nil, err
	}
	return c.program(ast)
}

// CompileExpr compiles a parsed expression, as RBAC's condition has it. Its parts
// need no IDs: people who write one by hand leave them out.
func (c *Compiler) CompileExpr(e *exprv1.Expr) (*Program, error) {
	e = proto.CloneOf(e)
	number(e.ProtoReflect(), new(int64))
	return c.compileParsed(&exprv1.ParsedExpr{Expr: e})
}

// number gives each part of an expression an ID of its own, by which the checker
// keeps its books.
func number(m protoreflect.Message, last *int64) {
	if id := m.Descriptor().Fields().ByName("id"); id != nil && id.Kind() == protoreflect.Int64Kind {
		*last++
		m.Set(id, protoreflect.ValueOfInt64(*last))
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				number(v.List().Get(i).Message(), last)
			}
		default:
			number(v.Message(), last)
		}
		return true
	})
}

func (c *Compiler) compileParsed(e *exprv1.ParsedExpr) (*Program, error) {
	if e.GetExpr() == nil {
		return nil, errors.New("expression is empty")
	}
	ast, iss := c.env.Check(celgo.ParsedExprToAst(e))
	if err := iss.Err(); err != nil {
		return nil, err
	}
	return c.program(ast)
}

// Compile compiles a CelExpression in any of its forms.
func (c *Compiler) Compile(e *xdstypev3.CelExpression) (*Program, error) {
	switch {
	case e.GetCelExprString() != "":
		return c.CompileText(e.GetCelExprString())
	case e.GetCelExprParsed() != nil:
		return c.compileCanonical(e.GetCelExprParsed())
	case e.GetCelExprChecked() != nil:
		// Checked anew: the types it was checked against need not be these.
		return c.compileCanonical(&expr.ParsedExpr{Expr: e.GetCelExprChecked().GetExpr()})
	case e.GetParsedExpr() != nil:
		return c.compileParsed(e.GetParsedExpr())
	case e.GetCheckedExpr() != nil:
		return c.CompileExpr(e.GetCheckedExpr().GetExpr())
	}
	return nil, errors.New("expression is empty: set cel_expr_string, cel_expr_parsed or cel_expr_checked")
}

// compileCanonical compiles the messages of cel.expr, which are those of
// google.api.expr.v1alpha1 under a new name.
func (c *Compiler) compileCanonical(e *expr.ParsedExpr) (*Program, error) {
	b, err := proto.Marshal(e)
	if err != nil {
		return nil, err
	}
	var old exprv1.ParsedExpr
	if err := proto.Unmarshal(b, &old); err != nil {
		return nil, err
	}
	return c.compileParsed(&old)
}

// Input compiles HttpAttributesCelMatchInput, for match.TreeContext.Input.
func (c *Compiler) Input(e *xdscorev3.TypedExtensionConfig) (match.Input, error) {
	if !e.GetTypedConfig().MessageIs((*xdsmatcherv3.HttpAttributesCelMatchInput)(nil)) {
		return nil, fmt.Errorf("input %q of type %q is not supported", e.GetName(), e.GetTypedConfig().GetTypeUrl())
	}
	return input{}, nil
}

// Matcher compiles a CelMatcher, for match.TreeContext.Matcher.
func (c *Compiler) Matcher(e *xdscorev3.TypedExtensionConfig) (match.Matcher, error) {
	var m xdsmatcherv3.CelMatcher
	if !e.GetTypedConfig().MessageIs(&m) {
		return nil, fmt.Errorf("matcher %q of type %q is not supported", e.GetName(), e.GetTypedConfig().GetTypeUrl())
	}
	if err := e.GetTypedConfig().UnmarshalTo(&m); err != nil {
		return nil, err
	}
	p, err := c.Compile(m.GetExprMatch())
	if err != nil {
		return nil, fmt.Errorf("expr_match: %w", err)
	}
	return p, nil
}
