// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
)

// teller notes what is wrong at a path.
type teller func(path, reason, format string, args ...any)

// checkHTTP finds what Istio's webhook would refuse in a rule of HTTP.
func (v *virtual) checkHTTP(path string, r *istiov1.HTTPRoute) {
	actions := 0
	for _, has := range []bool{len(r.Route) > 0, r.Redirect != nil, r.DirectResponse != nil, r.Delegate != nil} {
		if has {
			actions++
		}
	}
	if actions != 1 {
		v.bad(path, reasonInvalid, "has not exactly one of route, redirect, directResponse and delegate")
	}
	for i := range r.Match {
		v.checkMatch(fmt.Sprintf("%s.match[%d]", path, i), &r.Match[i])
	}
	v.checkShares(path, r)
	v.checkAnswer(path, r)
	checkRewrite(path+".rewrite", r.Rewrite, v.bad)
	checkTime(path+".timeout", r.Timeout, v.bad)
	checkRetries(path+".retries", r.Retries, v.bad)
	checkFault(path+".fault", r.Fault, v.bad)
	checkCORS(path+".corsPolicy", r.CorsPolicy, v.bad)
	checkHeaders(path+".headers", r.Headers, v.bad)
	v.checkMirrors(path, r)
	if r.Delegate != nil {
		if v.delegated() {
			v.bad(path+".delegate", reasonInvalid, "is in an object that others delegate to: there is one step of delegation")
		}
		if r.Delegate.Name == "" {
			v.bad(path+".delegate.name", reasonInvalid, "is missing")
		}
		if r.Fault != nil {
			v.bad(path+".fault", reasonInvalid, "is the matter of the VirtualService that has the rules")
		}
	}
}

// checkShares checks destinations and their weights.
func (v *virtual) checkShares(path string, r *istiov1.HTTPRoute) {
	sum := int64(0)
	for i, s := range r.Route {
		at := fmt.Sprintf("%s.route[%d]", path, i)
		checkDestination(at+".destination", s.Destination, v.bad)
		checkHeaders(at+".headers", s.Headers, v.bad)
		if s.Weight < 0 {
			v.bad(at+".weight", reasonInvalid, "is %d: a share is not less than nothing", s.Weight)
		}
		sum += int64(s.Weight)
	}
	v.checkSum(path, len(r.Route), sum)
}

// checkSum checks the sum of the weights of n destinations.
func (v *virtual) checkSum(path string, n int, sum int64) {
	switch {
	case n < 2 || sum == 100:
	case sum == 0:
		v.bad(path+".route", reasonInvalid, "the weights of %d destinations sum to 0: give each its share", n)
	case sum > 1<<32-1:
		v.bad(path+".route", reasonInvalid, "the weights sum to %d, which is more than can be", sum)
	default:
		v.note(path+".route", reasonInvalid, "the weights sum to %d and not to 100: each is a share of %d", sum, sum)
	}
}

func checkDestination(path string, to *istiov1.Destination, bad teller) {
	switch {
	case to == nil || to.Host == "":
		bad(path+".host", reasonInvalid, "is missing: name a service")
	case !validHost(strings.ToLower(to.Host)) || strings.HasPrefix(to.Host, "*"):
		bad(path+".host", reasonInvalid, "%q is not the name of a host", to.Host)
	case to.Port != nil && (to.Port.Number < 1 || to.Port.Number > 65535):
		bad(path+".port.number", reasonInvalid, "%d is not a port: give one from 1 to 65535", to.Port.Number)
	}
}

