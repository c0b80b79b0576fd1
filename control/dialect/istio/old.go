// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	istiov1alpha2 "weir.dev/weir/control/api/istio/v1alpha2"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// routeRule is a RouteRule, in the form of a rule of a VirtualService.
type routeRule struct {
	name       source.Name
	precedence int32
	spec       *istiov1.HTTPRoute
	match      *istiov1.HTTPMatchRequest
	shares     []oldShare
	// problems drop the object, notes do not; elsewhere tells that it is for other proxies.
	problems, notes []graph.Problem
	elsewhere       bool
}

// oldShare is a share of a RouteRule.
type oldShare struct {
	host, labels string
	weight       uint32
}

// oldHost is the host name of a service as of 2018.
func oldHost(s *istiov1alpha2.IstioService, namespace string) string {
	switch {
	case s == nil:
		return ""
	case s.Service != "":
		return fullName(strings.ToLower(s.Service), namespace)
	}
	host := s.Name + "." + first(s.Namespace, namespace) + "." + first(s.Domain, domain)
	return strings.ToLower(host)
}

func serviceOfRouteRule(o source.Object) []source.Name {
	r, ok := o.(*istiov1alpha2.RouteRule)
	if !ok || r.Spec.Destination == nil {
		return nil
	}
	return serviceNames(r.Spec.Destination, r.Namespace)
}

func serviceOfPolicy(o source.Object) []source.Name {
	p, ok := o.(*istiov1alpha2.DestinationPolicy)
	if !ok || p.Spec.Destination == nil {
		return nil
	}
	return serviceNames(p.Spec.Destination, p.Namespace)
}

func serviceNames(s *istiov1alpha2.IstioService, namespace string) []source.Name {
	if name, ok := serviceName(oldHost(s, namespace)); ok {
		return []source.Name{name}
	}
	return nil
}

func (r *routeRule) bad(path, reason, format string, args ...any) {
	r.problems = append(r.problems, graph.Problemf(path, reason, format, args...))
}

func (r *routeRule) note(path, format string, args ...any) {
	r.notes = append(r.notes, graph.Problemf(path, reasonUnsupported, format, args...))
}

// readRouteRule reads a RouteRule; nil if there is none.
func (d *Dialect) readRouteRule(c *memo.Ctx, name source.Name) *routeRule {
	o, ok := source.Get[*istiov1alpha2.RouteRule](c, source.IstioRouteRule, name)
	if !ok {
		return nil
	}
	s := &o.Spec
	r := &routeRule{name: name, precedence: s.Precedence, spec: &istiov1.HTTPRoute{}}
	switch {
	case s.Destination == nil || s.Destination.Name == "" && s.Destination.Service == "":
		r.bad("spec.destination.name", reasonInvalid, "is missing: name a Service")
	case len(s.Destination.Labels) > 0:
		r.bad("spec.destination.labels", reasonInvalid, "belongs into route: the rule is for a service, its shares are for labels")
	}
	r.matches(s.Match)
	r.route(s, name.Namespace)
	r.answer(s)
	r.limits(s)
	if s.L4Fault != nil {
		r.note("spec.l4Fault", "has no effect, as in Istio")
	}
	checkRewrite("spec.rewrite", r.spec.Rewrite, r.bad)
	checkTime("spec.httpReqTimeout.simpleTimeout.timeout", r.spec.Timeout, r.bad)
	checkRetries("spec.httpReqRetries.simpleRetry", r.spec.Retries, r.bad)
	checkFault("spec.httpFault", r.spec.Fault, r.bad)
	checkCORS("spec.corsPolicy", r.spec.CorsPolicy, r.bad)
	for _, name := range slices.Sorted(maps.Keys(s.AppendHeaders)) {
		checkHeaders("spec.appendHeaders", &istiov1.Headers{Request: &istiov1.HeaderOperations{Add: map[string]string{name: s.AppendHeaders[name]}}}, r.bad)
	}
	byPath(r.problems)
	return r
}

