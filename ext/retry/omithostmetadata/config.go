// SPDX-License-Identifier: Apache-2.0

// Package omithostmetadata is the retry host predicate that refuses hosts by their metadata
// (envoy.retry_host_predicates.omit_host_metadata).
package omithostmetadata

import (
	_ "embed"

	omithostmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.retry_host_predicates.omit_host_metadata"

//go:embed fields.txt
var fields string

// Extension describes the predicate.
func Extension() extension.Plugin[upstream.HostPredicate] {
	return extension.Plugin[upstream.HostPredicate]{
		Name: Name, Config: &omithostmetadatav3.OmitHostMetadataConfig{}, Fields: ledger.MustParse(fields),
		New: func(cfg proto.Message) (upstream.HostPredicate, error) {
			return New(cfg.(*omithostmetadatav3.OmitHostMetadataConfig))
		},
	}
}

// New compiles a predicate. One that names no metadata refuses no host.
func New(cfg *omithostmetadatav3.OmitHostMetadataConfig) (upstream.HostPredicate, error) {
	return refuse(cfg.GetMetadataMatch().GetFilterMetadata()[namespace].AsMap()), nil
}
