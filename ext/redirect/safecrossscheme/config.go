// SPDX-License-Identifier: Apache-2.0

// Package safecrossscheme is the redirect predicate that does not follow redirects from http
// to https (envoy.internal_redirect_predicates.safe_cross_scheme).
package safecrossscheme

import (
	_ "embed"

	safecrossschemev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/safe_cross_scheme/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.internal_redirect_predicates.safe_cross_scheme"

//go:embed fields.txt
var fields string

// Extension describes the predicate.
func Extension() extension.Plugin[route.RedirectPredicate] {
	return extension.Plugin[route.RedirectPredicate]{
		Name: Name, Config: &safecrossschemev3.SafeCrossSchemeConfig{}, Fields: ledger.MustParse(fields),
		New: func(cfg proto.Message) (route.RedirectPredicate, error) {
			return predicate, nil
		},
	}
}
