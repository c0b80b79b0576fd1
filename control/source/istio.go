// SPDX-License-Identifier: Apache-2.0

package source

import (
	"cmp"
	"slices"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	istiov1alpha2 "weir.dev/weir/control/api/istio/v1alpha2"
)

// The kinds of Istio that are read.
var (
	IstioGateway         = Kind{istiov1.Group, "Gateway"}
	IstioVirtualService  = Kind{istiov1.Group, "VirtualService"}
	IstioDestinationRule = Kind{istiov1.Group, "DestinationRule"}
	IstioServiceEntry    = Kind{istiov1.Group, "ServiceEntry"}
	IstioWorkloadEntry   = Kind{istiov1.Group, "WorkloadEntry"}

	IstioRouteRule         = Kind{istiov1alpha2.Group, "RouteRule"}
	IstioDestinationPolicy = Kind{istiov1alpha2.Group, "DestinationPolicy"}

	// These are reported only.
	IstioSidecar               = Kind{istiov1.Group, "Sidecar"}
	IstioEnvoyFilter           = Kind{istiov1.Group, "EnvoyFilter"}
	IstioWorkloadGroup         = Kind{istiov1.Group, "WorkloadGroup"}
	IstioProxyConfig           = Kind{istiov1.Group, "ProxyConfig"}
	IstioPeerAuthentication    = Kind{istiov1.Security, "PeerAuthentication"}
	IstioRequestAuthentication = Kind{istiov1.Security, "RequestAuthentication"}
	IstioAuthorizationPolicy   = Kind{istiov1.Security, "AuthorizationPolicy"}
	IstioEgressRule            = Kind{istiov1alpha2.Group, "EgressRule"}
)

func istioTypes() []Type {
	t := func(k Kind, resource string, create func() Object, versions ...string) Type {
		return Type{Kind: k, Versions: versions, Resource: resource, Namespaced: true, Optional: true, New: create}
	}
	networking := func(k Kind, resource string, create func() Object) Type {
		return t(k, resource, create, "v1", "v1beta1", "v1alpha3")
	}
	foreign := func() Object { return &istiov1.Foreign{} }
	rules := networking(IstioDestinationRule, "destinationrules", func() Object { return &istiov1.DestinationRule{} })
	rules.Needs = func(o Object) []Kind { return neededByRule(&o.(*istiov1.DestinationRule).Spec) }
	old := t(IstioRouteRule, "routerules", func() Object { return &istiov1alpha2.RouteRule{} }, "v1alpha2")
	old.Needs = func(o Object) []Kind {
		for _, r := range o.(*istiov1alpha2.RouteRule).Spec.Route {
			if len(r.Labels) > 0 || r.Destination != nil && len(r.Destination.Labels) > 0 {
				return []Kind{Pod}
			}
		}
		return nil
	}
	return []Type{
		networking(IstioGateway, "gateways", func() Object { return &istiov1.Gateway{} }),
		networking(IstioVirtualService, "virtualservices", func() Object { return &istiov1.VirtualService{} }),
		rules,
		networking(IstioServiceEntry, "serviceentries", func() Object { return &istiov1.ServiceEntry{} }),
		networking(IstioWorkloadEntry, "workloadentries", func() Object { return &istiov1.WorkloadEntry{} }),
		old,
		t(IstioDestinationPolicy, "destinationpolicies", func() Object { return &istiov1alpha2.DestinationPolicy{} }, "v1alpha2"),
		networking(IstioSidecar, "sidecars", foreign),
		t(IstioEnvoyFilter, "envoyfilters", foreign, "v1alpha3"),
		networking(IstioWorkloadGroup, "workloadgroups", foreign),
		t(IstioProxyConfig, "proxyconfigs", foreign, "v1beta1"),
		t(IstioPeerAuthentication, "peerauthentications", foreign, "v1", "v1beta1"),
		t(IstioRequestAuthentication, "requestauthentications", foreign, "v1", "v1beta1"),
		t(IstioAuthorizationPolicy, "authorizationpolicies", foreign, "v1", "v1beta1"),
		t(IstioEgressRule, "egressrules", foreign, "v1alpha2"),
	}
}

// neededByRule tells that of a DestinationRule with subsets or labels the labels of Pods have to be known, and of one
// that has requests stay near, or go where its failover says, where Nodes are.
func neededByRule(s *istiov1.DestinationRuleSpec) []Kind {
	var out []Kind
	for _, sub := range s.Subsets {
		if len(sub.Labels) > 0 {
			out = append(out, Pod)
		}
	}
	look := func(l *istiov1.LoadBalancer, o *istiov1.OutlierDetection) {
		if o != nil {
			out = append(out, Node)
		}
		if l == nil || l.LocalityLbSetting == nil {
			return
		}
		if out = append(out, Node); len(l.LocalityLbSetting.FailoverPriority) > 0 {
			out = append(out, Pod)
		}
	}
	whole := []*istiov1.TrafficPolicy{s.TrafficPolicy}
	for _, sub := range s.Subsets {
		whole = append(whole, sub.TrafficPolicy)
	}
	for _, p := range whole {
		if p == nil {
			continue
		}
		look(p.LoadBalancer, p.OutlierDetection)
		for _, own := range p.PortLevelSettings {
			look(own.LoadBalancer, own.OutlierDetection)
		}
	}
	slices.SortFunc(out, func(a, b Kind) int { return cmp.Compare(a.Kind, b.Kind) })
	return slices.Compact(out)
}
