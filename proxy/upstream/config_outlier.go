// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"errors"
	"fmt"

	commonmatcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

// A Predicate decides by the head of a response.
type Predicate func(head *header.Map) bool

// responsePredicate compiles a MatchPredicate that looks at the heads of responses.
func responsePredicate(p *commonmatcherv3.MatchPredicate) (Predicate, error) {
	switch r := p.GetRule().(type) {
	case *commonmatcherv3.MatchPredicate_AnyMatch:
		return func(*header.Map) bool { return true }, nil
	case *commonmatcherv3.MatchPredicate_NotMatch:
		in, err := responsePredicate(r.NotMatch)
		if err != nil {
			return nil, fmt.Errorf("not_match.%w", err)
		}
		return func(h *header.Map) bool { return !in(h) }, nil
	case *commonmatcherv3.MatchPredicate_OrMatch:
		return predicates("or_match", r.OrMatch.GetRules(), true)
	case *commonmatcherv3.MatchPredicate_AndMatch:
		return predicates("and_match", r.AndMatch.GetRules(), false)
	case *commonmatcherv3.MatchPredicate_HttpResponseHeadersMatch:
		m, err := match.CompileHeaders(r.HttpResponseHeadersMatch.GetHeaders())
		if err != nil {
			return nil, fmt.Errorf("http_response_headers_match.headers: %w", err)
		}
		return m.Match, nil
	}
	return nil, errors.New("rule: only http_response_headers_match, and or_match, and_match, not_match and any_match of those, tell of a response")
}

// predicates is decided by the first rule whose outcome is decides.
func predicates(name string, rules []*commonmatcherv3.MatchPredicate, decides bool) (Predicate, error) {
	in := make([]Predicate, len(rules))
	for i, r := range rules {
		var err error
		if in[i], err = responsePredicate(r); err != nil {
			return nil, fmt.Errorf("%s.rules[%d].%w", name, i, err)
		}
	}
	return func(h *header.Map) bool {
		for _, f := range in {
			if f(h) == decides {
				return decides
			}
		}
		return !decides
	}, nil
}
