// SPDX-License-Identifier: Apache-2.0

// Package omitcanaryhosts is the retry host predicate that refuses canaries
// (envoy.retry_host_predicates.omit_canary_hosts).
package omitcanaryhosts

import (
	_ "embed"

	omitcanaryhostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_canary_hosts/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.retry_host_predicates.omit_canary_hosts"

//go:embed fields.txt
var fields string

// Extension describes the predicate.
func Extension() extension.Plugin[upstream.HostPredicate] {
	return extension.Plugin[upstream.HostPredicate]{
		Name: Name, Config: &omitcanaryhostsv3.OmitCanaryHostsPredicate{}, Fields: ledger.MustParse(fields),
		New: func(cfg proto.Message) (upstream.HostPredicate, error) {
			return predicate, nil
		},
	}
}