// matches reads which requests a rule is for.
func (r *routeRule) matches(m *istiov1alpha2.MatchCondition) {
	if m == nil {
		return
	}
	if m.Source != nil {
		r.elsewhere = true
		r.note("spec.match.source", "the rule is left out: it is for proxies beside other services, which are not served")
	}
	for field, l4 := range map[string]*istiov1alpha2.L4Match{"tcp": m.TCP, "udp": m.UDP} {
		if l4 != nil {
			r.elsewhere = true
			r.note("spec.match."+field, "the rule is left out: an Ingress leads requests of HTTP to a service")
		}
	}
	if m.Request == nil {
		return
	}
	r.match = &istiov1.HTTPMatchRequest{Headers: map[string]istiov1.StringMatch{}}
	special := map[string]**istiov1.StringMatch{"uri": &r.match.URI, "scheme": &r.match.Scheme, "method": &r.match.Method, "authority": &r.match.Authority}
	for _, name := range slices.Sorted(maps.Keys(m.Request.Headers)) {
		own := istiov1.StringMatch(m.Request.Headers[name])
		at := fmt.Sprintf("spec.match.request.headers[%q]", name)
		checkText(at, own, r.bad)
		if to := special[name]; to != nil {
			*to = &own
			continue
		}
		if !build.FieldName(name) {
			r.bad(at, reasonInvalid, "is not the name of a header")
		}
		r.match.Headers[name] = own
	}
}

// route reads where requests go.
func (r *routeRule) route(s *istiov1alpha2.RouteRuleSpec, namespace string) {
	own := oldHost(s.Destination, namespace)
	sum := int64(0)
	for i, to := range s.Route {
		share := oldShare{host: own, labels: backend.Subset(to.Labels), weight: uint32(max(to.Weight, 0))}
		if to.Destination != nil {
			share.host = oldHost(to.Destination, namespace)
			if len(to.Destination.Labels) > 0 {
				share.labels = backend.Subset(to.Destination.Labels)
			}
		}
		if to.Weight < 0 || to.Weight > 100 {
			r.bad(fmt.Sprintf("spec.route[%d].weight", i), reasonInvalid, "is %d: weights are percents, from 0 to 100", to.Weight)
		}
		sum += int64(to.Weight)
		r.shares = append(r.shares, share)
	}
	switch {
	case len(s.Route) == 0:
		r.shares = []oldShare{{host: own, weight: 1}}
	case len(s.Route) == 1 && sum == 0:
		r.shares[0].weight = 1
	case sum != 100:
		r.bad("spec.route", reasonInvalid, "the weights sum to %d, and must sum to 100", sum)
	}
}

// answer reads redirects and what else changes requests.
func (r *routeRule) answer(s *istiov1alpha2.RouteRuleSpec) {
	if s.Redirect != nil {
		r.spec.Redirect = &istiov1.HTTPRedirect{URI: s.Redirect.URI, Authority: s.Redirect.Authority}
		if len(s.Route) > 0 || s.Rewrite != nil || s.HTTPFault != nil {
			r.bad("spec.redirect", reasonInvalid, "is there besides route, rewrite or httpFault: nothing is forwarded")
		}
		if s.Redirect.URI == "" && s.Redirect.Authority == "" {
			r.bad("spec.redirect", reasonInvalid, "leads to where it came from: give uri or authority")
		}
	}
	if s.Rewrite != nil {
		r.spec.Rewrite = &istiov1.HTTPRewrite{URI: s.Rewrite.URI, Authority: s.Rewrite.Authority}
		if s.Rewrite.URI != "" && r.match != nil && r.match.URI != nil && r.match.URI.Regex != nil {
			r.bad("spec.rewrite.uri", reasonInvalid, "what a regular expression matched has no prefix to rewrite: match uri by prefix or exact")
		}
	}
	if len(s.AppendHeaders) > 0 {
		r.spec.Headers = &istiov1.Headers{Request: &istiov1.HeaderOperations{Add: s.AppendHeaders}}
	}
	if m := s.Mirror; m != nil && len(m.Labels) > 0 && m.Name == "" && m.Service == "" {
		r.bad("spec.mirror.name", reasonInvalid, "is missing")
	}
	if p := s.CorsPolicy; p != nil {
		r.spec.CorsPolicy = &istiov1.CorsPolicy{
			AllowOrigin: p.AllowOrigin, AllowMethods: p.AllowMethods, AllowHeaders: p.AllowHeaders, ExposeHeaders: p.ExposeHeaders,
			MaxAge: p.MaxAge, AllowCredentials: p.AllowCredentials,
		}
	}
}

