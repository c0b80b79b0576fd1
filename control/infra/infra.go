// SPDX-License-Identifier: Apache-2.0

// Package infra says what a Gateway's proxies are in a cluster: a Deployment, a Service,
// a ServiceAccount, a ConfigMap with their bootstrap and, as asked, what scales and what
// protects them. [Planner] reads from a View how they are to be, [Plan.Objects] writes
// it as objects, and [Provisioner] applies these.
//
// The objects belong to the Gateway, in its namespace: Kubernetes removes them with it. In a
// namespace for all Gateways' proxies, where nothing can be the Gateway's, the Provisioner does,
// and so it does with those that Gateways of a class share, and with those of other
// dialects, which are no objects: docs/design/0017.
// The package opens no connections; who does is given to the Provisioner.
package infra

import (
	"cmp"
	"reflect"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// ManagedBy is the label of what Weir provisions; its value is ManagedByWeir.
const (
	ManagedBy     = "app.kubernetes.io/managed-by"
	ManagedByWeir = "weir"
)

// A Plan is how the proxies of one Gateway are to be, or those that all of a class share.
type Plan struct {
	// Gateway is the name of the fleet: a Gateway's or, without a namespace, a class's.
	Gateway source.Name
	// UID is the Gateway's; "" if several share the proxies.
	UID   types.UID
	Class string
	// Labels and Annotations that the Gateway asks for; of several the older wins.
	Labels, Annotations map[string]string
	// Address asked for; "" is any.
	Address    string
	Ports      []Port
	Parameters v1alpha1.GatewayParametersSpec
	// Counting is how the proxies count global rate limits together; nil if they do not.
	Counting *Counting
}

// A Port is one at which a Gateway is reached, and what its proxies bind for it.
type Port struct {
	Number, Bound int32
	UDP           bool
}

// A Graph is what a dialect makes of a View.
type Graph interface {
	Gateway(c *memo.Ctx, name source.Name) *graph.Gateway
	Parameters(c *memo.Ctx, name source.Name) v1alpha1.GatewayParametersSpec
}

// A Planner makes Plans of a Graph. It serves one memo.DB.
type Planner struct {
	graph Graph
	redis *Redis
	plan  *memo.Func[source.Name, *Plan]
}

// NewPlanner returns a Planner. Without a Redis proxies count nothing together.
func NewPlanner(g Graph, r *Redis) *Planner {
	p := &Planner{graph: g, redis: r}
	p.plan = memo.NewFunc(p.read, func(a, b *Plan) bool { return reflect.DeepEqual(a, b) })
	return p
}

// Watch has the DB's Settle keep a Gateway's Plan up to date.
func (p *Planner) Watch(db *memo.DB, gateway source.Name) { p.plan.Watch(db, gateway) }

// Unwatch is the opposite of Watch.
func (p *Planner) Unwatch(db *memo.DB, gateway source.Name) { p.plan.Unwatch(db, gateway) }

// Changed returns the Plan that a change reported by Settle is of. It is nil if the
// Gateway needs no proxies, as it is not ours, not accepted, or has no listener that could
// be served; or if it cannot be known which: what there is stays.
func (p *Planner) Changed(ch memo.Change) (*Plan, bool) {
	_, plan, ok := p.plan.Watched(ch)
	return plan, ok
}

func (p *Planner) read(c *memo.Ctx, name source.Name) *Plan {
	g := p.graph.Gateway(c, name)
	if g == nil || g.Held || len(g.Sockets) == 0 {
		return nil
	}
	out := &Plan{Gateway: name, Labels: map[string]string{}, Annotations: map[string]string{}, Parameters: p.graph.Parameters(c, name), Counting: p.redis.counting(c)}
	for _, member := range slices.Backward(g.Members) {
		out.ask(c, member)
	}
	if len(g.Members) != 1 || g.Members[0] != name {
		out.UID = "" // No Gateway owns what others may share.
	}
	if len(g.Addresses) > 0 {
		out.Address = g.Addresses[0]
	}
	for _, s := range g.Sockets {
		bound := g.Bound(s.ID)
		out.Ports = append(out.Ports, Port{s.ID.Port, bound, s.ID.UDP})
		if s.Published != 0 {
			out.Ports = append(out.Ports, Port{s.Published, bound, s.ID.UDP})
		}
	}
	return out
}

// ask reads what a Gateway asks for itself, over what is known.
func (p *Plan) ask(c *memo.Ctx, name source.Name) {
	o, ok := source.Get[*gwapiv1.Gateway](c, source.Gateway, name)
	if !ok {
		return
	}
	p.UID, p.Class = o.UID, string(o.Spec.GatewayClassName)
	if i := o.Spec.Infrastructure; i != nil {
		for k, v := range i.Labels {
			p.Labels[string(k)] = string(v)
		}
		for k, v := range i.Annotations {
			p.Annotations[string(k)] = string(v)
		}
	}
}

// Namespaces say where the proxies of Gateways are.
type Namespaces struct {
	// Own is that of the control plane, where the proxies are of gateways that have no
	// namespace: those that Gateways share, and those of other dialects than the Gateway API.
	Own string
	// All is where all Gateways' proxies are; "" is the namespace of each Gateway.
	All string
}

// Place returns the namespace and the name of all objects of a Gateway of a class. Where
// those of all namespaces are together, a part of a hash tells them apart.
func (n Namespaces) Place(gateway source.Name, class string) source.Name {
	switch {
	case gateway.Namespace == "":
		return source.Name{Namespace: cmp.Or(n.All, n.Own), Name: Name(gateway.Name, "")}
	case n.All == "":
		return source.Name{Namespace: gateway.Namespace, Name: Name(gateway.Name, class)}
	}
	tail := hashed(gateway.String() + "/" + class)
	name := Name(gateway.Namespace+"-"+gateway.Name, class)
	return source.Name{Namespace: n.All, Name: strings.Trim(name[:min(len(name), maxLabel-len(tail))], "-") + tail}
}

// ParseGateway reads the name of a gateway, as its String has it: namespace/name or, of
// those without a namespace, the name alone.
func ParseGateway(text string) (source.Name, bool) {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok {
		return source.Name{Name: text}, text != ""
	}
	return source.Name{Namespace: namespace, Name: name}, namespace != "" && name != "" && !strings.Contains(name, "/")
}

// hashed is a part of a text's hash, to end a name with.
func hashed(text string) string {
	return "-" + graph.Digest(4, text)
}

// label is a name that Services may have, too, which are the strictest.
var label = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)