// checkMatch checks what requests are matched by.
func (v *virtual) checkMatch(path string, m *istiov1.HTTPMatchRequest) {
	for field, s := range map[string]*istiov1.StringMatch{"uri": m.URI, "scheme": m.Scheme, "method": m.Method, "authority": m.Authority} {
		if s != nil {
			checkText(path+"."+field, *s, v.bad)
		}
	}
	for field, set := range map[string]map[string]istiov1.StringMatch{"headers": m.Headers, "withoutHeaders": m.WithoutHeaders, "queryParams": m.QueryParams} {
		for _, name := range slices.Sorted(maps.Keys(set)) {
			at := fmt.Sprintf("%s.%s[%q]", path, field, name)
			switch {
			case field == "queryParams":
			case strings.HasPrefix(name, "@request.auth."):
				v.bad(at, reasonUnsupported, "claims of tokens cannot be matched yet: a RequestAuthentication is not supported")
			case !build.FieldName(strings.TrimPrefix(name, ":")):
				v.bad(at, reasonInvalid, "is not the name of a header")
			}
			checkText(at, set[name], v.bad)
		}
	}
	if m.Port > 65535 {
		v.bad(path+".port", reasonInvalid, "%d is not a port", m.Port)
	}
	if v.delegated() && len(m.Gateways) > 0 {
		v.bad(path+".gateways", reasonInvalid, "those of the VirtualService that delegates count")
	}
}

// checkText checks one match of a text.
func checkText(path string, s istiov1.StringMatch, bad teller) {
	n := 0
	for _, p := range []*string{s.Exact, s.Prefix, s.Regex} {
		if p != nil {
			n++
		}
	}
	if n > 1 {
		bad(path, reasonInvalid, "has more than one of exact, prefix and regex")
	}
	if s.Regex != nil && *s.Regex != anyValue {
		if why := build.BadRegex(*s.Regex); why != "" {
			bad(path+".regex", reasonInvalid, "%q is not a regular expression of RE2: %s", *s.Regex, why)
		}
	}
}

// checkAnswer checks answers of the proxy's own.
func (v *virtual) checkAnswer(path string, r *istiov1.HTTPRoute) {
	if d := r.Redirect; d != nil {
		if d.RedirectCode != 0 && redirectCode(d.RedirectCode) < 0 {
			v.bad(path+".redirect.redirectCode", reasonInvalid, "is %d: there are 301, 302, 303, 307 and 308", d.RedirectCode)
		}
		for _, f := range [][2]string{{"uri", d.URI}, {"prefixRewrite", d.PrefixRewrite}, {"authority", d.Authority}} {
			if why := build.BadText(f[1]); why != "" {
				v.bad(path+".redirect."+f[0], reasonInvalid, "%s", why)
			}
		}
		if d.URI != "" && d.PrefixRewrite != "" {
			v.bad(path+".redirect.prefixRewrite", reasonInvalid, "uri is there, too: only one of them can be")
		}
		if d.DerivePort != "" && d.DerivePort != derivedProtocol && d.DerivePort != derivedRequest {
			v.bad(path+".redirect.derivePort", reasonInvalid, "%q is not one of %s and %s", d.DerivePort, derivedProtocol, derivedRequest)
		}
		if d.Port != nil && d.DerivePort != "" {
			v.bad(path+".redirect.derivePort", reasonInvalid, "port is there, too: only one of them can be")
		}
		if d.URI == "" && d.PrefixRewrite == "" && d.Authority == "" && d.Scheme == "" && d.Port == nil && d.DerivePort == "" {
			v.bad(path+".redirect", reasonInvalid, "leads to where it came from: give uri, authority, scheme or port")
		}
		if r.Rewrite != nil {
			v.bad(path+".rewrite", reasonInvalid, "is there besides redirect: nothing is forwarded that could be rewritten")
		}
	}
	if d := r.DirectResponse; d != nil {
		if d.Status < 200 || d.Status > 599 {
			v.bad(path+".directResponse.status", reasonInvalid, "%d is not a status: they are from 200 to 599", d.Status)
		}
		if b := d.Body; b != nil && (b.String != nil) == (b.Bytes != nil) {
			v.bad(path+".directResponse.body", reasonInvalid, "has not exactly one of string and bytes")
		}
	}
}

