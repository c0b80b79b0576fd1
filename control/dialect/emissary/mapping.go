// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/internal/memo"
)

// mapping is a Mapping, as far as it is the same in every install.
type mapping struct {
	id     id
	spec   *emissaryv3.MappingSpec
	ids    []string
	labels map[string]string
	// host is the glob of host names, or empty; hostRegex matches them instead.
	host, hostRegex string
	// headers and query are what is matched besides, in order.
	headers, query []pair
	// limits are what its requests count under, by domain: each group by itself.
	limits map[string][][]label
	// overrides are the bodies of its responses, in place of the Module's.
	overrides []build.ErrorResponse
	// problems drop the Mapping, notes do not.
	problems, notes []graph.Problem
}

// pair is a header or a parameter of the query that is matched.
type pair struct {
	name, value    string
	regex, present bool
}

// weight is how much a pair counts in the order of routes.
func (p pair) weight() int {
	if p.present {
		return len(p.name) + len("*")
	}
	n := len(p.name) + len(p.value)
	if p.regex {
		n++
	}
	return n
}

func (p pair) key() string { return fmt.Sprintf("%s=%s|%t|%t", p.name, p.value, p.regex, p.present) }

func (m *mapping) bad(path, reason, format string, args ...any) {
	m.problems = append(m.problems, graph.Problemf("spec."+path, reason, format, args...))
}

func (m *mapping) note(path, reason, format string, args ...any) {
	m.notes = append(m.notes, graph.Problemf("spec."+path, reason, format, args...))
}

// readMapping reads a Mapping; nil if there is none.
func (d *Dialect) readMapping(c *memo.Ctx, i id) *mapping {
	o, ok := get[*emissaryv3.Mapping](d, c, i)
	if !ok {
		return nil
	}
	m := &mapping{id: i, spec: &o.Spec, ids: idsOf(o.Spec.AmbassadorID), labels: o.Labels}
	m.matches(version2(o))
	m.checkAction()
	m.checkTraffic()
	m.checkService()
	m.checkHeaders()
	m.limits = readLabels("labels", o.Spec.Labels, m.bad)
	m.overrides = readOverrides(o.Spec.ErrorResponseOverrides, m.note)
	if len(m.overrides) > 0 && is(o.Spec.BypassErrorResponseOverrides) {
		m.note("error_response_overrides", reasonConflict, "bypass_error_response_overrides is true, and counts")
	}
	m.unsupported()
	slices.SortStableFunc(m.problems, func(a, b graph.Problem) int { return cmp.Compare(a.Path, b.Path) })
	return m
}

// matches reads which requests a Mapping is for.
func (m *mapping) matches(v2 bool) {
	s := m.spec
	if s.Prefix == "" {
		m.bad("prefix", reasonInvalid, "is missing: give / for all paths")
	}
	if is(s.PrefixRegex) && is(s.PrefixExact) {
		m.bad("prefix_exact", reasonConflict, "prefix_regex is there, too: only one of them can be")
	}
	if why := build.BadRegex(s.Prefix); is(s.PrefixRegex) && s.Prefix != "" && why != "" {
		m.bad("prefix", reasonInvalid, "%q is not a regular expression of RE2: %s", s.Prefix, why)
	}
	m.headers = m.pairs("headers", s.Headers, false)
	m.headers = append(m.headers, m.pairs("regex_headers", s.RegexHeaders, true)...)
	m.query = append(m.pairs("query_parameters", s.QueryParameters, false), m.pairs("regex_query_parameters", s.RegexQueryParameters, true)...)
	if i := slices.IndexFunc(m.headers, func(p pair) bool { return p.name == ":authority" && !p.regex && !p.present }); i >= 0 {
		m.host = globOf(m.headers[i].value) // It is treated as a host name.
		m.headers = slices.Delete(m.headers, i, i+1)
	}
	switch {
	case s.Hostname != "":
		m.host = globOf(s.Hostname)
		if s.Host != "" {
			m.note("host", reasonConflict, "hostname is there, too, and counts")
		}
	case s.Host != "" && is(s.HostRegex):
		m.host, m.hostRegex = attach.AnyHost, s.Host
		if why := build.BadRegex(s.Host); why != "" {
			m.bad("host", reasonInvalid, "%q is not a regular expression of RE2: %s", s.Host, why)
		}
	case s.Host != "":
		if m.host = globOf(s.Host); !exact(m.host) && m.host != attach.AnyHost {
			m.bad("host", reasonInvalid, "%q has a star, which stands for itself here and so for no host: use hostname", s.Host)
		}
	case m.host == "" && v2:
		m.host = attach.AnyHost // Before v3alpha1, none was all.
	}
	if m.host != "" && !validGlob(m.host) {
		m.bad("hostname", reasonInvalid, "%q is not a host name: a star may stand at its start or at its end", m.host)
	}
	if s.Method != "" {
		p := pair{name: ":method", value: s.Method, regex: is(s.MethodRegex)}
		if why := build.BadRegex(s.Method); p.regex && why != "" {
			m.bad("method", reasonInvalid, "%q is not a regular expression of RE2: %s", s.Method, why)
		}
		m.headers = append(m.headers, p)
	}
	if w := s.Weight; w != nil && (*w < 0 || *w > 100) {
		m.bad("weight", reasonInvalid, "is %d: weights are percents, from 0 to 100", *w)
	}
}

