// SPDX-License-Identifier: Apache-2.0

// Package grpc is the access loggers envoy.access_loggers.http_grpc and tcp_grpc: entries of
// envoy.data.accesslog.v3 that are sent to an AccessLogService.
//
// An entry is encoded on the stream's loop, in the wire format of Protocol Buffers; how
// entries get to the service is the matter of proxy/batch.
package grpc

import (
	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/batch"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
)

// Sink makes an entry of each stream.
type Sink struct {
	http     bool
	exporter *batch.Exporter
	tags     []route.Tag
	states   []string // filter states that entries have
	// Headers that entries have besides those which all do.
	request, response, trailer []header.Name
	suites                     map[string]uint16 // numbers of TLS's cipher suites
}

// Log implements accesslog.Sink.
func (k *Sink) Log(_ int, info *streaminfo.Stream, typ accesslog.Type) {
	k.exporter.Make(func(dst []byte) []byte {
		if k.http {
			return k.appendHTTP(dst, info, typ)
		}
		return k.appendTCP(dst, info, typ)
	})
}
