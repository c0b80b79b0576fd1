// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/internal/memo"
	"weir.dev/weir/xds"
)

const (
	limitTimeout = 20 // milliseconds
	// labelDomain is that of labels where neither a RateLimitService nor the Module says.
	labelDomain = "ambassador"
)

// limit makes the filter that asks a RateLimitService.
func (d *Dialect) limit(c *memo.Ctx, in *install, i id, out *services) *graph.Problem {
	s := &emissaryv3.RateLimitServiceSpec{}
	if bad := specOf(d, c, i, s); bad != nil {
		return bad
	}
	if v := s.ProtocolVersion; v != "" && v != "v3" {
		p := graph.Problemf("spec.protocol_version", reasonUnsupported, "%q is not spoken any more: set v3", v)
		return &p
	}
	if t := s.Timeout; t != nil && (*t < 1 || *t > longest) {
		p := graph.Problemf("spec.timeout_ms", reasonInvalid, "%d is not a time from 1 to %d, in milliseconds", *t, longest)
		return &p
	}
	to, bad := d.limiterOf(c, in, i, s, out)
	if bad != nil {
		return bad
	}
	f := build.LimitService{
		Cluster: to, Domain: cmp.Or(s.Domain, in.config.DefaultLabelDomain, labelDomain), FailClosed: is(s.FailureModeDeny),
		Timeout: limitTimeout * time.Millisecond,
	}
	if s.Timeout != nil {
		f.Timeout = time.Duration(*s.Timeout) * time.Millisecond
	}
	if g := cmp.Or(s.GRPC, s.V3GRPC); g != nil {
		f.Exhausted = g.UseResourceExhaustedCode
	}
	out.limits = f.Filter()
	return nil
}

// limiterOf returns the cluster of a RateLimitService.
func (d *Dialect) limiterOf(c *memo.Ctx, in *install, i id, s *emissaryv3.RateLimitServiceSpec, out *services) (string, *graph.Problem) {
	if s.Service != xds.LimiterCluster {
		set := &settings{GRPC: true, StatsName: cmp.Or(s.StatsName, s.V3StatsName)}
		to, _, bad := d.called(c, in, i, "spec.service", s.Service, s.TLS.Value, s.TLS.Value != "" || is(s.TLS.Bool), set)
		if bad == nil {
			out.clusters = append(out.clusters, to)
		}
		return to.Name(), bad
	}
	if !d.limiter {
		p := graph.Problemf("spec.service", reasonUnsupported,
			"%s is the limiter of a process of weir run, and the proxies here have none: run weir ratelimit, and name its Service", xds.LimiterCluster)
		return "", &p
	}
	for field, is := range map[string]bool{"tls": s.TLS.Set(), "stats_name": cmp.Or(s.StatsName, s.V3StatsName) != ""} {
		if is {
			out.notes[i] = append(out.notes[i], graph.Problemf("spec."+field, reasonInvalid, "has no effect: %s is asked in the process", xds.LimiterCluster))
		}
	}
	slices.SortFunc(out.notes[i], func(a, b graph.Problem) int { return cmp.Compare(a.Path, b.Path) })
	return xds.LimiterCluster, nil
}

// denies reports whether a RateLimitService has requests refused for which there is no
// answer, as far as it can be read.
func (d *Dialect) denies(c *memo.Ctx, i id) bool {
	o, ok := get[*emissaryv3.Foreign](d, c, i)
	if !ok {
		return false
	}
	deny, _ := o.Spec["failure_mode_deny"].(bool)
	return deny
}

// counted is what requests of a Mapping count under. The Module's labels stand before
// those of each group, or are a group if there is none.
func (s *services) counted(in *install, m *mapping) []*routev3.RateLimit {
	if s.limits == nil {
		return nil
	}
	groups, defaults := m.limits[s.limits.GetDomain()], in.defaultLabels[s.limits.GetDomain()]
	if len(groups) == 0 && len(defaults) > 0 {
		groups = [][]label{nil}
	}
	var out []*routev3.RateLimit
	for _, g := range groups {
		l := &routev3.RateLimit{}
		for _, one := range slices.Concat(defaults, g) {
			l.Actions = append(l.Actions, one.action())
		}
		out = append(out, l)
	}
	return out
}

// uncounted tells of labels that have no effect.
func uncounted[V any](s *services, path string, labels map[string]V) []graph.Problem {
	if s.denies {
		return nil // Requests are refused, which is told.
	}
	var out []graph.Problem
	for _, domain := range slices.Sorted(maps.Keys(labels)) {
		at := fmt.Sprintf("spec.%s[%q]", path, domain)
		switch {
		case s.limits == nil && s.limiter == (id{}):
			out = append(out, graph.Problemf(at, reasonNotFound, "has no effect: there is no RateLimitService of the install, and requests are not limited"))
		case s.limits == nil:
			out = append(out, graph.Problemf(at, reasonInvalid, "has no effect: %s cannot be asked, see its own problems", s.limiter))
		case domain != s.limits.GetDomain():
			out = append(out, graph.Problemf(at, reasonInvalid, "has no effect: %s is asked about the domain %s only", s.limiter, s.limits.GetDomain()))
		}
	}
	return out
}
