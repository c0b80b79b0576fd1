// SPDX-License-Identifier: Apache-2.0

package brief

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

func (p *printer) hosts(depth int, rc *routev3.RouteConfiguration) {
	for _, vh := range rc.GetVirtualHosts() {
		p.host(depth, vh)
	}
}

func (p *printer) host(depth int, vh *routev3.VirtualHost) {
	tls := ""
	if r := vh.GetRequireTls(); r != routev3.VirtualHost_NONE {
		tls = "require_tls=" + strings.ToLower(r.String())
	}
	p.line(depth, "host", word(vh.GetName()), words(vh.GetDomains()), tls, perFilter(vh.GetTypedPerFilterConfig()))
	for _, r := range vh.GetRoutes() {
		p.line(depth+1, match(r.GetMatch()), "->", action(r), perFilter(r.GetTypedPerFilterConfig()))
	}
	if vh.GetMatcher() != nil {
		p.line(depth+1, "matcher tree")
	}
}

func match(m *routev3.RouteMatch) string {
	var parts []string
	switch path := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		parts = append(parts, "prefix "+word(path.Prefix))
	case *routev3.RouteMatch_Path:
		parts = append(parts, "path "+word(path.Path))
	case *routev3.RouteMatch_PathSeparatedPrefix:
		parts = append(parts, "under "+word(path.PathSeparatedPrefix))
	case *routev3.RouteMatch_SafeRegex:
		parts = append(parts, "regex "+word(path.SafeRegex.GetRegex()))
	case *routev3.RouteMatch_ConnectMatcher_:
		parts = append(parts, "connect")
	case *routev3.RouteMatch_PathMatchPolicy:
		parts = append(parts, shortName(path.PathMatchPolicy.GetName()))
	default:
		parts = append(parts, "any path")
	}
	if m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue() {
		parts = append(parts, "ignore_case")
	}
	for _, h := range m.GetHeaders() {
		parts = append(parts, header(h))
	}
	for _, q := range m.GetQueryParameters() {
		parts = append(parts, "query "+word(q.GetName())+text(q.GetStringMatch()))
	}
	for _, k := range m.GetCookies() {
		not := ""
		if k.GetInvertMatch() {
			not = "not "
		}
		parts = append(parts, not+"cookie "+word(k.GetName())+text(k.GetStringMatch()))
	}
	if m.GetGrpc() != nil {
		parts = append(parts, "grpc")
	}
	if f := m.GetRuntimeFraction(); f != nil {
		parts = append(parts, fmt.Sprintf("fraction=%d/%s", f.GetDefaultValue().GetNumerator(), strings.ToLower(f.GetDefaultValue().GetDenominator().String())))
	}
	return strings.Join(parts, " ")
}

func header(h *routev3.HeaderMatcher) string {
	not := ""
	if h.GetInvertMatch() {
		not = "not "
	}
	name := not + "header " + word(h.GetName())
	switch m := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_StringMatch:
		return name + text(m.StringMatch)
	case *routev3.HeaderMatcher_PresentMatch:
		if !m.PresentMatch {
			return "no " + name
		}
		return name
	case *routev3.HeaderMatcher_RangeMatch:
		return fmt.Sprintf("%s in %d..%d", name, m.RangeMatch.GetStart(), m.RangeMatch.GetEnd())
	case nil:
		return name
	}
	return name + "=..."
}

func text(m *matcherv3.StringMatcher) string {
	switch t := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return "=" + strconv.Quote(t.Exact)
	case *matcherv3.StringMatcher_Prefix:
		return "=" + strconv.Quote(t.Prefix) + "*"
	case *matcherv3.StringMatcher_Suffix:
		return "=*" + strconv.Quote(t.Suffix)
	case *matcherv3.StringMatcher_Contains:
		return "=*" + strconv.Quote(t.Contains) + "*"
	case *matcherv3.StringMatcher_SafeRegex:
		return "~" + strconv.Quote(t.SafeRegex.GetRegex())
	case nil:
		return ""
	}
	return "=..."
}

func action(r *routev3.Route) string {
	switch a := r.GetAction().(type) {
	case *routev3.Route_Route:
		return forward(a.Route)
	case *routev3.Route_Redirect:
		return redirect(a.Redirect)
	case *routev3.Route_DirectResponse:
		return fmt.Sprintf("answer %d", a.DirectResponse.GetStatus())
	case *routev3.Route_NonForwardingAction:
		return "stay"
	}
	return "nothing"
}

