// SPDX-License-Identifier: Apache-2.0

package ingress

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// The classes that are ours without an IngressClass, and the controllers of those that
// are ours by one.
const (
	classWeir       = "weir"
	classIstio      = "istio"
	ControllerWeir  = "weir.dev/ingress-controller"
	ControllerIstio = "istio.io/ingress-controller"
)

// annotation names the class, as it was done before spec.ingressClassName.
const annotation = "kubernetes.io/ingress.class"

// The annotations of an IngressClass that say at which ports its Ingresses are served.
const (
	plainAnnotation  = "weir.dev/http-port"
	secureAnnotation = "weir.dev/https-port"
)

// class is whose a class is, and at which ports it is served.
type class struct {
	ours, istio   bool
	plain, secure int32
}

// readClass tells whose the class called name is. Without Istio's objects there is none of
// its kind.
func (d *Dialect) readClass(c *memo.Ctx, name string) class {
	if o, ok := source.Get[*networkingv1.IngressClass](c, source.IngressClass, source.Name{Name: name}); ok {
		out := class{ours: d.ours(o), istio: o.Spec.Controller == ControllerIstio}
		out.plain, _ = portIn(o, plainAnnotation, plainPort)
		out.secure, _ = portIn(o, secureAnnotation, securePort)
		return out
	}
	istio := name == classIstio && d.istio != nil
	return class{name == classWeir || istio, istio, plainPort, securePort}
}

// portIn reads a port from an annotation; standard is that of who does not say.
func portIn(o *networkingv1.IngressClass, annotation string, standard int32) (int32, bool) {
	text, ok := o.Annotations[annotation]
	if !ok {
		return standard, true
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return standard, false
	}
	return int32(n), true
}

func (d *Dialect) ours(o *networkingv1.IngressClass) bool {
	return o.Spec.Controller == ControllerWeir || o.Spec.Controller == ControllerIstio && d.istio != nil
}

// readStandard returns the class of Ingresses that name none, or "": the oldest
// IngressClass that says it is.
func readStandard(c *memo.Ctx, _ struct{}) string {
	var found *networkingv1.IngressClass
	for _, n := range source.Names(c, source.IngressClass) {
		o, ok := source.Get[*networkingv1.IngressClass](c, source.IngressClass, n)
		if ok && o.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" && (found == nil || attach.Older(o, found) < 0) {
			found = o
		}
	}
	if found == nil {
		return ""
	}
	return found.Name
}

// classOf returns the class of an Ingress, or "".
func (d *Dialect) classOf(c *memo.Ctx, o *networkingv1.Ingress) string {
	if name, ok := o.Annotations[annotation]; ok {
		return name
	}
	if o.Spec.IngressClassName != nil {
		return *o.Spec.IngressClassName
	}
	return d.standard.Get(c, struct{}{})
}

// classesOf says of which class of ours an Ingress is.
func (d *Dialect) classesOf(c *memo.Ctx, key source.Key) []memo.Pair[string, source.Name] {
	if i := d.ingress.Get(c, key.Name); i != nil {
		return []memo.Pair[string, source.Name]{{Bucket: "", Member: key.Name}, {Bucket: i.class, Member: key.Name}}
	}
	return nil
}

// classes returns the classes that have Ingresses.
func (d *Dialect) classes(c *memo.Ctx) []string {
	found := map[string]bool{}
	for _, n := range d.of.Members(c, "") {
		if i := d.ingress.Get(c, n); i != nil {
			found[i.class] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// judgeClass tells what of a class of ours has no effect; ok is false for others'.
func (d *Dialect) judgeClass(c *memo.Ctx, name source.Name) (problems []graph.Problem, ok bool) {
	o, is := source.Get[*networkingv1.IngressClass](c, source.IngressClass, name)
	if !is || !d.ours(o) {
		return nil, false
	}
	if o.Spec.Parameters != nil {
		problems = append(problems, graph.Problemf("spec.parameters", reasonUnsupported, "has no effect: nothing says yet how the proxies of a class are run"))
	}
	for name, standard := range map[string]int32{plainAnnotation: plainPort, secureAnnotation: securePort} {
		if _, right := portIn(o, name, standard); !right {
			problems = append(problems, graph.Problemf("metadata.annotations["+name+"]", reasonInvalid, "%q is not a port: give a number from 1 to 65535; %d is used",
				o.Annotations[name], standard))
		}
	}
	if k := d.readClass(c, name.Name); k.plain == k.secure {
		problems = append(problems, graph.Problemf("metadata.annotations["+secureAnnotation+"]", reasonConflict, "%d is the port of cleartext, too: TLS is not served", k.secure))
	}
	slices.SortFunc(problems, func(a, b graph.Problem) int { return strings.Compare(a.Path, b.Path) })
	return problems, true
}
