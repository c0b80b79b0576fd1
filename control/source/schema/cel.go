// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
)

// A Validation is a rule in CEL and what to say if it does not hold.
type Validation struct {
	Rule    string `json:"rule"`
	Message string `json:"message"`

	env     *env
	once    sync.Once
	program cel.Program
	err     error
}

// label is RFC 1123's, as Kubernetes has it.
var label = regexp.MustCompile("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")

// env is what rules are compiled in.
type env struct{ *cel.Env }

func newEnv() (*env, error) {
	e, err := cel.NewEnv(
		ext.Strings(),
		cel.Variable("self", cel.DynType),
		cel.Function("isIP", cel.Overload("is_ip", []*cel.Type{cel.StringType}, cel.BoolType,
			cel.UnaryBinding(func(v ref.Val) ref.Val {
				_, err := netip.ParseAddr(fmt.Sprint(v.Value()))
				return types.Bool(err == nil)
			}))),
		// Of Kubernetes' library of formats, the one that CRDs ask for: what is wrong, or null.
		cel.Function("format.dns1123Label", cel.Overload("format_dns1123_label", nil, cel.DynType,
			cel.FunctionBinding(func(...ref.Val) ref.Val { return types.String("dns1123Label") }))),
		cel.Function("validate", cel.MemberOverload("format_validate", []*cel.Type{cel.DynType, cel.StringType}, cel.DynType,
			cel.BinaryBinding(func(_, v ref.Val) ref.Val {
				if len(fmt.Sprint(v.Value())) <= 63 && label.MatchString(fmt.Sprint(v.Value())) {
					return types.NullValue
				}
				return types.String("is not a label")
			}))),
	)
	if err != nil {
		return nil, fmt.Errorf("environment of CEL: %w", err)
	}
	return &env{e}, nil
}

// check returns why v breaks the rule, or "".
func (v *Validation) check(value any) string {
	if strings.Contains(v.Rule, "oldSelf") {
		return "" // It is about a change, and here nothing was before.
	}
	v.once.Do(v.compile)
	if v.err != nil {
		return fmt.Sprintf("the rule %q cannot be read: %v", v.Rule, v.err)
	}
	out, _, err := v.program.Eval(map[string]any{"self": escaped(value)})
	if err != nil {
		return fmt.Sprintf("%s (%v)", v.Message, err)
	}
	if ok, isBool := out.Value().(bool); isBool && ok {
		return ""
	}
	return v.Message
}

func (v *Validation) compile() {
	ast, issues := v.env.Compile(v.Rule)
	if v.err = issues.Err(); v.err != nil {
		return
	}
	// The cost of a rule is bounded as the objects are: by the size of a file.
	v.program, v.err = v.env.Program(ast)
}

// escaped renames fields whose names mean something in CEL, as Kubernetes does.
func escaped(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			if k == "namespace" {
				k = "__namespace__"
			}
			out[k] = escaped(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = escaped(x)
		}
		return out
	}
	return v
}
