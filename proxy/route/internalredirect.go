// SPDX-License-Identifier: Apache-2.0

package route

import (
	"slices"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// InternalRedirectPolicy tells which redirects of an upstream to follow here.
type InternalRedirectPolicy struct {
	MaxRedirects uint32 // 1 by default
	// Statuses to follow; 302 by default.
	Statuses []int
	// Predicates must all agree.
	Predicates               []RedirectPredicate
	AllowCrossSchemeRedirect bool
	// HeadersToCopy from the redirect to the request that follows it; one that the
	// redirect does not have is removed.
	HeadersToCopy []header.Name
}

// Handles reports whether the policy follows responses of a status.
func (p *InternalRedirectPolicy) Handles(status int) bool { return slices.Contains(p.Statuses, status) }

// A RedirectPredicate decides whether a redirect is followed.
type RedirectPredicate func(t *RedirectTarget) bool

// RedirectTarget is what a predicate sees of a redirect.
type RedirectTarget struct {
	// From and To name the routes.
	From, To string
	// FromHTTPS tells that the client's request, ToHTTPS that the redirect's, is of
	// the scheme https.
	FromHTTPS, ToHTTPS bool
	// State is the request's filter state, which redirects leave as it is. Predicates
	// may write to it.
	State streaminfo.FilterState
}

// Accepts asks all predicates.
func (p *InternalRedirectPolicy) Accepts(t *RedirectTarget) bool {
	for _, f := range p.Predicates {
		if !f(t) {
			return false
		}
	}
	return true
}
