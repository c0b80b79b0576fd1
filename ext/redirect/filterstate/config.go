// SPDX-License-Identifier: Apache-2.0

// Package filterstate is the redirect predicate that lets a filter decide, by an object of
// the filter state (envoy.internal_redirect_predicates.filter_state).
package filterstate

import (
	_ "embed"
	"errors"

	filterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/filter_state/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.internal_redirect_predicates.filter_state"

//go:embed fields.txt
var fields string

// Extension describes the predicate.
func Extension() extension.Plugin[route.RedirectPredicate] {
	return extension.Plugin[route.RedirectPredicate]{
		Name: Name, Config: &filterstatev3.FilterStateConfig{}, Fields: ledger.MustParse(fields),
		New: func(cfg proto.Message) (route.RedirectPredicate, error) {
			return New(cfg.(*filterstatev3.FilterStateConfig))
		},
	}
}

// New compiles a predicate.
func New(cfg *filterstatev3.FilterStateConfig) (route.RedirectPredicate, error) {
	if cfg.GetRedirectEnabledKey() == "" {
		return nil, errors.New("redirect_enabled_key: is empty: name the object of the filter state that decides")
	}
	return decidedBy(cfg.GetRedirectEnabledKey(), cfg.GetRedirectIfAbsent()), nil
}
