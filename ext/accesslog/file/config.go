// SPDX-License-Identifier: Apache-2.0

// Package file is the access logger envoy.access_loggers.file: lines of text or
// JSON in a file. How they get there is the matter of package logfile.
package file

import (
	"errors"
	"fmt"

	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/accesslog/logfile"
	"weir.dev/weir/proxy/format"
)

// Name is Envoy's name of the extension; Message the type of its configuration.
const (
	Name    = "envoy.access_loggers.file"
	Message = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
)

// New returns the constructor of the sinks, for the Sinks of an
// [accesslog.Context]: files are opened in files, formats compiled by loader.
func New(files *logfile.Set, loader *format.Loader) func(config *anypb.Any) (accesslog.Sink, error) {
	return func(config *anypb.Any) (accesslog.Sink, error) {
		m := &filev3.FileAccessLog{}
		if err := config.UnmarshalTo(m); err != nil {
			return nil, fmt.Errorf("typed_config: %w", err)
		}
		if m.GetPath() == "" {
			return nil, errors.New("path: the field is required")
		}
		// The format first: a file is not created for a log that is refused.
		f, err := compile(m, loader)
		if err != nil {
			return nil, err
		}
		w, err := files.Writer(m.GetPath())
		if err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
		return logfile.NewSink(w, f), nil
	}
}

func compile(m *filev3.FileAccessLog, loader *format.Loader) (*format.Format, error) {
	var f *format.Format
	var err error
	field := "format"
	switch v := m.GetAccessLogFormat().(type) {
	case *filev3.FileAccessLog_LogFormat:
		field = "log_format"
		f, err = loader.Load(v.LogFormat)
	case *filev3.FileAccessLog_JsonFormat:
		field = "json_format"
		f, err = loader.LoadStruct(v.JsonFormat, true)
	case *filev3.FileAccessLog_TypedJsonFormat:
		field = "typed_json_format"
		f, err = loader.LoadStruct(v.TypedJsonFormat, false)
	case *filev3.FileAccessLog_Format:
		text := v.Format
		if text == "" {
			text = format.Default
		}
		f, err = format.Compile(text, loader.Options)
	default:
		f, err = format.Compile(format.Default, loader.Options)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return f, nil
}