// limits reads timeouts, retries and faults.
func (r *routeRule) limits(s *istiov1alpha2.RouteRuleSpec) {
	if t := s.HTTPReqTimeout; t != nil && t.SimpleTimeout != nil {
		r.spec.Timeout = t.SimpleTimeout.Timeout
		r.override("spec.httpReqTimeout.simpleTimeout", t.SimpleTimeout.OverrideHeaderName)
	}
	if t := s.HTTPReqRetries; t != nil && t.SimpleRetry != nil {
		r.spec.Retries = &istiov1.HTTPRetry{Attempts: t.SimpleRetry.Attempts, PerTryTimeout: t.SimpleRetry.PerTryTimeout, RetryOn: "5xx,connect-failure,refused-stream"}
		r.override("spec.httpReqRetries.simpleRetry", t.SimpleRetry.OverrideHeaderName)
	} else {
		r.spec.Retries = &istiov1.HTTPRetry{} // Nothing was tried again unasked.
	}
	if f := s.HTTPFault; f != nil {
		r.spec.Fault = &istiov1.HTTPFaultInjection{}
		if d := f.Delay; d != nil {
			r.spec.Fault.Delay = &istiov1.FaultDelay{FixedDelay: d.FixedDelay, ExponentialDelay: d.ExponentialDelay, Percentage: &istiov1.Percent{Value: d.Percent}}
			r.override("spec.httpFault.delay", d.OverrideHeaderName)
		}
		if a := f.Abort; a != nil {
			r.spec.Fault.Abort = &istiov1.FaultAbort{HTTPStatus: a.HTTPStatus, GRPCStatus: a.GRPCStatus, HTTP2Error: a.HTTP2Error, Percentage: &istiov1.Percent{Value: a.Percent}}
			r.override("spec.httpFault.abort", a.OverrideHeaderName)
		}
	}
	for path, custom := range map[string]bool{
		"spec.httpReqTimeout.custom": s.HTTPReqTimeout != nil && s.HTTPReqTimeout.Custom != nil,
		"spec.httpReqRetries.custom": s.HTTPReqRetries != nil && s.HTTPReqRetries.Custom != nil,
	} {
		if custom {
			r.note(path, "has no effect, as in Istio")
		}
	}
}

func (r *routeRule) override(path, header string) {
	if header != "" {
		r.note(path+".overrideHeaderName", "has no effect, as in Istio: Envoy knows headers of its own for it")
	}
}

// orderRouteRules returns the RouteRules of a service that count: those of the highest
// precedence first.
func (d *Dialect) orderRouteRules(c *memo.Ctx, service source.Name) []source.Name {
	var all []*routeRule
	for _, o := range source.Find[*istiov1alpha2.RouteRule](c, d.routes, service) {
		if r := d.rule.Get(c, source.NameOf(o)); r != nil && len(r.problems) == 0 && !r.elsewhere {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *routeRule) int {
		return cmp.Or(cmp.Compare(b.precedence, a.precedence), source.Compare(a.name, b.name))
	})
	var out []source.Name
	for _, r := range all {
		out = append(out, r.name)
	}
	return out
}