func checkRewrite(path string, r *istiov1.HTTPRewrite, bad teller) {
	if r == nil {
		return
	}
	for _, f := range [][2]string{{"uri", r.URI}, {"authority", r.Authority}} {
		if why := build.BadText(f[1]); why != "" {
			bad(path+"."+f[0], reasonInvalid, "%s", why)
		}
	}
	if r.URIRegexRewrite == nil {
		return
	}
	if r.URI != "" {
		bad(path+".uriRegexRewrite", reasonInvalid, "uri is there, too: only one of them can be")
	}
	if why := build.BadRegex(r.URIRegexRewrite.Match); why != "" {
		bad(path+".uriRegexRewrite.match", reasonInvalid, "%q is not a regular expression of RE2: %s", r.URIRegexRewrite.Match, why)
		return
	}
	if why := build.BadSubstitution(r.URIRegexRewrite.Match, r.URIRegexRewrite.Rewrite); why != "" {
		bad(path+".uriRegexRewrite.rewrite", reasonInvalid, "%q %s", r.URIRegexRewrite.Rewrite, why)
	}
}

// longest is the longest time that is taken.
const longest = 10 * 366 * 24 * time.Hour

// checkTime checks a duration, which may be empty.
func checkTime(path, text string, bad teller) {
	if text == "" {
		return
	}
	switch d, err := time.ParseDuration(text); {
	case err != nil:
		bad(path, reasonInvalid, "%q is not a time: write 500ms, 2s or 1m", text)
	case d < 0 || d > longest:
		bad(path, reasonInvalid, "%s is not a time that can be meant", text)
	case d > 0 && d < time.Millisecond:
		bad(path, reasonInvalid, "%s is shorter than a millisecond, which is the least", text)
	}
}

// duration reads a time that has been checked; 0 if there is none.
func duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}

func checkRetries(path string, r *istiov1.HTTPRetry, bad teller) {
	if r == nil {
		return
	}
	if r.Attempts < 0 {
		bad(path+".attempts", reasonInvalid, "is %d: 0 tries no second time", r.Attempts)
	}
	checkTime(path+".perTryTimeout", r.PerTryTimeout, bad)
	checkTime(path+".backoff", r.Backoff, bad)
	on, _ := reasonsToRetry(r.RetryOn)
	for _, reason := range on {
		if !slices.Contains(retryReasons(), reason) {
			bad(path+".retryOn", reasonInvalid, "%q is not a reason to retry: there are %s, and numbers of statuses", reason, strings.Join(retryReasons(), ", "))
		}
	}
}

// retryReasons are Envoy's.
func retryReasons() []string {
	return []string{
		"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
		"retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
		"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
	}
}

// reasonsToRetry tells words from numbers, which are statuses.
func reasonsToRetry(text string) (on []string, codes []uint32) {
	for _, part := range strings.Split(text, ",") {
		part = strings.TrimSpace(part)
		n, err := strconv.ParseUint(part, 10, 32)
		switch {
		case part == "":
		case err == nil && n >= 100 && n <= 599:
			codes = append(codes, uint32(n))
		default:
			on = append(on, part)
		}
	}
	return on, codes
}

func checkPercent(path string, p *istiov1.Percent, bad teller) {
	if p != nil && (p.Value < 0 || p.Value > 100) {
		bad(path+".value", reasonInvalid, "is %v: a percentage is from 0 to 100", p.Value)
	}
}

