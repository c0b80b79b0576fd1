// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// targetID is a destination as an object names it.
type targetID struct {
	// namespace of the object, which completes short names; from is that of the Gateway,
	// whose DestinationRules come first.
	namespace, from string
	host, subset    string
	// labels choose endpoints by themselves, without a subset: see backend.Subset.
	labels string
	// port of the service; 0 is its only one or, if it has several, listen.
	port, listen int32
	// bytes are carried as they come.
	bytes bool
}

// target is where a destination leads. With a problem, whose path begins below the
// destination, it leads nowhere.
type target struct {
	cluster graph.ClusterID
	hash    *istiov1.ConsistentHash
	// idle is how long a connection of bytes may be without any.
	idle    string
	problem *graph.Problem
}

func nowhere(path, reason, format string, args ...any) *target {
	p := graph.Problemf(path, reason, format, args...)
	return &target{problem: &p}
}

// serviceName reads the name of a Service, in any of the forms that have its namespace.
func serviceName(host string) (source.Name, bool) {
	labels := strings.Split(host, ".")
	if len(labels) < 2 || len(labels) > 2 && "."+strings.Join(labels[2:], ".") != "."+domain && strings.Join(labels[2:], ".") != "svc" {
		return source.Name{}, false
	}
	return source.Name{Namespace: labels[1], Name: labels[0]}, true
}

// readTarget finds a destination: a Service, or what a ServiceEntry tells of.
func (d *Dialect) readTarget(c *memo.Ctx, id targetID) *target {
	host := fullName(strings.ToLower(id.host), id.namespace)
	if entry := d.entry(c, host, id.from, id.namespace); entry != nil {
		return d.entryTarget(c, id, host, entry)
	}
	name, ok := serviceName(host)
	if !ok {
		return nowhere("host", reasonNotFound, "there is no ServiceEntry with the host %s, and it is no Service's name: its requests are answered 503", host)
	}
	s, ok := source.Get[*corev1.Service](c, source.Service, name)
	if !ok {
		return nowhere("host", reasonNotFound, "there is no Service %s, and no ServiceEntry with the host %s: its requests are answered 503", name, host)
	}
	var numbers []int32
	for _, p := range s.Spec.Ports {
		numbers = append(numbers, p.Port)
	}
	port, bad := portOf(id, numbers, "Service "+name.String())
	if bad != nil {
		return bad
	}
	at := slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
	mode := graph.HTTP
	two := false
	if at >= 0 {
		two = speaksHTTP2(s.Spec.Ports[at].Name, s.Spec.Ports[at].AppProtocol)
	}
	switch {
	case id.bytes:
		mode = graph.Bytes
	case two:
		mode = graph.GRPC
	}
	number := gwapiv1.PortNumber(port)
	cluster, wrong := d.backends.Resolve(c, backend.Ref{
		From: source.IstioVirtualService, Namespace: name.Namespace, Mode: mode, OwnTLS: true,
		To: gwapiv1.BackendObjectReference{Name: gwapiv1.ObjectName(name.Name), Port: &number},
	})
	if wrong != nil {
		return nowhere("host", reasonNotFound, "%s: its requests are answered 503", wrong.Message)
	}
	return d.lead(c, id, of{host: wholeName(name), namespace: name.Namespace, two: two}, cluster)
}

// portOf chooses the port of a destination.
func portOf(id targetID, ports []int32, of string) (int32, *target) {
	switch {
	case id.port != 0 && !slices.Contains(ports, id.port) && len(ports) > 0:
		return 0, nowhere("port.number", reasonNotFound, "%s has no port %d: its requests are answered 503", of, id.port)
	case id.port != 0:
		return id.port, nil
	case len(ports) == 1:
		return ports[0], nil
	case slices.Contains(ports, id.listen):
		return id.listen, nil
	case len(ports) == 0:
		return 0, nowhere("port", reasonInvalid, "is missing: %s tells of no ports; its requests are answered 503", of)
	}
	return 0, nowhere("port", reasonInvalid, "is missing: %s has several ports, and none is %d; its requests are answered 503", of, id.listen)
}

// speaksHTTP2 reads what a port speaks from its appProtocol or, as Istio does, from how
// its name begins.
func speaksHTTP2(name string, app *string) bool {
	text := name
	if app != nil {
		text = *app
	}
	text = strings.ToLower(text)
	first, _, _ := strings.Cut(text, "-")
	return text == "kubernetes.io/h2c" || first == "http2" || first == "grpc" && !strings.HasPrefix(text, "grpc-web")
}

// of is what a destination was found to be.
type of struct {
	host, namespace string
	// two tells that its port speaks HTTP/2.
	two bool
	// names are those that its certificate must have one of, if no DestinationRule says which.
	names []string
	entry *entryRef
}

// lead gives a destination its subset, and the policies that its DestinationRules have.
func (d *Dialect) lead(c *memo.Ctx, id targetID, what of, cluster graph.ClusterID) *target {
	r := d.ruleFor(c, what.host, what.namespace, id.from)
	policy := atPort(nil, r.policy, cluster.Port)
	cluster.Subset = id.labels
	if id.subset != "" {
		at := slices.IndexFunc(r.subsets, func(s istiov1.Subset) bool { return s.Name == id.subset })
		if at < 0 {
			return nowhere("subset", reasonNotFound, "no DestinationRule of %s has a subset %s%s: its requests are answered 503", what.host, id.subset, known(r.subsets))
		}
		cluster.Subset = backend.Subset(r.subsets[at].Labels)
		policy = atPort(policy, r.subsets[at].TrafficPolicy, cluster.Port)
	}
	spread := spreadOf(policy)
	policy = d.oldPolicy(c, what, cluster.Subset, policy)
	set, bad := settingsOf(c, policy, id, what, cluster.Port, r.namespace, id.from)
	if bad != nil {
		return &target{problem: bad}
	}
	if what.entry != nil {
		set.Entry = what.entry
		set.Entry.Subset, set.Entry.Spread = cluster.Subset, spread.Text()
	} else {
		cluster.Spread = spread.Text()
	}
	set.Weighs = spread.Weighs()
	if cluster.Variant = variantOf(set); set.TLS != nil {
		cluster.Certificate = set.TLS.Certificate
	}
	out := &target{cluster: cluster}
	if l := policy.LoadBalancer; l != nil {
		out.hash = l.ConsistentHash
	}
	if p := policy.ConnectionPool; p != nil && p.TCP != nil {
		out.idle = p.TCP.IdleTimeout
	}
	return out
}

func known(subsets []istiov1.Subset) string {
	var names []string
	for _, s := range subsets {
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		return ""
	}
	return ", there are " + strings.Join(names, ", ")
}
