// SPDX-License-Identifier: Apache-2.0

// Package previousroutes is the redirect predicate that follows redirects from one route to
// another once in a request (envoy.internal_redirect_predicates.previous_routes).
package previousroutes

import (
	_ "embed"

	previousroutesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/previous_routes/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.internal_redirect_predicates.previous_routes"

//go:embed fields.txt
var fields string

// Extension describes the predicate.
func Extension() extension.Plugin[route.RedirectPredicate] {
	return extension.Plugin[route.RedirectPredicate]{
		Name: Name, Config: &previousroutesv3.PreviousRoutesConfig{}, Fields: ledger.MustParse(fields),
		New: func(cfg proto.Message) (route.RedirectPredicate, error) {
			return predicate, nil
		},
	}
}
