// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"fmt"
	"io"
	"os"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/cel/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/metadata/v3"
	reqwithoutqueryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/req_without_query/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Loader turns Envoy's messages into formats. The zero Loader is ready.
type Loader struct {
	// Options are those of every format; a message overrides OmitEmpty.
	Options Options
	// Formatters makes the operators of a formatter extension (the field
	// formatters), by the full name of its message, such as
	// "envoy.extensions.formatter.cel.v3.Cel". The extensions metadata and
	// req_without_query need no entry, nor does cel if Options has its operators: they
	// are built in.
	Formatters map[string]func(config *anypb.Any) (map[string]Constructor, error)
	// Open opens a file that a message names; nil is [os.Open].
	Open func(path string) (io.ReadCloser, error)
}

// Load compiles a SubstitutionFormatString.
func (l *Loader) Load(m *corev3.SubstitutionFormatString) (*Format, error) {
	o := l.Options
	o.OmitEmpty = m.GetOmitEmptyValues()
	if err := l.extend(&o, m.GetFormatters()); err != nil {
		return nil, err
	}
	var f *Format
	var err error
	switch v := m.GetFormat().(type) {
	case *corev3.SubstitutionFormatString_TextFormat:
		if f, err = Compile(v.TextFormat, o); err != nil {
			err = fmt.Errorf("text_format: %w", err)
		}
	case *corev3.SubstitutionFormatString_TextFormatSource:
		var text string
		if text, err = l.source(v.TextFormatSource, &o); err == nil {
			f, err = Compile(text, o)
		}
		if err != nil {
			err = fmt.Errorf("text_format_source: %w", err)
		}
	case *corev3.SubstitutionFormatString_JsonFormat:
		f, err = l.json(v.JsonFormat, o)
	default:
		err = errors.New("format: one of text_format, text_format_source and json_format is required")
	}
	if err != nil {
		return nil, err
	}
	if t := m.GetContentType(); t != "" {
		for i := range len(t) {
			if t[i] < ' ' && t[i] != '\t' || t[i] == 0x7f {
				return nil, fmt.Errorf("content_type: %q holds a control character; remove it", t)
			}
		}
		f.contentType = t
	}
	return f, nil
}

// LoadStruct compiles a json_format that stands by itself, as in the older
// fields of the file access log; strings is [Options.Strings].
func (l *Loader) LoadStruct(m *structpb.Struct, strings bool) (*Format, error) {
	o := l.Options
	o.Strings = strings
	return l.json(m, o)
}

func (l *Loader) json(m *structpb.Struct, o Options) (*Format, error) {
	return CompileJSON(m.AsMap(), o)
}

// extend adds the operators of formatter extensions to o.
// With returns the options with the operators of further formatters.
func (l *Loader) With(list []*corev3.TypedExtensionConfig) (Options, error) {
	o := l.Options
	err := l.extend(&o, list)
	return o, err
}

func (l *Loader) extend(o *Options, list []*corev3.TypedExtensionConfig) error {
	if len(list) == 0 {
		return nil
	}
	merged := make(map[string]Constructor, len(o.Operators))
	for k, v := range o.Operators {
		merged[k] = v
	}
	for i, e := range list {
		add, err := l.formatter(e)
		if err != nil {
			return fmt.Errorf("formatters[%d] (%s): %w", i, e.GetName(), err)
		}
		for k, v := range add {
			merged[k] = v
		}
	}
	o.Operators = merged
	return nil
}

func (l *Loader) formatter(e *corev3.TypedExtensionConfig) (map[string]Constructor, error) {
	config := e.GetTypedConfig()
	if config == nil {
		return nil, errors.New("typed_config is missing")
	}
	name := config.MessageName()
	if mk, ok := l.Formatters[string(name)]; ok {
		return mk(config)
	}
	if l.Options.Operators["CEL"] != nil && config.MessageIs(&celv3.Cel{}) {
		m := &celv3.Cel{}
		if err := config.UnmarshalTo(m); err != nil {
			return nil, err
		}
		if m.GetCelConfig() != nil {
			return nil, errors.New("typed_config.cel_config: CEL expressions take no options here: remove it")
		}
		return nil, nil
	}
	for _, builtin := range []proto.Message{&metadatav3.Metadata{}, &reqwithoutqueryv3.ReqWithoutQuery{}} {
		if builtin.ProtoReflect().Descriptor().FullName() == name {
			// Decoded only to refuse what is not such a message.
			return nil, config.UnmarshalTo(builtin)
		}
	}
	return nil, fmt.Errorf("typed_config: there is no formatter extension %s here", name)
}

// source reads a DataSource once.
func (l *Loader) source(s *corev3.DataSource, o *Options) (string, error) {
	if s.GetWatchedDirectory() != nil {
		return "", errors.New("watched_directory: a format is read once; remove the field")
	}
	switch v := s.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		return v.InlineString, nil
	case *corev3.DataSource_InlineBytes:
		return string(v.InlineBytes), nil
	case *corev3.DataSource_EnvironmentVariable:
		get := o.Getenv
		if get == nil {
			get = os.LookupEnv
		}
		text, ok := get(v.EnvironmentVariable)
		if !ok {
			return "", fmt.Errorf("environment_variable: %s is not set", v.EnvironmentVariable)
		}
		return text, nil
	case *corev3.DataSource_Filename:
		return l.file(v.Filename)
	}
	return "", errors.New("one of filename, inline_bytes, inline_string and environment_variable is required")
}

func (l *Loader) file(path string) (string, error) {
	open := l.Open
	if open == nil {
		open = func(path string) (io.ReadCloser, error) { return os.Open(path) }
	}
	f, err := open(path)
	if err != nil {
		return "", fmt.Errorf("filename: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFormat+1))
	if err != nil {
		return "", fmt.Errorf("filename: read %s: %w", path, err)
	}
	return string(text), nil
}