// A Backend is where an Ingress of Istio's class leads.
type Backend struct {
	Service source.Name
	Port    int32
	// Listen is the gateway's port, Secure that it speaks TLS.
	Listen int32
	Secure bool
	Path   Path
	// From is the Ingress, and Field where in it the backend stands.
	From  source.Key
	Field string
	// Name begins the names of the routes.
	Name string
}

// Routes returns what the RouteRules of a Service make of the requests that an Ingress
// leads to it, first match first, or what is wrong with the backend.
func (d *Dialect) Routes(c *memo.Ctx, to Backend) ([]*graph.Route, *graph.Problem) {
	plain := targetID{namespace: to.Service.Namespace, from: to.Service.Namespace, host: wholeName(to.Service), port: to.Port, listen: to.Listen}
	b := &builder{d: d, c: c, object: to.From, place: place{listen: to.Listen, secure: to.Secure, fleet: "", from: to.Service.Namespace, within: to.Path}}
	t := d.target.Get(c, plain)
	for _, n := range d.ordered.Get(c, to.Service) {
		own := d.rule.Get(c, n)
		key := source.Key{Kind: source.IstioRouteRule, Name: n}
		r := &rule{name: to.Name + "/routerule/" + n.String(), from: key, spec: own.spec}
		for _, s := range own.shares {
			r.shares = append(r.shares, share{id: d.oldTarget(to, n.Namespace, s.host, s.labels), weight: s.weight})
		}
		if o, ok := source.Get[*istiov1alpha2.RouteRule](c, source.IstioRouteRule, n); ok && o.Spec.Mirror != nil {
			m := o.Spec.Mirror
			r.mirrors = []mirror{{id: d.oldTarget(to, n.Namespace, oldHost(m, n.Namespace), backend.Subset(m.Labels))}}
		}
		var matches []*istiov1.HTTPMatchRequest
		if own.match != nil {
			matches = append(matches, own.match)
		}
		if b.add(r, matches) {
			return b.out, t.problem
		}
	}
	r := &rule{name: to.Name, path: to.Field, from: to.From, spec: &istiov1.HTTPRoute{}, shares: []share{{id: plain, weight: 1}}}
	b.add(r, nil)
	return b.out, t.problem
}

// oldTarget is a destination of a RouteRule. At the service's own host it has the port
// that the Ingress asks for.
func (d *Dialect) oldTarget(to Backend, namespace, host, labels string) targetID {
	id := targetID{namespace: namespace, from: to.Service.Namespace, host: host, labels: labels, listen: to.Port}
	if name, ok := serviceName(host); ok && name == to.Service {
		id.port = to.Port
	}
	return id
}

// oldPolicy puts what the DestinationPolicies of a Service say in the place of low: of
// all its endpoints, and of those of a subset.
func (d *Dialect) oldPolicy(c *memo.Ctx, what of, subset string, low *istiov1.TrafficPolicy) *istiov1.TrafficPolicy {
	name, ok := serviceName(what.host)
	if !ok {
		return low
	}
	list := source.Find[*istiov1alpha2.DestinationPolicy](c, d.policies, name)
	slices.SortFunc(list, attach.Older)
	for _, labels := range slices.Compact([]string{"", subset}) {
		for _, p := range list {
			if bad, _ := checkPolicy(p); len(bad) == 0 && p.Spec.Source == nil && backend.Subset(p.Spec.Destination.Labels) == labels {
				low = atPort(low, policyOf(&p.Spec), 0)
				break
			}
		}
	}
	return low
}

