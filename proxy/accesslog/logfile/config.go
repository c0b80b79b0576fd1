// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/format"
)

// Stream returns a sink on a standard stream of the process: path is /dev/stdout or
// /dev/stderr, where file access logs to the same stream go too, so that they
// share its buffers. A nil log format is Envoy's default one.
func (s *Set) Stream(path string, log *corev3.SubstitutionFormatString, loader *format.Loader) (accesslog.Sink, error) {
	f, err := logFormat(log, loader)
	if err != nil {
		return nil, err
	}
	w, err := s.Writer(path)
	if err != nil {
		return nil, err
	}
	return NewSink(w, f), nil
}

func logFormat(log *corev3.SubstitutionFormatString, loader *format.Loader) (*format.Format, error) {
	if log == nil {
		return format.Compile(format.Default, loader.Options)
	}
	f, err := loader.Load(log)
	if err != nil {
		return nil, fmt.Errorf("log_format: %w", err)
	}
	return f, nil
}
