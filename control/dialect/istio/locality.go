// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/build"
)

// topology are labels of places, which proxies say of themselves.
var topology = []string{build.LabelRegion, build.LabelZone, build.LabelSubZone, build.LabelNode}

// labelNetwork is the label of the network that something is in. There is but one here.
const labelNetwork = "topology.istio.io/network"

// spreadOf is how a policy has requests spread over places. Only where hosts that fail are left out others
// ever come next; there, requests stay near though nothing says so, as Istio's own default is.
func spreadOf(p *istiov1.TrafficPolicy) *build.Spread {
	out := &build.Spread{}
	fails := p.OutlierDetection != nil
	if p.LoadBalancer == nil || p.LoadBalancer.LocalityLbSetting == nil {
		out.Fail, out.Faint = fails, fails
		return out
	}
	l := p.LoadBalancer.LocalityLbSetting
	switch {
	case l.Enabled != nil && !*l.Enabled:
	case len(l.Distribute) > 0:
		for _, d := range l.Distribute {
			out.Shares = append(out.Shares, build.PlaceShares{From: d.From, To: d.To})
		}
	case fails:
		out.Fail = true
		for _, f := range l.Failover {
			out.Regions = append(out.Regions, build.RegionFailover{From: f.From, To: f.To})
		}
		for _, label := range l.FailoverPriority {
			if label != labelNetwork {
				out.Labels = append(out.Labels, label)
			}
		}
	}
	return out
}

// locality checks what is said of places. Outliers tells that hosts which fail are left out.
func (r *rulecheck) locality(path string, l *istiov1.LocalityLB, outliers bool) {
	if l == nil {
		return
	}
	if len(l.Distribute) > 0 && len(l.Failover) > 0 {
		r.bad(path+".failover", reasonInvalid, "distribute is there, too: only one of them can be")
	}
	var from []string
	for i, d := range l.Distribute {
		at := fmt.Sprintf("%s.distribute[%d]", path, i)
		r.place(at+".from", d.From, from)
		from = append(from, d.From)
		sum := uint64(0)
		var to []string
		for _, p := range slices.Sorted(maps.Keys(d.To)) {
			n := d.To[p]
			if n < 1 || n > 100 {
				r.bad(fmt.Sprintf("%s.to[%q]", at, p), reasonInvalid, "is %d: a share is from 1 to 100, and a place without one is left out", n)
			}
			r.place(fmt.Sprintf("%s.to[%q]", at, p), p, to)
			to, sum = append(to, p), sum+uint64(n)
		}
		if sum != 100 {
			r.bad(at+".to", reasonInvalid, "the shares sum to %d, and must sum to 100", sum)
		}
	}
	for i, f := range l.Failover {
		at := fmt.Sprintf("%s.failover[%d]", path, i)
		if f.From == f.To {
			r.bad(at+".to", reasonInvalid, "is the region that fails: name another")
		}
		for field, region := range map[string]string{"from": f.From, "to": f.To} {
			if strings.ContainsAny(region, "/*") {
				r.bad(at+"."+field, reasonInvalid, "%q is not the name of a region", region)
			}
		}
	}
	r.nearness(path, l, outliers)
}

// nearness checks the labels that say what is near, and whether it comes to anything.
func (r *rulecheck) nearness(path string, l *istiov1.LocalityLB, outliers bool) {
	for i, label := range l.FailoverPriority {
		at := fmt.Sprintf("%s.failoverPriority[%d]", path, i)
		name, _, fixed := strings.Cut(label, "=")
		switch {
		case len(l.Failover) > 0 && slices.Contains([]string{build.LabelRegion, build.LabelZone, build.LabelSubZone}, label):
			r.bad(at, reasonInvalid, "failover is there, too, which goes by places itself: only one of them can be")
		case name == "":
			r.bad(at, reasonInvalid, "%q names no label", label)
		case name == labelNetwork:
			r.note(at, "has no effect: endpoints are spoken to where they are, in one network")
		case !fixed && !slices.Contains(topology, label):
			r.note(at, "is a label that the proxies of gateways do not have, so that endpoints with it are far: write %s=VALUE", label)
		}
	}
	if outliers || l.Enabled != nil && !*l.Enabled || len(l.Distribute) > 0 {
		return
	}
	for field, is := range map[string]bool{"failover": len(l.Failover) > 0, "failoverPriority": len(l.FailoverPriority) > 0} {
		if is {
			r.note(path+"."+field, "has no effect without outlierDetection, which tells that hosts fail")
		}
	}
}

// place checks a place, which is to have nothing in common with others.
func (r *rulecheck) place(path, place string, others []string) {
	parts := strings.Split(place, "/")
	for i, p := range parts {
		if p == "" || len(parts) > 3 || strings.Contains(p, "*") && (p != "*" || i < len(parts)-1) {
			r.bad(path, reasonInvalid, "%q is not a place: write region/zone/subzone, in which a * may stand for what is left at the end", place)
			return
		}
	}
	for _, o := range others {
		if meets(parts, strings.Split(o, "/")) {
			r.bad(path, reasonInvalid, "%s and %s have places in common", place, o)
			return
		}
	}
}

// meets tells whether two places have something in common.
func meets(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == "*" || b[i] == "*":
			return true
		case a[i] != b[i]:
			return false
		}
	}
	return true
}
