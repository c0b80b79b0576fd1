// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/cluster"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
	"weir.dev/weir/xds/attribute"
)

// extension is the kind EnvoyExtensionPolicy.
type extension struct {
	of       *Policies
	compiled *memo.Func[stack, *compiledExtension]
}

// compiledExtension is what an EnvoyExtensionPolicy does.
type compiledExtension struct {
	sheet.Sheet

	route    *routev3.Route
	filters  map[string]proto.Message
	clusters []graph.ClusterID
}

func newExtension(p *Policies) *extension {
	e := &extension{of: p}
	e.compiled = memo.NewFunc(e.compile, func(a, b *compiledExtension) bool { return reflect.DeepEqual(a, b) })
	return e
}

// Extensions are the EnvoyExtensionPolicies.
func (p *Policies) Extensions() attach.Policy { return p.extension }

// Kind of the policies.
func (e *extension) Kind() source.Kind { return source.EnvoyExtensionPolicy }

// Targets are what they can be attached to.
func (e *extension) Targets() []source.Kind {
	return []source.Kind{source.Gateway, source.ListenerSet, source.HTTPRoute, source.GRPCRoute}
}

// Refs are what one is attached to.
func (e *extension) Refs(o source.Object) attach.Refs {
	p := o.(*api.EnvoyExtensionPolicy)
	return refsOf(p.Namespace, &p.Spec.Targets, p.Spec.MergeType)
}

// Judge tells what is wrong with one.
func (e *extension) Judge(c *memo.Ctx, name source.Name) attach.Verdict {
	x := e.compiled.Get(c, stack{own: name})
	if x == nil {
		return attach.Verdict{}
	}
	return x.Verdict()
}

// At is what one does at a place. One that cannot be done lets nobody in: it may be there
// to keep somebody out.
func (e *extension) At(c *memo.Ctx, own, parent source.Name, at attach.Place) *attach.Effect {
	x := e.compiled.Get(c, stack{own, parent})
	switch {
	case x == nil, carriesBytes(at):
		return nil
	case len(x.Refused) > 0:
		return &attach.Effect{Refuse: true}
	}
	return &attach.Effect{Route: graph.Overlay{Message: x.route}}
}

// Chain has the filters that routes switch on.
func (e *extension) Chain(c *memo.Ctx, _ source.Name, names []source.Name) *attach.Chain {
	out := &attach.Chain{Idle: map[string]proto.Message{}}
	for _, n := range names {
		x := e.compiled.Get(c, stack{own: n})
		if x == nil || len(x.Refused) > 0 {
			continue
		}
		maps.Copy(out.Idle, x.filters)
		out.Clusters = append(out.Clusters, x.clusters...)
	}
	return out
}

func (e *extension) compile(c *memo.Ctx, at stack) *compiledExtension {
	o, ok := source.Get[*api.EnvoyExtensionPolicy](c, source.EnvoyExtensionPolicy, at.own)
	if !ok {
		return nil
	}
	spec, owner := &o.Spec, at.own
	if p, ok := source.Get[*api.EnvoyExtensionPolicy](c, source.EnvoyExtensionPolicy, at.parent); ok {
		spec = attach.MergeSpec(&o.Spec, &p.Spec, *o.Spec.MergeType)
		// A list is the policy's own or the parent's, never half of each.
		if len(o.Spec.ExtProc) == 0 {
			owner = at.parent
		}
	}
	x := &compiledExtension{route: &routev3.Route{}, filters: map[string]proto.Message{}}
	checkTargets(&x.Sheet, &spec.Targets)
	checkMergeType(&x.Sheet, spec.MergeType)
	x.not("wasm", spec.Wasm, "there is no Wasm")
	x.not("lua", spec.Lua, "there is no Lua")
	x.not("dynamicModule", spec.DynamicModule, "there are no dynamic modules")
	if len(spec.ExtProc) > maxProcessors {
		x.Bad("extProc", "has %d entries: there may be %d", len(spec.ExtProc), maxProcessors)
		return x
	}
	for i := range spec.ExtProc {
		x.extProc(c, e.of, owner, i, &spec.ExtProc[i])
	}
	return x
}