func checkFault(path string, f *istiov1.HTTPFaultInjection, bad teller) {
	if f == nil {
		return
	}
	if f.Delay == nil && f.Abort == nil {
		bad(path, reasonInvalid, "has neither delay nor abort")
	}
	if d := f.Delay; d != nil {
		if d.FixedDelay == "" {
			bad(path+".delay.fixedDelay", reasonInvalid, "is missing: exponentialDelay is not supported, as in Istio")
		}
		checkTime(path+".delay.fixedDelay", d.FixedDelay, bad)
		if t, err := time.ParseDuration(d.FixedDelay); err == nil && t == 0 {
			bad(path+".delay.fixedDelay", reasonInvalid, "is 0, which is no delay: leave delay out")
		}
		checkPercent(path+".delay.percentage", d.Percentage, bad)
		if d.Percent < 0 || d.Percent > 100 {
			bad(path+".delay.percent", reasonInvalid, "is %d: a percentage is from 0 to 100", d.Percent)
		}
	}
	if a := f.Abort; a != nil {
		checkPercent(path+".abort.percentage", a.Percentage, bad)
		_, known := grpcCode(a.GRPCStatus)
		switch {
		case a.HTTP2Error != "":
			bad(path+".abort.http2Error", reasonUnsupported, "is not supported, as in Istio: use httpStatus or grpcStatus")
		case (a.HTTPStatus != 0) == (a.GRPCStatus != ""):
			bad(path+".abort", reasonInvalid, "has not exactly one of httpStatus and grpcStatus")
		case a.HTTPStatus != 0 && (a.HTTPStatus < 200 || a.HTTPStatus > 599):
			bad(path+".abort.httpStatus", reasonInvalid, "%d is not a status: they are from 200 to 599", a.HTTPStatus)
		case a.GRPCStatus != "" && !known:
			bad(path+".abort.grpcStatus", reasonInvalid, "%q is not a status of gRPC, such as UNAVAILABLE", a.GRPCStatus)
		}
	}
}

func checkCORS(path string, p *istiov1.CorsPolicy, bad teller) {
	if p == nil {
		return
	}
	for i, o := range p.AllowOrigins {
		checkText(fmt.Sprintf("%s.allowOrigins[%d]", path, i), o, bad)
		if o.Exact == nil && o.Prefix == nil && o.Regex == nil {
			bad(fmt.Sprintf("%s.allowOrigins[%d]", path, i), reasonInvalid, "has none of exact, prefix and regex")
		}
	}
	checkTime(path+".maxAge", p.MaxAge, bad)
	if u := p.UnmatchedPreflights; u != "" && !slices.Contains([]string{"UNSPECIFIED", "FORWARD", "IGNORE"}, u) {
		bad(path+".unmatchedPreflights", reasonInvalid, "%q is not one of FORWARD and IGNORE", u)
	}
}

func checkHeaders(path string, h *istiov1.Headers, bad teller) {
	if h == nil {
		return
	}
	for side, ops := range map[string]*istiov1.HeaderOperations{"request": h.Request, "response": h.Response} {
		if ops == nil {
			continue
		}
		for verb, set := range map[string]map[string]string{"set": ops.Set, "add": ops.Add} {
			for _, name := range slices.Sorted(maps.Keys(set)) {
				at := fmt.Sprintf("%s.%s.%s[%q]", path, side, verb, name)
				if !build.FieldName(name) && !(side == "request" && authorityHeader(name)) {
					bad(at, reasonInvalid, "is not the name of a header that can be changed")
				}
				if strings.ContainsAny(set[name], "\r\n\x00") {
					bad(at, reasonInvalid, "the value has a line break")
				}
				if wrong := build.BadFormat(set[name]); wrong != "" {
					bad(at, reasonInvalid, "the value %q %s", set[name], wrong)
				}
			}
		}
		for i, name := range ops.Remove {
			if !build.FieldName(name) || authorityHeader(name) {
				bad(fmt.Sprintf("%s.%s.remove[%d]", path, side, i), reasonInvalid, "%q is not the name of a header that can be removed", name)
			}
		}
	}
}

func authorityHeader(name string) bool {
	return strings.EqualFold(name, "host") || strings.EqualFold(name, ":authority")
}

