// SPDX-License-Identifier: Apache-2.0

// Package cel is the access log filter that asks an expression of the Common
// Expression Language (envoy.access_loggers.extension_filters.cel): a stream is
// logged if the expression is true of it.
package cel

import (
	_ "embed"
	"fmt"
	"sync"

	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/match"
	matchcel "weir.dev/weir/proxy/match/cel"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension; Message the type of its configuration.
const (
	Name    = "envoy.access_loggers.extension_filters.cel"
	Message = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// New returns the constructor of the filters. The compiler, which is costly, is
// made when the first filter is.
func New() func(cfg *anypb.Any) (accesslog.Filter, error) {
	var mu sync.Mutex
	var compiler *matchcel.Compiler
	return func(cfg *anypb.Any) (accesslog.Filter, error) {
		m := &celv3.ExpressionFilter{}
		if err := cfg.UnmarshalTo(m); err != nil {
			return nil, fmt.Errorf("typed_config: %w", err)
		}
		if err := supported.Apply(m, "", nil); err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if compiler == nil {
			c, err := matchcel.NewCompiler()
			if err != nil {
				return nil, fmt.Errorf("set up CEL: %w", err)
			}
			compiler = c
		}
		program, err := compiler.CompileText(m.GetExpression())
		if err != nil {
			return nil, fmt.Errorf("expression: %w", err)
		}
		return filter(program), nil
	}
}

// filter logs the streams that the program is true of; one that it cannot be
// evaluated for is not logged, as in Envoy.
func filter(p *matchcel.Program) accesslog.Filter {
	return func(info *streaminfo.Stream, _ accesslog.Type) bool {
		return p.Match(match.Data{Request: info.Request, Stream: info})
	}
}
