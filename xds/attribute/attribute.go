// SPDX-License-Identifier: Apache-2.0

// Package attribute is the language of expressions over what is known of a request or
// connection: the Common Expression Language with Envoy's attributes.
package attribute

import (
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
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

// checker is the environment of Check.
var checker = struct {
	sync.Mutex
	env func() (*cel.Env, error)
}{env: sync.OnceValues(NewEnv)}

// Check returns what is wrong with an expression that proxies are to compile, if anything
// is. Any goroutine may call it.
func Check(text string) error {
	checker.Lock()
	defer checker.Unlock()
	env, err := checker.env()
	if err != nil {
		return err
	}
	_, err = Compile(env, text)
	return err
}
