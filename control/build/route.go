// SPDX-License-Identifier: Apache-2.0

package build

import (
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// PathPrefix matches a path and all below it: "/a" is "/a" and "/a/b", not "/ab".
func PathPrefix(m *routev3.RouteMatch, path string) {
	if path = strings.TrimRight(path, "/"); path == "" {
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
		return
	}
	m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: path}
}

// PathExact matches one path.
func PathExact(m *routev3.RouteMatch, path string) {
	m.PathSpecifier = &routev3.RouteMatch_Path{Path: path}
}

// PathRegex matches paths as a whole.
func PathRegex(m *routev3.RouteMatch, pattern string) {
	m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: Regex(pattern)}
}

// Connect matches CONNECT, which has no path.
func Connect(m *routev3.RouteMatch) {
	m.PathSpecifier = &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}
}

// Regex is a regular expression of RE2.
func Regex(pattern string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: pattern} }

// Text matches a text, as a whole.
func Text(value string, regex bool) *matcherv3.StringMatcher {
	if regex {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: Regex(value)}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}}
}

// A StringMatcher matches a text.
type StringMatcher = matcherv3.StringMatcher

// Prefix matches how a text begins.
func Prefix(value string) *StringMatcher {
	return &StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: value}}
}

// Suffix matches how a text ends.
func Suffix(value string) *StringMatcher {
	return &StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: value}}
}

// Header matches a header's value.
func Header(name, value string, regex bool) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: Text(value, regex)}}
}

// Query matches the value of a parameter of the query.
func Query(name, value string, regex bool) *routev3.QueryParameterMatcher {
	return &routev3.QueryParameterMatcher{
		Name: name, QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: Text(value, regex)},
	}
}

// SetHeaders returns headers that replace those of their name, or with add join them.
func SetHeaders(add bool, pairs ...[2]string) []*corev3.HeaderValueOption {
	action := corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	if add {
		action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	}
	var out []*corev3.HeaderValueOption
	for _, p := range pairs {
		out = append(out, &corev3.HeaderValueOption{
			// In Envoy values are formats.
			Header:       &corev3.HeaderValue{Key: p[0], Value: strings.ReplaceAll(p[1], "%", "%%")},
			AppendAction: action, KeepEmptyValue: true,
		})
	}
	return out
}

// A PathRewrite is a new path: a prefix for that which was matched, or a regular
// expression and what replaces it. One of them is empty, or both.
type PathRewrite struct {
	Prefix string
	Regex  *matcherv3.RegexMatchAndSubstitute
}

// ReplacePath makes a whole path another.
func ReplacePath(path string) PathRewrite { return replace("^/.*$", path) }

// ReplacePrefix makes a matched prefix another. Slashes between the new one and the
// rest are neither doubled nor lost.
func ReplacePrefix(matched, replacement string) PathRewrite {
	from, to := strings.TrimRight(matched, "/"), strings.TrimRight(replacement, "/")
	switch {
	case from == "" && to == "":
		return PathRewrite{}
	case to == "":
		return replace("^"+regexp.QuoteMeta(from)+"/*", "/")
	case from == "":
		return PathRewrite{Prefix: to + "/"}
	case strings.HasSuffix(replacement, "/"):
		return replace("^"+regexp.QuoteMeta(from)+"(/|$)", to+"/")
	}
	return PathRewrite{Prefix: to}
}

func replace(pattern, by string) PathRewrite {
	return PathRewrite{Regex: &matcherv3.RegexMatchAndSubstitute{
		Pattern: Regex(pattern), Substitution: strings.ReplaceAll(by, `\`, `\\`),
	}}
}

// Fraction matches numerator of denominator requests. The same request always has
// the same place among them, so that a route with a larger fraction takes what one
// before it left.
func Fraction(numerator, denominator uint64) *corev3.RuntimeFractionalPercent {
	const million = 1_000_000
	return &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
		Numerator: uint32((numerator*million + denominator/2) / denominator), Denominator: typev3.FractionalPercent_MILLION,
	}}
}

// Mirror sends a copy of requests to a cluster; fraction may be nil, which is all.
func Mirror(cluster string, fraction *corev3.RuntimeFractionalPercent) *routev3.RouteAction_RequestMirrorPolicy {
	return &routev3.RouteAction_RequestMirrorPolicy{Cluster: cluster, RuntimeFraction: fraction, DisableShadowHostSuffixAppend: true}
}

// Answer has a route answer by itself.
func Answer(status uint32) *routev3.Route_DirectResponse {
	return &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: status}}
}

// AnswerText is an answer with a body, of whatever bytes.
func AnswerText(status uint32, body string) *routev3.DirectResponseAction {
	out := &routev3.DirectResponseAction{Status: status, Body: inline(body)}
	if utf8.ValidString(body) { // To be read by who looks at it.
		out.Body.Specifier = &corev3.DataSource_InlineString{InlineString: body}
	}
	return out
}

// Substitute replaces what a pattern of RE2 matches, with \1 and so on for its groups.
func Substitute(pattern, by string) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{Pattern: Regex(pattern), Substitution: by}
}

// Retry says when to try again.
type Retry struct {
	On       string
	Attempts uint32
	Codes    []uint32
	// Backoff before the first attempt again, 0 for the default; PerTry limits each
	// attempt, 0 not at all.
	Backoff, PerTry time.Duration
}

// Policy returns the message.
func (r Retry) Policy() *routev3.RetryPolicy {
	p := &routev3.RetryPolicy{RetryOn: r.On, NumRetries: wrapperspb.UInt32(r.Attempts), RetriableStatusCodes: r.Codes}
	if r.Backoff > 0 {
		p.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: duration(r.Backoff), MaxInterval: duration(10 * r.Backoff)}
	}
	if r.PerTry > 0 {
		p.PerTryTimeout = duration(r.PerTry)
	}
	return p
}

// Timeout limits a whole request; 0 not at all.
func Timeout(a *routev3.RouteAction, d time.Duration) { a.Timeout = duration(d) }

// AllOfHost has all requests of a virtual host be in statistics, of a virtual cluster that is
// called after its domain.
func AllOfHost(domain string) *routev3.VirtualCluster {
	return &routev3.VirtualCluster{Name: strings.ReplaceAll(domain, ".", "_"), Headers: []*routev3.HeaderMatcher{{
		Name: ":authority", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
	}}}
}