// pairs reads what is matched of headers or parameters, by name.
func (m *mapping) pairs(field string, in map[string]emissaryv3.Text, regex bool) []pair {
	var out []pair
	for _, name := range slices.Sorted(maps.Keys(in)) {
		t := in[name]
		p := pair{name: name, value: t.Value, regex: regex}
		if strings.HasSuffix(field, "headers") {
			p.name = strings.ToLower(name)
		}
		switch {
		case t.Bool != nil && !*t.Bool:
			m.bad(fmt.Sprintf("%s[%q]", field, name), reasonInvalid, "is false: only true, for any value, or a value can be asked for")
			continue
		case t.Bool != nil, t.Value == "" && !regex:
			p.present, p.regex, p.value = true, false, ""
		case regex && build.BadRegex(t.Value) != "":
			m.bad(fmt.Sprintf("%s[%q]", field, name), reasonInvalid, "%q is not a regular expression of RE2: %s", t.Value, build.BadRegex(t.Value))
		}
		out = append(out, p)
	}
	return out
}

// checkAction checks rewrites and redirects.
func (m *mapping) checkAction() {
	s := m.spec
	for field, r := range map[string]*emissaryv3.RegexMap{"regex_rewrite": s.RegexRewrite, "regex_redirect": s.RegexRedirect} {
		if r == nil {
			continue
		}
		if why := build.BadRegex(r.Pattern); why != "" {
			m.bad(field+".pattern", reasonInvalid, "%q is not a regular expression of RE2: %s", r.Pattern, why)
		}
		if why := build.BadSubstitution(r.Pattern, r.Substitution); why != "" {
			m.bad(field+".substitution", reasonInvalid, "%q %s", r.Substitution, why)
		}
	}
	rewrite := ""
	if s.Rewrite != nil {
		rewrite = *s.Rewrite
	}
	for _, f := range [][2]string{
		{"prefix", s.Prefix}, {"rewrite", rewrite}, {"host_rewrite", s.HostRewrite}, {"path_redirect", s.PathRedirect}, {"prefix_redirect", s.PrefixRedirect},
	} {
		if why := build.BadText(f[1]); why != "" {
			m.bad(f[0], reasonInvalid, "%q %s", f[1], why)
		}
	}
	for i, u := range s.AllowUpgrade {
		if !build.FieldName(u) {
			m.bad(fmt.Sprintf("allow_upgrade[%d]", i), reasonInvalid, "%q is not the name of a protocol", u)
		}
	}
	if is(s.HostRedirect) && is(s.Shadow) {
		m.note("host_redirect", reasonConflict, "shadow is there, too, and counts")
	}
	redirects := 0
	for _, has := range []bool{s.PathRedirect != "", s.PrefixRedirect != "", s.RegexRedirect != nil} {
		if has {
			redirects++
		}
	}
	if redirects > 1 {
		m.note("path_redirect", reasonConflict, "of path_redirect, prefix_redirect and regex_redirect only the first that is there counts")
	}
	if redirects > 0 && !is(s.HostRedirect) {
		m.note("host_redirect", reasonInvalid, "is not true: path_redirect, prefix_redirect and regex_redirect have no effect")
	}
	if code := s.RedirectResponseCode; code != nil && redirectCode(*code) < 0 {
		m.bad("redirect_response_code", reasonInvalid, "is %d: there are 301, 302, 303, 307 and 308", *code)
	}
	if s.HostRewrite != "" && is(s.AutoHostRewrite) {
		m.bad("auto_host_rewrite", reasonConflict, "host_rewrite is there, too: only one of them can be")
	}
	if p := s.Priority; p != "" && p != "default" && p != "high" {
		m.bad("priority", reasonInvalid, "%q is not a priority: there are default and high", p)
	}
}

