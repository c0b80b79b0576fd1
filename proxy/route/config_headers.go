// SPDX-License-Identifier: Apache-2.0

package route

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// Headers are headers to add to a request that is not of a route, such as the one
// that opens a tunnel.
type Headers struct{ m *mutations }

// CompileHeaders compiles a list of HeaderValueOptions; the paths of problems begin
// with its field. All problems are returned; those that are no warnings forbid the use
// of the result.
func CompileHeaders(field string, list []*corev3.HeaderValueOption, ctx Context) (*Headers, []Problem) {
	c := &compiler{ctx: ctx, problems: &[]Problem{}, seen: map[Problem]bool{}}
	m := &mutations{pool: newScratch()}
	for i, o := range list {
		c.at("%s[%d]", field, i).setter(m, o)
	}
	return &Headers{m}, *c.problems
}

// Apply adds the headers to h; info is what their values are formatted from.
func (s *Headers) Apply(h *header.Map, info *streaminfo.Stream) { s.m.apply(h, info) }
