// SPDX-License-Identifier: Apache-2.0

// Package attribute is the language of expressions over what is known of a request or
// connection: the Common Expression Language with Envoy's attributes.
package attribute

import (
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/expr"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	exprv1 "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/proto"
)

// maxExpression bounds an expression's text, in bytes.
const maxExpression = 64 << 10

// objects are the attributes' first names.
var objects = [...]string{"request", "response", "source", "destination", "connection", "upstream", "metadata", "filter_state", "xds"}

// NewEnv returns what expressions are compiled in. Making one is costly; it may be used by
// one goroutine at a time.
func NewEnv() (*cel.Env, error) {
	var opts []cel.EnvOption
	for _, o := range objects {
		opts = append(opts, cel.Variable(o, cel.MapType(cel.StringType, cel.DynType)))
	}
	return cel.NewEnv(opts...)
}

// Compile reads an expression in CEL's syntax, and checks it for types and names.
func Compile(env *cel.Env, text string) (*cel.Ast, error) {
	if len(text) > maxExpression {
		return nil, fmt.Errorf("expression of %d bytes is longer than %d", len(text), maxExpression)
	}
	ast, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		if first := issues.Errors(); len(first) > 0 {
			return nil, fmt.Errorf("line %d, column %d: %s", first[0].Location.Line(), first[0].Location.Column()+1, first[0].Message)
		}
		return nil, err
	}
	return ast, nil
}

// checker is the environment of Check and Parse.
var checker = struct {
	sync.Mutex
	env func() (*cel.Env, error)
}{env: sync.OnceValues(NewEnv)}

// Check returns what is wrong with an expression that proxies are to compile, if anything
// is. Any goroutine may call it.
func Check(text string) error {
	_, err := check(text)
	return err
}

// Parse returns an expression as proxies are to have it, or what is wrong with it. Any
// goroutine may call it.
func Parse(text string) (*xdstypev3.CelExpression, error) {
	ast, err := check(text)
	if err != nil {
		return nil, err
	}
	old, err := cel.AstToParsedExpr(ast)
	if err != nil {
		return nil, err
	}
	// The messages of cel.expr are those of google.api.expr.v1alpha1 under a new name.
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(&exprv1.ParsedExpr{Expr: old.GetExpr()})
	if err != nil {
		return nil, err
	}
	out := &expr.ParsedExpr{}
	if err := proto.Unmarshal(data, out); err != nil {
		return nil, err
	}
	return &xdstypev3.CelExpression{CelExprParsed: out}, nil
}

func check(text string) (*cel.Ast, error) {
	checker.Lock()
	defer checker.Unlock()
	env, err := checker.env()
	if err != nil {
		return nil, err
	}
	return Compile(env, text)
}