// maxProcessors is how many processors one policy may name: Envoy Gateway's.
const maxProcessors = 16

// not refuses what is known and not done: a policy is never taken in part.
func (x *compiledExtension) not(field string, list []map[string]any, why string) {
	if len(list) > 0 {
		x.Bad(field, "is not supported: %s; say it by extProc, or leave it out: until then requests are answered 500", why)
	}
}

// extProc asks a processor, by a filter of its own which runs for the policy's routes alone.
func (x *compiledExtension) extProc(c *memo.Ctx, p *Policies, owner source.Name, i int, e *api.ExtProc) {
	at := fmt.Sprintf("extProc[%d]", i)
	id, found := p.callees.Service(c, &x.Sheet, at, source.Key{Kind: source.EnvoyExtensionPolicy, Name: owner}, &e.BackendCluster, graph.GRPC)
	f := build.Processor{Retry: cluster.Calls(&x.Sheet, at, &e.BackendCluster), FailOpen: ptr.Deref(e.FailOpen, false), Observe: ptr.Deref(e.ShadowMode, false)}
	if d := x.Positive(at+".messageTimeout", e.MessageTimeout, time.Millisecond); d != nil {
		if f.Timeout = d.AsDuration(); f.Timeout > maxMessageTimeout {
			x.Bad(at+".messageTimeout", "%s is longer than %s", *e.MessageTimeout, maxMessageTimeout)
		}
	}
	if m := e.ProcessingMode; m != nil {
		f.Override = m.AllowModeOverride
		f.Request, f.Response = x.processing(at+".processingMode.request", m.Request), x.processing(at+".processingMode.response", m.Response)
	}
	if m := e.Metadata; m != nil {
		f.Told, f.Taken = m.AccessibleNamespaces, m.WritableNamespaces
		// What the proxy's own filters leave is not a processor's to change.
		for j, ns := range f.Taken {
			if reserved(ns) {
				x.Bad(fmt.Sprintf("%s.metadata.writableNamespaces[%d]", at, j), "%q is a namespace of Envoy's own filters", ns)
			}
		}
	}
	f.Status = x.StatusOnError(at+".statusOnError", e.StatusOnError)
	if ptr.Deref(e.ShadowMode, false) {
		for path, d := range map[string]*build.Processing{"request": f.Request, "response": f.Response} {
			if d != nil && d.Body != 0 && d.Body != build.Bodies()["Streamed"] {
				x.Bad(at+".processingMode."+path+".body", "must be Streamed with shadowMode: what does not wait cannot be gathered")
			}
		}
	}
	if !found {
		return
	}
	f.Cluster = id.Name()
	name := fmt.Sprintf("%s/%02d", instance(build.ExtProc, owner), i)
	perFilter(x.route, name, build.Process())
	x.filters[name], x.clusters = f.Filter(), append(x.clusters, id)
}

// maxMessageTimeout is the longest that proxies take.
const maxMessageTimeout = time.Hour

// processing reads what a processor sees of one direction; nil is nothing.
func (x *compiledExtension) processing(at string, o *api.ProcessingModeOptions) *build.Processing {
	if o == nil {
		return nil
	}
	out := &build.Processing{Attributes: o.Attributes}
	if o.Body != nil {
		mode, ok := build.Bodies()[*o.Body]
		if !ok {
			x.Bad(at+".body", "is %q: there are Streamed, Buffered, BufferedPartial and FullDuplexStreamed", *o.Body)
		}
		out.Body = mode
	}
	for i, text := range o.Attributes {
		if err := attribute.Check(text); err != nil {
			x.Bad(fmt.Sprintf("%s.attributes[%d]", at, i), "is not an attribute: %v", err)
		}
	}
	return out
}

// reserved reports whether a namespace is one that proxies write themselves.
func reserved(namespace string) bool {
	return strings.HasPrefix(namespace, "envoy.filters.") || namespace == "envoy.lb"
}
