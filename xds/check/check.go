// SPDX-License-Identifier: Apache-2.0

// Package check finds what is wrong with a configuration beyond the single message:
// names that lead nowhere or stand twice, addresses taken twice, filter chains that
// cannot work, rewrites that contradict, expressions that do not compile, and
// extensions or fields that Weir does not support. It never stops at the first
// problem.
//
// What one message's own rules forbid is found by package load already. Format
// strings (%REQ(X)%) are left to the proxy, which compiles them.
package check

import (
	"fmt"
	"strconv"
	"strings"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/typedstruct"
)

// Support tells what the data plane can do. The caller, who knows the extensions,
// implements it.
type Support interface {
	// Extension says whether there is an implementation for an extension that is
	// configured by the message of that full name, such as
	// "envoy.extensions.filters.http.cors.v3.Cors".
	Extension(message protoreflect.FullName) bool
	// Fields reports the fields set in m that are rejected or ignored, with paths
	// that begin with path; usually by a ledger's Check. It is asked about every
	// message an Any holds, and about listeners, clusters and route configurations.
	Fields(m proto.Message, path string) []xds.Problem
}

// Bootstrap checks a bootstrap. The problems' paths are those of load.Positions,
// whose Locate gives them lines. support may be nil: then nothing is unsupported.
func Bootstrap(b *bootstrapv3.Bootstrap, support Support) []xds.Problem {
	static := b.GetStaticResources()
	w := newWorld()
	w.moreClusters = b.GetDynamicResources().GetCdsConfig() != nil
	c := &checker{world: w, support: support, seen: map[string]string{}}
	for i, l := range static.GetListeners() {
		c.unique(xds.KindListener, l.GetName(), at("static_resources.listeners", i))
	}
	for i, cl := range static.GetClusters() {
		w.clusters[cl.GetName()] = true
		c.unique(xds.KindCluster, cl.GetName(), at("static_resources.clusters", i))
	}
	for i, s := range static.GetSecrets() {
		w.secrets[s.GetName()] = true
		c.unique(xds.KindSecret, s.GetName(), at("static_resources.secrets", i))
	}
	c.addresses(static.GetListeners(), "static_resources.listeners")
	c.visit(b.ProtoReflect(), "")
	return c.problems
}

// Snapshot checks what a snapshot holds. Each problem tells the resource, a path
// inside of it, and the resource's origin where it is known.
func Snapshot(s *xds.Snapshot, support Support) []xds.Problem {
	w := newWorld()
	w.served = s
	for _, name := range s.Clusters().Names() {
		w.clusters[name] = true
	}
	for _, name := range s.Secrets().Names() {
		w.secrets[name] = true
	}
	var out []xds.Problem
	c := &checker{world: w, support: support}
	c.listenerSet(s.Listeners())
	out = append(out, c.problems...)
	out = append(out, resources(w, support, xds.KindListener, s.Listeners())...)
	w.lenientRoutes = true
	out = append(out, resources(w, support, xds.KindRoutes, s.Routes())...)
	out = append(out, resources(w, support, xds.KindVirtualHost, s.VirtualHosts())...)
	out = append(out, resources(w, support, xds.KindCluster, s.Clusters())...)
	out = append(out, resources(w, support, xds.KindEndpoints, s.Endpoints())...)
	out = append(out, resources(w, support, xds.KindSecret, s.Secrets())...)
	out = append(out, resources(w, support, xds.KindExtension, s.Extensions())...)
	return out
}

func resources[M proto.Message](w *world, support Support, kind xds.Kind, set xds.Set[M]) []xds.Problem {
	var out []xds.Problem
	for name, m := range set.All() {
		c := &checker{world: w, support: support}
		c.visit(m.ProtoReflect(), "")
		origin := set.Origin(name)
		for _, p := range c.problems {
			p.Kind, p.Name, p.File, p.Line = kind, name, origin.File, origin.Line
			out = append(out, p)
		}
	}
	return out
}