// longest is the longest time that is taken, in milliseconds: ten years.
const longest = 10 * 366 * 24 * 3600 * 1000

// checkTraffic checks retries, breakers, balancing and health checks.
func (m *mapping) checkTraffic() {
	s := m.spec
	checkRetry("retry_policy", s.RetryPolicy, m.bad)
	checkBreakers("circuit_breakers", s.CircuitBreakers, m.bad)
	checkBalancer("load_balancer", s.LoadBalancer, m.bad)
	checkCORS("cors", s.CORS, m.bad)
	for i, h := range m.checks() {
		path := fmt.Sprintf("health_checks[%d].health_check", i)
		switch {
		case (h.HealthCheck.HTTP == nil) == (h.HealthCheck.GRPC == nil):
			m.bad(path, reasonInvalid, "has not exactly one of http and grpc")
		case h.HealthCheck.HTTP != nil && h.HealthCheck.HTTP.Path == "":
			m.bad(path+".http.path", reasonInvalid, "is missing")
		case h.HealthCheck.GRPC != nil && h.HealthCheck.GRPC.UpstreamName == "":
			m.bad(path+".grpc.upstream_name", reasonInvalid, "is missing")
		}
		if w := h.HealthCheck.HTTP; w != nil {
			for j, r := range w.ExpectedStatuses {
				if r.Min < 100 || r.Max > 599 || r.Min > r.Max {
					m.bad(fmt.Sprintf("%s.http.expected_statuses[%d]", path, j), reasonInvalid, "%d to %d are not statuses: they are from 100 to 599", r.Min, r.Max)
				}
			}
		}
	}
	for field, n := range map[string]*int64{
		"timeout_ms": s.Timeout, "idle_timeout_ms": s.IdleTimeout, "connect_timeout_ms": s.ConnectTimeout,
		"cluster_idle_timeout_ms": s.ClusterIdleTimeout, "cluster_max_connection_lifetime_ms": s.ClusterMaxConnectionAge,
	} {
		if n != nil && (*n < 0 || *n > longest) {
			m.bad(field, reasonInvalid, "is %d: a time is from 0 to %d, in milliseconds", *n, longest)
		}
	}
	if s.ConnectTimeout != nil && *s.ConnectTimeout == 0 {
		m.bad("connect_timeout_ms", reasonInvalid, "is 0: no connection would ever be made")
	}
}

// checks are the health checks, as either version has them.
func (m *mapping) checks() []emissaryv3.HealthCheck {
	return append(m.spec.HealthChecks, m.spec.V3HealthChecks...)
}

type teller func(path, reason, format string, args ...any)

func checkRetry(path string, r *emissaryv3.RetryPolicy, bad teller) {
	if r == nil {
		return
	}
	known := []string{"5xx", "gateway-error", "connect-failure", "retriable-4xx", "refused-stream", "retriable-status-codes"}
	for _, on := range strings.Split(r.RetryOn, ",") {
		if !slices.Contains(known, strings.TrimSpace(on)) {
			bad(path+".retry_on", reasonInvalid, "%q is not a reason to retry: there are %s", on, strings.Join(known, ", "))
		}
	}
	if r.PerTryTimeout != "" {
		if d, err := time.ParseDuration(r.PerTryTimeout); err != nil || d < 0 {
			bad(path+".per_try_timeout", reasonInvalid, "%q is not a time: write 500ms or 2s", r.PerTryTimeout)
		}
	}
}

func checkBreakers(path string, list []emissaryv3.CircuitBreaker, bad teller) {
	seen := map[string]bool{}
	for i, b := range list {
		at := fmt.Sprintf("%s[%d].priority", path, i)
		p := cmp.Or(b.Priority, "default")
		if p != "default" && p != "high" {
			bad(at, reasonInvalid, "%q is not a priority: there are default and high", b.Priority)
		}
		if seen[p] {
			bad(at, reasonConflict, "there are two for priority %s", p)
		}
		seen[p] = true
	}
}

