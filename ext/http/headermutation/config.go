// SPDX-License-Identifier: Apache-2.0

package headermutation

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.header_mutation"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:     Name,
		Config:   &headermutationv3.HeaderMutation{},
		New:      newFilter,
		Route:    &headermutationv3.HeaderMutationPerRoute{},
		NewRoute: newRoute,
		Place:    extension.Anywhere,
	}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*headermutationv3.HeaderMutation)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a HeaderMutation", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	own, err := compile(m.GetMutations(), c.Services)
	if err != nil {
		return nil, fmt.Errorf("mutations.%w", err)
	}
	return &Filter{
		name: c.Name, slot: c.Slot, own: own,
		specificLast: m.GetMostSpecificHeaderMutationsWins(),
		scratch:      &sync.Pool{New: func() any { return new([]byte) }},
	}, nil
}

func newRoute(cfg proto.Message, s *extension.Services) (any, error) {
	m, ok := cfg.(*headermutationv3.HeaderMutationPerRoute)
	if !ok {
		return nil, fmt.Errorf("%s: per-route configuration is a %s, not a HeaderMutationPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	own, err := compile(m.GetMutations(), s)
	if err != nil {
		return nil, fmt.Errorf("mutations.%w", err)
	}
	return own, nil
}

func compile(m *headermutationv3.Mutations, s *extension.Services) (*Mutations, error) {
	l := loader{formatters: m.GetFormatters(), options: format.Options{Hostname: s.Node.Hostname, Operators: s.Operators}}
	out := &Mutations{}
	if _, err := l.load(""); err != nil {
		return nil, err // Of formatters, even if no value asks them.
	}
	ctx := route.Context{CompileFormat: func(s string) (route.Formatter, error) { return l.load(s) }}
	for _, list := range []struct {
		field string
		from  []*mutationv3.HeaderMutation
		to    *route.Mutations
	}{
		{"request_mutations", m.GetRequestMutations(), &out.request},
		{"response_mutations", m.GetResponseMutations(), &out.response},
		{"request_trailers_mutations", m.GetRequestTrailersMutations(), &out.requestTrailer},
		{"response_trailers_mutations", m.GetResponseTrailersMutations(), &out.responseTrailer},
	} {
		var err error
		if *list.to, err = route.CompileMutations(list.field, list.from, ctx); err != nil {
			return nil, err
		}
	}
	for i, q := range m.GetQueryParameterMutations() {
		op, err := l.query(q)
		if err != nil {
			return nil, fmt.Errorf("query_parameter_mutations[%d].%w", i, err)
		}
		out.query = append(out.query, op)
	}
	return out, nil
}

type loader struct {
	formatters []*corev3.TypedExtensionConfig
	options    format.Options
}

// load compiles a format; a missing operand is nothing, not "-".
func (l *loader) load(text string) (*format.Format, error) {
	return (&format.Loader{Options: l.options}).Load(&corev3.SubstitutionFormatString{
		Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: text},
		}},
		OmitEmptyValues: true,
		Formatters:      l.formatters,
	})
}

// value compiles the value of a parameter.
func (l *loader) value(text string) (*format.Format, string, error) {
	if strings.ContainsAny(text, "\r\n\x00") {
		return nil, "", errors.New("has a line break or NUL: remove it")
	}
	f, err := l.load(text)
	if err != nil {
		return nil, "", err
	}
	if s, ok := f.Literal(); ok {
		return nil, s, nil
	}
	return f, "", nil
}

func (l *loader) query(m *corev3.KeyValueMutation) (op queryOp, err error) {
	a := m.GetAppend()
	switch {
	case a != nil && m.GetRemove() != "":
		return op, errors.New("remove: append is set too: only one of them may be")
	case m.GetRemove() != "":
		return queryOp{key: m.GetRemove(), action: remove}, nil
	case a == nil:
		return op, errors.New("append: is missing: set append or remove")
	case a.GetEntry() != nil:
		return op, errors.New("append.entry: is deprecated and not supported: use record")
	}
	if op.key = a.GetRecord().GetKey(); op.key == "" {
		return op, errors.New("append.record.key: is empty: name the parameter")
	}
	v, ok := a.GetRecord().GetValue().GetKind().(*structpb.Value_StringValue)
	if !ok {
		return op, errors.New("append.record.value: is no string: a parameter's value is a string")
	}
	if op.format, op.value, err = l.value(v.StringValue); err != nil {
		return op, fmt.Errorf("append.record.value: %w", err)
	}
	switch a.GetAction() {
	case corev3.KeyValueAppend_APPEND_IF_EXISTS_OR_ADD:
		op.action = add
	case corev3.KeyValueAppend_ADD_IF_ABSENT:
		op.action = addIfAbsent
	case corev3.KeyValueAppend_OVERWRITE_IF_EXISTS_OR_ADD:
		op.action = overwriteOrAdd
	case corev3.KeyValueAppend_OVERWRITE_IF_EXISTS:
		op.action = overwriteIfExists
	default:
		return op, fmt.Errorf("append.action: value %d is not known", a.GetAction())
	}
	return op, nil
}
