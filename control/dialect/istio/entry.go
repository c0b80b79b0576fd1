// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"k8s.io/apimachinery/pkg/labels"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// hostsOfEntry indexes ServiceEntries by their hosts.
func hostsOfEntry(o source.Object) []source.Name {
	e, ok := o.(*istiov1.ServiceEntry)
	if !ok {
		return nil
	}
	var out []source.Name
	for _, h := range e.Spec.Hosts {
		if n := (source.Name{Name: strings.ToLower(h)}); h != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// entry finds the ServiceEntry of a host: the oldest that is right and seen by one of
// these namespaces.
func (d *Dialect) entry(c *memo.Ctx, host string, from ...string) *istiov1.ServiceEntry {
	list := source.Find[*istiov1.ServiceEntry](c, d.entries, source.Name{Name: host})
	slices.SortFunc(list, attach.Older)
	for _, e := range list {
		seen := slices.ContainsFunc(from, func(ns string) bool { return exported(e.Spec.ExportTo, e.Namespace, ns) })
		if bad, _ := checkEntry(e); len(bad) == 0 && seen {
			return e
		}
	}
	return nil
}

// entryTarget is where a destination leads that a ServiceEntry tells of.
func (d *Dialect) entryTarget(c *memo.Ctx, id targetID, host string, e *istiov1.ServiceEntry) *target {
	name := source.NameOf(e)
	if why := unreachable(e); why != "" {
		return nowhere("host", reasonUnsupported, "ServiceEntry %s %s: its requests are answered 503", name, why)
	}
	var numbers []int32
	for _, p := range e.Spec.Ports {
		numbers = append(numbers, int32(p.Number))
	}
	port, bad := portOf(id, numbers, "ServiceEntry "+name.String())
	if bad != nil {
		return bad
	}
	at := slices.Index(numbers, port)
	mode, two := graph.HTTP, false
	if at >= 0 {
		text := e.Spec.Ports[at].Protocol
		two = speaksHTTP2(e.Spec.Ports[at].Name, &text)
	}
	switch {
	case id.bytes:
		mode = graph.Bytes
	case two:
		mode = graph.GRPC
	}
	return d.lead(c, id, of{
		host: host, namespace: e.Namespace, two: two, names: e.Spec.SubjectAltNames, entry: &entryRef{Object: name, Host: host, Port: port},
	}, backend.Named(host, port, mode))
}

// unreachable tells why a ServiceEntry's hosts cannot be reached from a gateway, or "".
func unreachable(e *istiov1.ServiceEntry) string {
	switch e.Spec.Resolution {
	case "", "NONE":
		return "has resolution NONE, which leads to where connections were meant to go, and that is a gateway itself: use DNS or STATIC"
	case "DYNAMIC_DNS":
		return "has resolution DYNAMIC_DNS, which is not supported: use DNS, and name each host"
	}
	return ""
}

// entryRef names a port of a ServiceEntry, and a subset of its endpoints.
type entryRef struct {
	Object source.Name
	Host   string
	Port   int32
	Subset string `json:",omitempty"`
	Spread string `json:",omitempty"`
}

// hosts gives a cluster the hosts of a ServiceEntry.
func (r *entryRef) hosts(c *memo.Ctx, m *clusterv3.Cluster, o *graph.Overlay) {
	e, ok := source.Get[*istiov1.ServiceEntry](c, source.IstioServiceEntry, r.Object)
	if !ok {
		return
	}
	o.Also = append(o.Also, "load_assignment")
	spec := istiov1.ServicePort{Number: uint32(r.Port)} // As a destination says it, where the object tells of no ports.
	for _, p := range e.Spec.Ports {
		if int32(p.Number) == r.Port {
			spec = p
		}
	}
	spread := build.ParseSpread(r.Spread)
	selector, err := labels.Parse(r.Subset)
	if err != nil {
		selector = labels.Nothing()
	}
	list := endpointsOf(c, e)
	if len(list) == 0 && e.Spec.WorkloadSelector == nil {
		list = []istiov1.WorkloadEntrySpec{{Address: r.Host}}
	}
	var ends []build.Endpoint
	for _, w := range list {
		if !selector.Matches(labels.Set(w.Labels)) || w.Address == "" {
			continue
		}
		end := build.Endpoint{Address: addressOf(w, spec), Weight: w.Weight}
		parts := append(strings.SplitN(w.Locality, "/", 3), "", "")
		end.Region, end.Zone, end.SubZone = parts[0], parts[1], parts[2]
		for _, name := range spread.LabelNames() {
			if v, ok := w.Labels[name]; ok {
				if end.Labels == nil {
					end.Labels = map[string]string{}
				}
				end.Labels[name] = v
			}
		}
		ends = append(ends, end)
	}
	m.LoadAssignment = build.Endpoints(r.Host, ends)
	spread.On(m.LoadAssignment)
	switch e.Spec.Resolution {
	case "STATIC":
		m.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	case "DNS_ROUND_ROBIN":
		if len(ends) == 1 { // Of several names, all addresses count.
			m.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_LOGICAL_DNS}
		}
	}
}

// endpointsOf returns the endpoints that a ServiceEntry lists, or chooses of WorkloadEntries.
func endpointsOf(c *memo.Ctx, e *istiov1.ServiceEntry) []istiov1.WorkloadEntrySpec {
	if e.Spec.WorkloadSelector == nil {
		return e.Spec.Endpoints
	}
	var out []istiov1.WorkloadEntrySpec
	selector := labels.SelectorFromSet(e.Spec.WorkloadSelector.Labels)
	for _, w := range source.List[*istiov1.WorkloadEntry](c, source.IstioWorkloadEntry, e.Namespace) {
		own := w.Spec.Labels
		if len(own) == 0 {
			own = w.Labels
		}
		_, bad := netip.ParseAddr(w.Spec.Address)
		if static, unix := e.Spec.Resolution == "STATIC", strings.HasPrefix(w.Spec.Address, "unix://"); static && bad != nil && !unix || unix && !static {
			continue // Nothing is looked up, or can be.
		}
		if selector.Matches(labels.Set(own)) && w.Spec.Address != "" {
			spec := w.Spec
			spec.Labels = own
			out = append(out, spec)
		}
	}
	return out
}

// addressOf is where an endpoint is for a port.
func addressOf(w istiov1.WorkloadEntrySpec, p istiov1.ServicePort) *corev3.Address {
	if path, ok := strings.CutPrefix(w.Address, "unix://"); ok {
		return build.Pipe(path)
	}
	port := p.Number
	if p.TargetPort != 0 {
		port = p.TargetPort
	}
	if own, ok := w.Ports[p.Name]; ok && own != 0 {
		port = own
	}
	return build.Address(w.Address, int32(port), false)
}

// checkEntry finds what drops a ServiceEntry, and what of it has no effect.
func checkEntry(e *istiov1.ServiceEntry) (bad, notes []graph.Problem) {
	r := &rulecheck{}
	s := &e.Spec
	if len(s.Hosts) == 0 {
		r.bad("spec.hosts", reasonInvalid, "is missing")
	}
	for i, h := range s.Hosts {
		rest, wild := strings.CutPrefix(h, "*")
		switch {
		case validHost(h) && h != "*":
		case wild && validHost(rest):
			r.note(fmt.Sprintf("spec.hosts[%d]", i), "has no effect: destinations are looked for by whole labels, so write *.%s", rest)
		default:
			r.bad(fmt.Sprintf("spec.hosts[%d]", i), reasonInvalid, "%q is not a host name", h)
		}
	}
	for i, p := range s.Ports {
		if p.Number < 1 || p.Number > 65535 || p.TargetPort > 65535 {
			r.bad(fmt.Sprintf("spec.ports[%d].number", i), reasonInvalid, "is no port: give one from 1 to 65535")
		}
	}
	if !slices.Contains([]string{"", "NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"}, s.Resolution) {
		r.bad("spec.resolution", reasonInvalid, "%q is not one of NONE, STATIC, DNS, DNS_ROUND_ROBIN and DYNAMIC_DNS", s.Resolution)
	}
	if len(s.Endpoints) > 0 && s.WorkloadSelector != nil {
		r.bad("spec.workloadSelector", reasonInvalid, "endpoints is there, too: only one of them can be")
	}
	for i, w := range s.Endpoints {
		at := fmt.Sprintf("spec.endpoints[%d]", i)
		r.endpoint(at, w, s.Resolution)
	}
	if s.Resolution == "DNS_ROUND_ROBIN" && len(s.Endpoints) > 1 {
		r.bad("spec.endpoints", reasonInvalid, "are %d, and resolution DNS_ROUND_ROBIN goes by one name: use DNS", len(s.Endpoints))
	}
	if s.Resolution == "STATIC" && len(s.Endpoints) == 0 && s.WorkloadSelector == nil {
		r.bad("spec.endpoints", reasonInvalid, "is missing: resolution STATIC looks nothing up")
	}
	r.unusedEntry(e)
	byPath(r.problems)
	byPath(r.notes)
	return r.problems, r.notes
}

// anyResolution is that of a WorkloadEntry, which has none.
const anyResolution = "*"

// endpoint checks an endpoint.
func (r *rulecheck) endpoint(at string, w istiov1.WorkloadEntrySpec, resolution string) {
	_, err := netip.ParseAddr(w.Address)
	unix := strings.HasPrefix(w.Address, "unix://")
	switch {
	case w.Address == "" && w.Network != "":
		r.note(at+".address", "is missing: the endpoint is that of gateways of its network, and left out")
	case w.Address == "":
		r.bad(at+".address", reasonInvalid, "is missing")
	case err == nil:
	case resolution == "STATIC" && !unix:
		r.bad(at+".address", reasonInvalid, "%q is not an address, and resolution STATIC looks nothing up: use DNS", w.Address)
	case !unix && !validHost(w.Address):
		r.bad(at+".address", reasonInvalid, "%q is neither an address nor a host name", w.Address)
	case unix && resolution != "STATIC" && resolution != anyResolution:
		r.bad(at+".address", reasonInvalid, "a socket of Unix is for resolution STATIC")
	}
	for _, name := range slices.Sorted(maps.Keys(w.Ports)) {
		if p := w.Ports[name]; p < 1 || p > 65535 {
			r.bad(fmt.Sprintf("%s.ports[%q]", at, name), reasonInvalid, "%d is not a port", p)
		}
	}
	if w.Network != "" {
		r.note(at+".network", "has no effect: endpoints are spoken to where they are, and not by way of other gateways")
	}
	if w.ServiceAccount != "" {
		r.note(at+".serviceAccount", "has no effect: the certificates of the mesh are not supported")
	}
}

// unusedEntry tells of fields that have no effect at gateways.
func (r *rulecheck) unusedEntry(e *istiov1.ServiceEntry) {
	if why := unreachable(e); why != "" {
		r.note("spec.resolution", "the object %s", why)
	}
	if e.Spec.WorkloadSelector != nil {
		r.note("spec.workloadSelector", "chooses WorkloadEntries, and no Pods: make a Service for those")
	}
}
