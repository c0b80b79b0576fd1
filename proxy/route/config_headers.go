// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// Headers are compiled HeaderValueOptions of a message that no route changes: those
// of local replies and of requests that open tunnels.
type Headers struct{ m *mutations }

// CompileHeaders compiles a list of HeaderValueOptions; the paths of errors begin with
// its field. Of ctx only CompileFormat is used. Pseudo-header fields and Host are
// refused, as Envoy does.
func CompileHeaders(field string, list []*corev3.HeaderValueOption, ctx Context) (*Headers, error) {
	c := &compiler{ctx: ctx, problems: &[]Problem{}, seen: map[Problem]bool{}}
	m := &mutations{pool: newScratch()}
	for i, o := range list {
		c.at("%s[%d]", field, i).setter(m, o)
	}
	return &Headers{m}, c.first()
}

// Mutations are compiled HeaderMutations.
type Mutations struct{ list mutationList }

// CompileMutations compiles a list of HeaderMutations as CompileHeaders does; but they
// may set pseudo-header fields, and :authority by the name of Host.
func CompileMutations(field string, list []*mutationv3.HeaderMutation, ctx Context) (Mutations, error) {
	c := &compiler{ctx: ctx, problems: &[]Problem{}, seen: map[Problem]bool{}, scratch: newScratch(), pseudo: true}
	l := c.mutationList(field, list)
	return Mutations{l}, c.first()
}

// Empty reports whether there are none.
func (m *Mutations) Empty() bool { return len(m.list) == 0 }

// Apply makes the changes one after the other: each sees those before it.
func (m *Mutations) Apply(h *header.Map, info *streaminfo.Stream) { m.list.apply(h, info) }

func (c *compiler) first() error {
	for _, p := range *c.problems {
		return p
	}
	return nil
}

// Apply changes h: all values are formatted from info before any is set; then those
// that overwrite are set, and last those that append are added.
func (s *Headers) Apply(h *header.Map, info *streaminfo.Stream) {
	if s != nil {
		s.m.apply(h, info)
	}
}

// removable returns the name of a header that may be removed here.
func (c *compiler) removable(s string) (header.Name, bool) {
	n, ok := c.settable(s)
	if ok && n.IsPseudo() {
		c.reject("%s cannot be removed: a message has no meaning without it", s)
	}
	return n, ok && !n.IsPseudo()
}

// settable returns the name of a header that may be changed here.
func (c *compiler) settable(s string) (header.Name, bool) {
	switch special := s == "" || s[0] == ':' || strings.EqualFold(s, "host"); {
	case special && (!c.pseudo || s == ""):
		c.reject("header %q may not be changed here: use prefix_rewrite, host_rewrite_literal and their like", s)
		return header.Name{}, false
	case special && s[0] != ':':
		return header.Authority, true // As Envoy has it: one field, two names.
	}
	for i := range len(s) {
		if b := s[i]; b <= ' ' || b >= 0x7f || strings.IndexByte(`"(),/;<=>?@[\]{}`, b) >= 0 || b == ':' && i > 0 {
			c.reject("%q is not a header name", s)
			return header.Name{}, false
		}
	}
	return header.NewName(s), true
}

// setter compiles one HeaderValueOption.
func (c *compiler) setter(m *mutations, o *corev3.HeaderValueOption) {
	name, ok := c.at("header.key").settable(o.GetHeader().GetKey())
	if !ok {
		return
	}
	s := setter{name: name, keepEmpty: o.GetKeepEmptyValue()}
	text := o.GetHeader().GetValue()
	if raw := o.GetHeader().GetRawValue(); len(raw) > 0 {
		if text != "" {
			c.at("header.raw_value").reject("value is set too: only one of them may be")
		}
		text = string(raw)
	}
	if !cleanLocation(text) {
		c.at("header.value").reject("has a line break or NUL: remove it")
	}
	if v := c.at("header.value").format(text); v != nil {
		s.value, s.format = v.text, v.format
	}
	s.action = c.appendAction(o)
	if name.IsPseudo() && s.action == appendOrAdd {
		c.at("append_action").reject("%s has one value: use OVERWRITE_IF_EXISTS_OR_ADD", name)
	}
	m.set = append(m.set, s)
}

// appendAction reads append_action, and append that it replaced.
func (c *compiler) appendAction(o *corev3.HeaderValueOption) (a appendAction) {
	switch o.GetAppendAction() {
	case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
		a = appendOrAdd
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		a = addIfAbsent
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		a = overwriteOrAdd
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		a = overwriteIfExists
	default:
		c.at("append_action").reject("value %d is not known", o.AppendAction)
	}
	if old := o.GetAppend(); old != nil {
		if a != appendOrAdd {
			c.at("append").reject("append_action is set too: leave out append, which is deprecated")
		} else if !old.Value {
			a = overwriteOrAdd
		}
	}
	return a
}
