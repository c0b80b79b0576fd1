// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"encoding/json"
	"reflect"
	"strconv"
	"sync"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/match"
)

// Operators are the operators of formats that evaluate expressions, as Envoy has them
// built in: %CEL(X)% prints a value, and so does %TYPED_CEL(X)%, which in JSON keeps its
// type. An expression that fails has no value. The compiler, which is costly, is made
// for the first of them.
func Operators() map[string]format.Constructor {
	var mu sync.Mutex
	var compiler *Compiler
	compile := func(text string) (*Program, error) {
		mu.Lock()
		defer mu.Unlock()
		if compiler == nil {
			c, err := NewCompiler()
			if err != nil {
				return nil, err
			}
			compiler = c
		}
		return compiler.CompileText(text)
	}
	operator := func(typed bool) format.Constructor {
		return func(text string, _ bool) (format.Operator, error) {
			p, err := compile(text)
			if err != nil {
				return format.Operator{}, err
			}
			o := format.Operator{Text: func(dst []byte, c format.Context) ([]byte, bool) {
				v, ok := p.Eval(match.Data{Request: c.Stream.Request, Stream: c.Stream})
				if !ok {
					return dst, false
				}
				return appendText(dst, v)
			}}
			if typed {
				o.JSON = func(dst []byte, c format.Context) ([]byte, bool) {
					v, ok := p.Eval(match.Data{Request: c.Stream.Request, Stream: c.Stream})
					if !ok {
						return dst, false
					}
					return appendJSON(dst, v)
				}
			}
			return o, nil
		}
	}
	return map[string]format.Constructor{"CEL": operator(false), "TYPED_CEL": operator(true)}
}

// appendText appends a value as text: lists and maps as JSON, null not at all.
func appendText(dst []byte, v ref.Val) ([]byte, bool) {
	switch v := v.(type) {
	case types.String:
		return append(dst, v...), true
	case types.Bytes:
		return append(dst, v...), true
	case types.Bool:
		return strconv.AppendBool(dst, bool(v)), true
	case types.Int:
		return strconv.AppendInt(dst, int64(v), 10), true
	case types.Uint:
		return strconv.AppendUint(dst, uint64(v), 10), true
	case types.Double:
		return strconv.AppendFloat(dst, float64(v), 'g', -1, 64), true
	case types.Null:
		return dst, false
	case types.Duration, types.Timestamp:
		text, ok := v.ConvertToType(types.StringType).(types.String)
		return append(dst, text...), ok
	}
	return appendJSON(dst, v)
}

// appendJSON appends a value as JSON, if it has such a form.
func appendJSON(dst []byte, v ref.Val) ([]byte, bool) {
	native, err := v.ConvertToNative(reflect.TypeFor[*structpb.Value]())
	if err != nil {
		return dst, false
	}
	value, ok := native.(*structpb.Value)
	if !ok {
		return dst, false
	}
	text, err := json.Marshal(value.AsInterface())
	if err != nil {
		return dst, false
	}
	return append(dst, text...), true
}
