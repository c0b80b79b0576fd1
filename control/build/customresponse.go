// SPDX-License-Identifier: Apache-2.0

package build

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	customresponsev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/custom_response/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
)

// A ResponseRule replaces the responses that have one of its Statuses, if there are any,
// all Headers, and are made by proxies ("true") or hosts ("false") as Local says.
type ResponseRule struct {
	Statuses []string
	Headers  []ResponseHeader
	Local    *string
	// Policy is a LocalResponsePolicy or a RedirectPolicy.
	Policy proto.Message
}

// A ResponseHeader is how a header of a response has to be. Kind is Exact, Prefix, Suffix
// or RegularExpression.
type ResponseHeader struct{ Name, Kind, Value string }

// A Predicate is true of some requests, or responses.
type Predicate = xdsmatcherv3.Matcher_MatcherList_Predicate

// Responses replaces responses by the first rule that takes them.
func Responses(rules []ResponseRule) *customresponsev3.CustomResponse {
	list := &xdsmatcherv3.Matcher_MatcherList{}
	for _, r := range rules {
		var all, statuses []*Predicate
		for _, code := range r.Statuses {
			statuses = append(statuses, valued(&matcherv3.HttpResponseStatusCodeMatchInput{}, "Exact", code))
		}
		if len(statuses) > 0 {
			all = append(all, either(statuses))
		}
		for _, h := range r.Headers {
			all = append(all, valued(&matcherv3.HttpResponseHeaderMatchInput{HeaderName: h.Name}, h.Kind, h.Value))
		}
		if r.Local != nil {
			all = append(all, valued(&matcherv3.HttpResponseLocalReplyMatchInput{}, "Exact", *r.Local))
		}
		list.Matchers = append(list.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{
			Predicate: each(all), OnMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
				Action: &xdscorev3.TypedExtensionConfig{Name: "response", TypedConfig: Any(r.Policy)},
			}},
		})
	}
	return &customresponsev3.CustomResponse{CustomResponseMatcher: &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: list}}}
}

func valued(input proto.Message, kind, value string) *Predicate {
	m := &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: value}}
	switch kind {
	case "Prefix":
		m.MatchPattern = &xdsmatcherv3.StringMatcher_Prefix{Prefix: value}
	case "Suffix":
		m.MatchPattern = &xdsmatcherv3.StringMatcher_Suffix{Suffix: value}
	case "RegularExpression":
		m.MatchPattern = &xdsmatcherv3.StringMatcher_SafeRegex{SafeRegex: &xdsmatcherv3.RegexMatcher{
			EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}}, Regex: value,
		}}
	}
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
		Input:   &xdscorev3.TypedExtensionConfig{Name: "response", TypedConfig: Any(input)},
		Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: m},
	}}}
}

func either(list []*Predicate) *Predicate {
	if len(list) == 1 {
		return list[0]
	}
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{OrMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list}}}
}

func each(list []*Predicate) *Predicate {
	if len(list) == 1 {
		return list[0]
	}
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list}}}
}
