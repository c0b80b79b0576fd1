// SPDX-License-Identifier: Apache-2.0

// Package stdout is the access logger envoy.access_loggers.stdout: lines of text or
// JSON on the standard output of the process.
package stdout

import (
	"fmt"

	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/accesslog/logfile"
	"weir.dev/weir/proxy/format"
)

// Name is Envoy's name of the extension; Message the type of its configuration.
const (
	Name    = "envoy.access_loggers.stdout"
	Message = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
)

// New returns the constructor of the sinks, for the Sinks of an
// [accesslog.Context]: the stream is one of files, formats are compiled by
// loader.
func New(files *logfile.Set, loader *format.Loader) func(config *anypb.Any) (accesslog.Sink, error) {
	return func(config *anypb.Any) (accesslog.Sink, error) {
		m := &streamv3.StdoutAccessLog{}
		if err := config.UnmarshalTo(m); err != nil {
			return nil, fmt.Errorf("typed_config: %w", err)
		}
		return files.Stream("/dev/stdout", m.GetLogFormat(), loader)
	}
}