// world is what names can lead to.
type world struct {
	clusters map[string]bool
	secrets  map[string]bool
	// moreClusters is true if clusters come from elsewhere too.
	moreClusters bool
	// lenientRoutes is true for routes that came by RDS: Envoy does not check their
	// clusters unless validate_clusters asks for it.
	lenientRoutes bool
	// served is the snapshot under check, if it is one.
	served *xds.Snapshot
}

func newWorld() *world {
	return &world{clusters: map[string]bool{}, secrets: map[string]bool{}}
}

type checker struct {
	*world
	support  Support
	problems []xds.Problem
	seen     map[string]string // kind and name to the path of the first
	// unchecked is true inside of a route configuration that asks for its clusters
	// not to be checked.
	unchecked bool
	depth     int
}

func (c *checker) errorf(path, remedy, format string, args ...any) {
	c.problems = append(c.problems, xds.Problem{Path: path, Reason: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (c *checker) warnf(path, remedy, format string, args ...any) {
	c.problems = append(c.problems, xds.Problem{Severity: xds.Warning, Path: path, Reason: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (c *checker) unique(kind xds.Kind, name, path string) {
	if name == "" {
		return
	}
	key := string(kind) + "\x00" + name
	if first, ok := c.seen[key]; ok {
		c.errorf(join(path, "name"), "give one of them another name", "a second %s called %q, the first is %s", kind, name, first)
		return
	}
	c.seen[key] = path
}

// visit checks m and all messages inside of it, those in an Any too.
func (c *checker) visit(m protoreflect.Message, path string) {
	const deepest = 100
	if c.depth >= deepest {
		c.errorf(path, "", "nested more than %d deep", deepest)
		return
	}
	c.depth++
	defer func() { c.depth-- }()
	if a, ok := m.Interface().(*anypb.Any); ok {
		c.visitAny(a, path)
		return
	}
	defer func(before bool) { c.unchecked = before }(c.unchecked)
	c.message(m.Interface(), path)
	c.references(m, path)
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.Message() == nil || !m.Has(fd) {
			continue
		}
		at := join(path, string(fd.Name()))
		switch v := m.Get(fd); {
		case fd.IsMap():
			if fd.MapValue().Message() == nil {
				continue
			}
			for _, k := range sortedKeys(v.Map()) {
				c.visit(v.Map().Get(k).Message(), at+"["+strconv.Quote(k.String())+"]")
			}
		case fd.IsList():
			for i := range v.List().Len() {
				c.visit(v.List().Get(i).Message(), at+"["+strconv.Itoa(i)+"]")
			}
		case fd.Message().FullName() == "google.protobuf.Struct":
			// Free form: nothing in it is known to us.
		default:
			c.visit(v.Message(), at)
		}
	}
}

func (c *checker) visitAny(a *anypb.Any, path string) {
	if a.GetTypeUrl() == "" {
		return
	}
	m, err := a.UnmarshalNew()
	if err != nil {
		c.errorf(path, "", "type %s cannot be read: %s", strings.TrimPrefix(a.GetTypeUrl(), "type.googleapis.com/"), err)
		return
	}
	name := m.ProtoReflect().Descriptor().FullName()
	if s, ok := m.(*xdstypev3.TypedStruct); ok && c.support != nil && !c.support.Extension(typedstruct.Name(s)) {
		c.errorf(join(path, "type_url"), "remove it", "there is no extension %s", typedstruct.Name(s))
		return
	}
	if c.support != nil && strings.HasPrefix(string(name), "envoy.extensions.") && !c.support.Extension(name) {
		c.errorf(path, "remove it", "Envoy has %s, and Weir does not support it", name)
		return
	}
	if c.support != nil {
		c.problems = append(c.problems, c.support.Fields(m, path)...)
	}
	c.visit(m.ProtoReflect(), path)
}

func at(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