// maxLabel is how long such a name, and the value of a label, may be.
const maxLabel = 63

// Name is that of all objects of a Gateway: its own and its class's, if it has one, which
// becomes another, with a part of their hash, if it is too long or could not be a Service's.
func Name(gateway, class string) string {
	name := strings.TrimSuffix(gateway+"-"+class, "-")
	if len(name) <= maxLabel && label.MatchString(name) {
		return name
	}
	clean := strings.Trim(strings.Map(func(r rune) rune {
		if r == '-' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name), "-")
	if clean == "" || clean[0] < 'a' {
		clean = "gateway-" + clean
	}
	tail := hashed(gateway + "/" + class)
	return strings.Trim(clean[:min(len(clean), maxLabel-len(tail))], "-") + tail
}

// labelValue is a name as the value of a label.
func labelValue(name string) string {
	if len(name) <= maxLabel {
		return name
	}
	tail := hashed(name)
	return strings.TrimRight(name[:maxLabel-len(tail)], "-.") + tail
}

// FleetOf reads the name of a fleet: NAMESPACE/NAME of a Gateway, or that of a class, which
// has no namespace.
func FleetOf(text string) source.Name {
	if namespace, name, ok := strings.Cut(text, "/"); ok {
		return source.Name{Namespace: namespace, Name: name}
	}
	return source.Name{Name: text}
}

// GatewayOf returns the fleet whose proxies a Service leads to.
func GatewayOf(s *corev1.Service) (source.Name, bool) {
	if s.Labels[ManagedBy] != ManagedByWeir {
		return source.Name{}, false
	}
	if gateway, ok := ParseGateway(s.Annotations[GatewayAnnotation]); ok {
		return gateway, true
	}
	for _, o := range s.OwnerReferences { // One that was made before there were annotations.
		if o.Kind == source.Gateway.Kind && strings.HasPrefix(o.APIVersion, gwapiv1.GroupName+"/") {
			return source.Name{Namespace: s.Namespace, Name: o.Name}, true
		}
	}
	return source.Name{}, false
}

// Addresses are where a Service is reached: what the platform's load balancer gave it or,
// of other types, its own.
func Addresses(s *corev1.Service) []string {
	var out []string
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return slices.DeleteFunc(slices.Clone(s.Spec.ClusterIPs), func(ip string) bool { return ip == "" || ip == corev1.ClusterIPNone })
	}
	for _, i := range s.Status.LoadBalancer.Ingress {
		switch {
		case i.IP != "":
			out = append(out, i.IP)
		case i.Hostname != "":
			out = append(out, i.Hostname)
		}
	}
	return out
}
