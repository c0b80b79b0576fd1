// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"slices"
	"strings"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// hostsOfRule indexes DestinationRules by their host: as it stands and, if that may be
// one, as the whole name of a Service.
func hostsOfRule(o source.Object) []source.Name {
	r, ok := o.(*istiov1.DestinationRule)
	if !ok || r.Spec.Host == "" {
		return nil
	}
	host := fullName(strings.ToLower(r.Spec.Host), r.Namespace)
	out := []source.Name{{Name: host}}
	if name, ok := serviceName(host); ok {
		if whole := wholeName(name); whole != host {
			out = append(out, source.Name{Name: whole})
		}
	}
	return out
}

// wholeName is the host name of a Service.
func wholeName(name source.Name) string { return name.Name + "." + name.Namespace + "." + domain }

// ruleOf is what the DestinationRules of a host come to.
type ruleOf struct {
	// namespace of the first.
	namespace string
	policy    *istiov1.TrafficPolicy
	subsets   []istiov1.Subset
}

// ruleFor finds the DestinationRules of a host: those of the Gateway's namespace, of the
// service's own, or Istio's, whichever is the first to have one that is seen; there, of
// the most specific host name. Of several, the subsets of all count, and the policy of
// the oldest that has one.
func (d *Dialect) ruleFor(c *memo.Ctx, host, own, from string) ruleOf {
	names := append([]string{host}, attach.Wider(host)...)
	for _, ns := range []string{from, own, rootNamespace} {
		for _, n := range names {
			var out []*istiov1.DestinationRule
			for _, r := range source.Find[*istiov1.DestinationRule](c, d.rules, source.Name{Name: n}) {
				if r.Namespace == ns && exported(r.Spec.ExportTo, r.Namespace, from) && usable(r) {
					out = append(out, r)
				}
			}
			if len(out) > 0 {
				return merge(out)
			}
		}
	}
	return ruleOf{namespace: from}
}

// usable reports whether a DestinationRule counts at gateways.
func usable(r *istiov1.DestinationRule) bool {
	bad, _ := checkRule(r)
	return len(bad) == 0 && r.Spec.WorkloadSelector == nil
}

func merge(rules []*istiov1.DestinationRule) ruleOf {
	slices.SortFunc(rules, attach.Older)
	out := ruleOf{namespace: rules[0].Namespace}
	for _, r := range rules {
		if out.policy == nil && r.Spec.TrafficPolicy != nil {
			out.policy, out.namespace = r.Spec.TrafficPolicy, r.Namespace
		}
		for _, s := range r.Spec.Subsets {
			if !slices.ContainsFunc(out.subsets, func(o istiov1.Subset) bool { return o.Name == s.Name }) {
				out.subsets = append(out.subsets, s)
			}
		}
	}
	return out
}

// atPort returns low with what high says of a port in its place. What a port has of its
// own inherits nothing.
func atPort(low, high *istiov1.TrafficPolicy, port int32) *istiov1.TrafficPolicy {
	out := &istiov1.TrafficPolicy{}
	if low != nil {
		*out = *low
	}
	if high == nil {
		return out
	}
	over(&out.LoadBalancer, high.LoadBalancer)
	over(&out.ConnectionPool, high.ConnectionPool)
	over(&out.OutlierDetection, high.OutlierDetection)
	over(&out.TLS, high.TLS)
	over(&out.ProxyProtocol, high.ProxyProtocol)
	over(&out.RetryBudget, high.RetryBudget)
	for _, p := range high.PortLevelSettings {
		if p.Port != nil && int32(p.Port.Number) == port {
			out.LoadBalancer, out.ConnectionPool, out.OutlierDetection, out.TLS = p.LoadBalancer, p.ConnectionPool, p.OutlierDetection, p.TLS
			break
		}
	}
	return out
}

func over[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}