func forward(a *routev3.RouteAction) string {
	var parts []string
	switch to := a.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		parts = append(parts, word(to.Cluster))
	case *routev3.RouteAction_ClusterHeader:
		parts = append(parts, "cluster in header "+word(to.ClusterHeader))
	case *routev3.RouteAction_WeightedClusters:
		var shares []share
		for _, c := range to.WeightedClusters.GetClusters() {
			shares = append(shares, share{c.GetName(), c.GetWeight().GetValue()})
		}
		parts = append(parts, split(shares))
	default:
		parts = append(parts, "cluster by plugin")
	}
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+word(value))
		}
	}
	add("rewrite", a.GetPrefixRewrite())
	if rx := a.GetRegexRewrite(); rx != nil {
		add("rewrite", "~"+rx.GetPattern().GetRegex()+"~"+rx.GetSubstitution())
	}
	if policy := a.GetPathRewritePolicy(); policy != nil {
		parts = append(parts, "rewrite="+shortName(policy.GetName()))
	}
	add("host", a.GetHostRewriteLiteral())
	add("host_from", a.GetHostRewriteHeader())
	if a.GetAutoHostRewrite().GetValue() {
		parts = append(parts, "host=auto")
	}
	if d := duration("timeout", a.GetTimeout()); d != "" {
		parts = append(parts, d)
	}
	if retry := a.GetRetryPolicy(); retry != nil {
		n := uint32(1) // Envoy's default of num_retries.
		if retry.GetNumRetries() != nil {
			n = retry.GetNumRetries().GetValue()
		}
		parts = append(parts, fmt.Sprintf("retry=%s*%d", word(retry.GetRetryOn()), n))
	}
	for _, m := range a.GetRequestMirrorPolicies() {
		add("mirror", m.GetCluster()+m.GetClusterHeader())
	}
	for _, u := range a.GetUpgradeConfigs() {
		name := "upgrade"
		if e := u.GetEnabled(); e != nil && !e.GetValue() {
			name = "no_upgrade"
		}
		add(name, u.GetUpgradeType())
		if u.GetConnectConfig() != nil {
			parts = append(parts, "terminated")
		}
	}
	for _, l := range a.GetRateLimits() {
		add("limit", descriptor(l))
	}
	return strings.Join(parts, " ")
}

// descriptor is what a request counts under.
func descriptor(l *routev3.RateLimit) string {
	var entries []string
	for _, a := range l.GetActions() {
		switch s := a.GetActionSpecifier().(type) {
		case *routev3.RateLimit_Action_GenericKey_:
			entries = append(entries, cmp.Or(s.GenericKey.GetDescriptorKey(), "generic_key")+"="+s.GenericKey.GetDescriptorValue())
		case *routev3.RateLimit_Action_RequestHeaders_:
			entries = append(entries, s.RequestHeaders.GetDescriptorKey()+"=%REQ("+s.RequestHeaders.GetHeaderName()+")%")
		default:
			m := a.ProtoReflect()
			if f := m.WhichOneof(m.Descriptor().Oneofs().ByName("action_specifier")); f != nil {
				entries = append(entries, string(f.Name()))
			}
		}
	}
	return strings.Join(entries, ",")
}

func redirect(a *routev3.RedirectAction) string {
	parts := []string{"redirect", strings.ToLower(a.GetResponseCode().String())}
	for _, kv := range [][2]string{
		{"scheme", a.GetSchemeRedirect()},
		{"host", a.GetHostRedirect()},
		{"path", a.GetPathRedirect()},
		{"prefix", a.GetPrefixRewrite()},
	} {
		if kv[1] != "" {
			parts = append(parts, kv[0]+"="+word(kv[1]))
		}
	}
	if a.GetHttpsRedirect() {
		parts = append(parts, "scheme=https")
	}
	if port := a.GetPortRedirect(); port > 0 {
		parts = append(parts, fmt.Sprintf("port=%d", port))
	}
	return strings.Join(parts, " ")
}

// share is one cluster's part of the traffic.
type share struct {
	cluster string
	weight  uint32
}

// split prints shares in per cent, as exactly as one decimal allows.
func split(shares []share) string {
	var sum float64
	for _, s := range shares {
		sum += float64(s.weight)
	}
	var out []string
	for _, s := range shares {
		percent := 0.0
		if sum > 0 {
			percent = float64(s.weight) * 100 / sum
		}
		out = append(out, strings.TrimSuffix(strconv.FormatFloat(percent, 'f', 1, 64), ".0")+"% "+word(s.cluster))
	}
	return strings.Join(out, ", ")
}

// perFilter names the filters that have a configuration of their own here.
func perFilter[M any](configs map[string]M) string {
	if len(configs) == 0 {
		return ""
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		names = append(names, shortName(name))
	}
	return "with " + strings.Join(names, ",")
}