// checkMirrors checks where copies go.
func (v *virtual) checkMirrors(path string, r *istiov1.HTTPRoute) {
	if r.Mirror != nil {
		checkDestination(path+".mirror", r.Mirror, v.bad)
		if len(r.Mirrors) > 0 {
			v.bad(path+".mirrors", reasonInvalid, "mirror is there, too: only one of them can be")
		}
	}
	for i, m := range r.Mirrors {
		checkDestination(fmt.Sprintf("%s.mirrors[%d].destination", path, i), m.Destination, v.bad)
		checkPercent(fmt.Sprintf("%s.mirrors[%d].percentage", path, i), m.Percentage, v.bad)
	}
	checkPercent(path+".mirrorPercentage", r.MirrorPercentage, v.bad)
	for field, p := range map[string]*uint32{"mirrorPercent": r.MirrorPercent, "mirror_percent": r.OldMirrorPercent} {
		if p != nil && *p > 100 {
			v.bad(path+"."+field, reasonInvalid, "is %d: a percentage is from 0 to 100", *p)
		}
	}
}

func (v *virtual) checkTLS(path string, r *istiov1.TLSRoute) {
	if len(r.Match) == 0 {
		v.bad(path+".match", reasonInvalid, "is missing: give the server names in sniHosts")
	}
	for i, m := range r.Match {
		at := fmt.Sprintf("%s.match[%d]", path, i)
		if len(m.SNIHosts) == 0 {
			v.bad(at+".sniHosts", reasonInvalid, "is missing: give the server names")
		}
		for j, h := range m.SNIHosts {
			own := fmt.Sprintf("%s.sniHosts[%d]", at, j)
			switch {
			case !validHost(h):
				v.bad(own, reasonInvalid, "%q is not a server name of TLS", h)
			case !slices.ContainsFunc(v.hosts, func(own string) bool { return attach.Covers(own, strings.ToLower(h)) }):
				v.bad(own, reasonInvalid, "%s is none of the object's hosts: add it to spec.hosts", h)
			}
		}
		v.checkL4(at, m.DestinationSubnets, "")
	}
	v.checkConnections(path, r.Route)
}

func (v *virtual) checkTCP(path string, r *istiov1.TCPRoute) {
	for i, m := range r.Match {
		v.checkL4(fmt.Sprintf("%s.match[%d]", path, i), m.DestinationSubnets, m.SourceSubnet)
	}
	v.checkConnections(path, r.Route)
}

// checkL4 checks ranges of addresses.
func (v *virtual) checkL4(path string, subnets []string, from string) {
	for i, s := range subnets {
		if !validRange(s) {
			v.bad(fmt.Sprintf("%s.destinationSubnets[%d]", path, i), reasonInvalid, "%q is not an address or a range such as 10.0.0.0/8", s)
		}
	}
	if len(subnets) > 0 {
		v.bad(path+".destinationSubnets", reasonUnsupported, "tells connections by where they were meant to go, which is a gateway itself: leave it out")
	}
	if from != "" {
		v.bad(path+".sourceSubnet", reasonUnsupported, "connections cannot be told by their source yet: leave it out")
	}
}

func validRange(text string) bool {
	_, err := netip.ParsePrefix(text)
	_, other := netip.ParseAddr(text)
	return err == nil || other == nil
}

func (v *virtual) checkConnections(path string, route []istiov1.RouteDestination) {
	sum := int64(0)
	for i, s := range route {
		checkDestination(fmt.Sprintf("%s.route[%d].destination", path, i), s.Destination, v.bad)
		if s.Weight < 0 {
			v.bad(fmt.Sprintf("%s.route[%d].weight", path, i), reasonInvalid, "is %d: a share is not less than nothing", s.Weight)
		}
		sum += int64(s.Weight)
	}
	if len(route) == 0 {
		v.bad(path+".route", reasonInvalid, "is missing: name a destination")
	}
	v.checkSum(path, len(route), sum)
}