func checkCORS(path string, c *emissaryv3.CORS, bad teller) {
	if c == nil || c.MaxAge.Value == "" {
		return
	}
	if _, err := strconv.ParseUint(c.MaxAge.Value, 10, 31); err != nil {
		bad(path+".max_age", reasonInvalid, "%q is not a number of seconds", c.MaxAge.Value)
	}
}

func checkBalancer(path string, b *emissaryv3.LoadBalancer, bad teller) {
	if b == nil {
		return
	}
	keys := 0
	for _, has := range []bool{b.Cookie != nil, b.Header != "", is(b.SourceIP)} {
		if has {
			keys++
		}
	}
	switch b.Policy {
	case "round_robin", "least_request":
		if keys > 0 {
			bad(path, reasonInvalid, "policy %s takes no cookie, header or source_ip: ring_hash and maglev do", b.Policy)
		}
	case "ring_hash", "maglev":
		if keys != 1 {
			bad(path, reasonInvalid, "policy %s takes exactly one of cookie, header and source_ip", b.Policy)
		}
	default:
		bad(path+".policy", reasonInvalid, "%q is not a policy: there are round_robin, least_request, ring_hash and maglev", b.Policy)
	}
	if b.Cookie != nil && b.Cookie.Name == "" {
		bad(path+".cookie.name", reasonInvalid, "is missing")
	}
	if b.Cookie != nil && b.Cookie.TTL != "" {
		if d, err := time.ParseDuration(b.Cookie.TTL); err != nil || d < 0 {
			bad(path+".cookie.ttl", reasonInvalid, "%q is not a time: write 60s", b.Cookie.TTL)
		}
	}
}

// checkService reads where a Mapping leads.
func (m *mapping) checkService() {
	s := m.spec
	if s.Service == "" {
		m.bad("service", reasonInvalid, "is missing: give name, name.namespace or name.namespace:port")
		return
	}
	if _, err := parseService(s.Service, false); err != nil {
		m.bad("service", reasonInvalid, "%v", err)
	}
	if t := s.DNSType; t != "" && t != "strict_dns" && t != "logical_dns" {
		m.bad("dns_type", reasonInvalid, "%q is not one of strict_dns and logical_dns", t)
	}
	if s.EnableIPv4 != nil && s.EnableIPv6 != nil && !*s.EnableIPv4 && !*s.EnableIPv6 {
		m.bad("enable_ipv6", reasonInvalid, "neither enable_ipv4 nor enable_ipv6 is true: no address would be left")
	}
}

// unsupported tells of fields that have no effect.
func (m *mapping) unsupported() {
	s := m.spec
	for _, u := range []struct {
		field string
		is    bool
		why   string
	}{
		{"outlier_detection", s.OutlierDetection != "", "is not supported, as in Emissary"},
		{"modules", len(s.Modules) > 0, "is not read, as in Emissary"},
		{"envoy_override", len(s.EnvoyOverride) > 0, "is not read, as in Emissary since 2.0"},
	} {
		if u.is {
			m.note(u.field, reasonUnsupported, "%s", u.why)
		}
	}
}

// order is how a Mapping's requests are told from others', for the order of routes.
type order struct {
	precedence, prefix, headers, query int
	text, method, keys                 string
}

func (m *mapping) order() order {
	o := order{prefix: len(m.spec.Prefix), text: m.spec.Prefix, method: cmp.Or(m.spec.Method, "GET")}
	if m.spec.Precedence != nil {
		o.precedence = *m.spec.Precedence
	}
	var keys []string
	for _, p := range m.matched() {
		o.headers += p.weight()
		keys = append(keys, p.key())
	}
	for _, p := range m.query {
		o.query += p.weight()
		keys = append(keys, p.key())
	}
	o.keys = strings.Join(keys, "\n")
	return o
}

// matched are the headers that count, with the host name among them.
func (m *mapping) matched() []pair {
	out := slices.Clone(m.headers)
	switch {
	case m.hostRegex != "":
		out = append(out, pair{name: ":authority", value: m.hostRegex, regex: true})
	case m.host != "":
		out = append(out, pair{name: ":authority", value: m.host})
	}
	return out
}

// compare orders routes: what is matched first comes first.
func (o order) compare(b order) int {
	return cmp.Or(
		cmp.Compare(b.precedence, o.precedence), cmp.Compare(b.prefix, o.prefix),
		cmp.Compare(b.headers, o.headers), cmp.Compare(b.query, o.query),
		cmp.Compare(b.text, o.text), cmp.Compare(b.method, o.method), cmp.Compare(b.keys, o.keys),
	)
}
