// SPDX-License-Identifier: Apache-2.0

// Package allowlistedroutes is the redirect predicate that follows redirects to routes of
// given names only (envoy.internal_redirect_predicates.allow_listed_routes).
package allowlistedroutes

import (
	_ "embed"
	"fmt"

	allowlistedroutesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/allow_listed_routes/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.internal_redirect_predicates.allow_listed_routes"

//go:embed fields.txt
var fields string

// Extension describes the predicate.
func Extension() extension.Plugin[route.RedirectPredicate] {
	return extension.Plugin[route.RedirectPredicate]{
		Name: Name, Config: &allowlistedroutesv3.AllowListedRoutesConfig{}, Fields: ledger.MustParse(fields),
		New: func(cfg proto.Message) (route.RedirectPredicate, error) {
			return New(cfg.(*allowlistedroutesv3.AllowListedRoutesConfig))
		},
	}
}

// New compiles a predicate.
func New(cfg *allowlistedroutesv3.AllowListedRoutesConfig) (route.RedirectPredicate, error) {
	allowed := map[string]bool{}
	for i, n := range cfg.GetAllowedRouteNames() {
		if n == "" {
			return nil, fmt.Errorf("allowed_route_names[%d]: is empty: give the route a name, and say it here", i)
		}
		allowed[n] = true
	}
	return func(t *route.RedirectTarget) bool { return allowed[t.To] }, nil
}
