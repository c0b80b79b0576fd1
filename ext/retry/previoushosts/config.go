// SPDX-License-Identifier: Apache-2.0

// Package previoushosts is the retry host predicate that refuses hosts which earlier tries
// of the request went to (envoy.retry_host_predicates.previous_hosts).
package previoushosts

import (
	_ "embed"

	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.retry_host_predicates.previous_hosts"

//go:embed fields.txt
var fields string

// Extension describes the predicate.
func Extension() extension.Plugin[upstream.HostPredicate] {
	return extension.Plugin[upstream.HostPredicate]{
		Name: Name, Config: &previoushostsv3.PreviousHostsPredicate{}, Fields: ledger.MustParse(fields),
		New: func(cfg proto.Message) (upstream.HostPredicate, error) {
			return predicate, nil
		},
	}
}