// policyOf is a DestinationPolicy in the form of a DestinationRule's.
func policyOf(s *istiov1alpha2.DestinationPolicySpec) *istiov1.TrafficPolicy {
	out := &istiov1.TrafficPolicy{}
	if l := s.LoadBalancing; l != nil && l.Name != "" {
		out.LoadBalancer = &istiov1.LoadBalancer{Simple: l.Name}
	}
	if s.CircuitBreaker == nil || s.CircuitBreaker.SimpleCb == nil {
		return out
	}
	b := s.CircuitBreaker.SimpleCb
	out.ConnectionPool = &istiov1.ConnectionPool{
		TCP: &istiov1.TCPSettings{MaxConnections: b.MaxConnections},
		HTTP: &istiov1.HTTPSettings{
			HTTP1MaxPendingRequests: b.HTTPMaxPendingRequests, HTTP2MaxRequests: b.HTTPMaxRequests,
			MaxRequestsPerConnection: b.HTTPMaxRequestsPerConnection, MaxRetries: b.HTTPMaxRetries,
		},
	}
	if b.HTTPConsecutiveErrors > 0 || b.HTTPDetectionInterval != "" || b.SleepWindow != "" {
		out.OutlierDetection = &istiov1.OutlierDetection{
			Interval: b.HTTPDetectionInterval, BaseEjectionTime: b.SleepWindow, MaxEjectionPercent: b.HTTPMaxEjectionPercent,
		}
		if b.HTTPConsecutiveErrors > 0 {
			n := uint32(b.HTTPConsecutiveErrors)
			out.OutlierDetection.Consecutive5xxErrors = &n
		}
	}
	return out
}

// checkPolicy finds what drops a DestinationPolicy, and what of it has no effect.
func checkPolicy(o *istiov1alpha2.DestinationPolicy) (bad, notes []graph.Problem) {
	r := &rulecheck{}
	s := &o.Spec
	if s.Destination == nil || s.Destination.Name == "" && s.Destination.Service == "" {
		r.bad("spec.destination.name", reasonInvalid, "is missing: name a Service")
	}
	if s.Source != nil {
		r.note("spec.source", "the object is left out: it is for proxies beside other services, which are not served")
	}
	if l := s.LoadBalancing; l != nil && l.Name != "" && !slices.Contains([]string{"ROUND_ROBIN", "LEAST_CONN", "RANDOM"}, l.Name) {
		r.bad("spec.loadBalancing.name", reasonInvalid, "%q is not one of ROUND_ROBIN, LEAST_CONN and RANDOM", l.Name)
	}
	for field, is := range map[string]bool{
		"spec.custom": s.Custom != nil, "spec.loadBalancing.custom": s.LoadBalancing != nil && s.LoadBalancing.Custom != nil,
		"spec.circuitBreaker.custom": s.CircuitBreaker != nil && s.CircuitBreaker.Custom != nil,
	} {
		if is {
			r.note(field, "has no effect, as in Istio")
		}
	}
	if s.CircuitBreaker != nil && s.CircuitBreaker.SimpleCb != nil {
		const at = "spec.circuitBreaker.simpleCb."
		b := s.CircuitBreaker.SimpleCb
		for field, n := range map[string]int32{
			"maxConnections": b.MaxConnections, "httpMaxPendingRequests": b.HTTPMaxPendingRequests, "httpMaxRequests": b.HTTPMaxRequests,
			"httpConsecutiveErrors": b.HTTPConsecutiveErrors, "httpMaxRequestsPerConnection": b.HTTPMaxRequestsPerConnection, "httpMaxRetries": b.HTTPMaxRetries,
		} {
			r.count(at+field, n)
		}
		if b.HTTPMaxEjectionPercent < 0 || b.HTTPMaxEjectionPercent > 100 {
			r.bad(at+"httpMaxEjectionPercent", reasonInvalid, "is %d: a percentage is from 0 to 100", b.HTTPMaxEjectionPercent)
		}
		checkTime(at+"sleepWindow", b.SleepWindow, r.bad)
		checkTime(at+"httpDetectionInterval", b.HTTPDetectionInterval, r.bad)
	}
	byPath(r.problems)
	byPath(r.notes)
	return r.problems, r.notes
}
