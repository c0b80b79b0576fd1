// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/structpb"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/cluster"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// metadataNamespace is where the metadata of a route tells what it was made from.
const metadataNamespace = "envoy-gateway"

// extAuth asks a service. Much of what it says is a filter's to know and no route's: each
// policy has a filter of its own, which runs for its routes alone.
func (x *compiledSecurity) extAuth(c *memo.Ctx, p *Policies, owner source.Name, a *api.ExtAuth) {
	if a == nil {
		return
	}
	key := source.Key{Kind: source.SecurityPolicy, Name: owner}
	f := build.AuthorizerFilter{Told: a.HeadersToExtAuth, FailOpen: ptr.Deref(a.FailOpen, false), Again: ptr.Deref(a.RecomputeRoute, false)}
	var id graph.ClusterID
	found := false
	switch {
	case (a.GRPC == nil) == (a.HTTP == nil):
		x.Bad("extAuth", "give one of grpc and http")
	case a.GRPC != nil:
		f.GRPC = true
		id, found = p.callees.Service(c, &x.Sheet, "extAuth.grpc", key, &a.GRPC.BackendCluster, graph.GRPC)
		f.Retry = cluster.Calls(&x.Sheet, "extAuth.grpc", &a.GRPC.BackendCluster)
	default:
		id, found = p.callees.Service(c, &x.Sheet, "extAuth.http", key, &a.HTTP.BackendCluster, graph.HTTP)
		f.Retry = cluster.Calls(&x.Sheet, "extAuth.http", &a.HTTP.BackendCluster)
		f.Prefix, f.Whole = x.authPath("path", a.HTTP.Path), x.authPath("pathOverride", a.HTTP.PathOverride)
		f.Upstream = a.HTTP.HeadersToBackend
		if f.Prefix != "" && f.Whole != "" {
			x.Bad("extAuth.http.pathOverride", "path is given, too: remove one")
		}
	}
	f.Timeout = x.Duration("extAuth.timeout", a.Timeout).AsDuration()
	if b := a.BodyToExtAuth; b != nil {
		if f.Body = b.MaxRequestBytes; f.Body == 0 {
			x.Bad("extAuth.bodyToExtAuth.maxRequestBytes", "is 0: say how many bytes of a body the service is told")
		}
	}
	f.Status = x.StatusOnError("extAuth.statusOnError", a.StatusOnError)
	for _, h := range append(append([]string(nil), f.Told...), f.Upstream...) {
		if !validHeader(strings.TrimPrefix(h, ":")) {
			x.Bad("extAuth", "%q is not the name of a header", h)
		}
	}
	if ptr.Deref(a.IncludeRouteMetadata, false) {
		f.Metadata, x.tellRoute = []string{metadataNamespace}, true
	}
	more := x.contextExtensions(c, owner.Namespace, a.ContextExtensions)
	if !found {
		return
	}
	f.Cluster = id.Name()
	name := instance(build.ExtAuthz, owner)
	perFilter(x.route, name, build.Authorize(more))
	x.filters[name], x.clusters = f.Filter(), append(x.clusters, id)
}

func (x *compiledSecurity) authPath(field string, path *string) string {
	p := ptr.Deref(path, "")
	if p != "" && (p[0] != '/' || strings.ContainsAny(p, " \t\r\n#")) {
		x.Bad("extAuth.http."+field, "%q is not a path: it begins with / and has no spaces", p)
	}
	return p
}

// contextExtensions are what else the service is told.
func (x *compiledSecurity) contextExtensions(c *memo.Ctx, namespace string, list []api.ContextExtension) map[string]string {
	out := map[string]string{}
	for i, e := range list {
		path := fmt.Sprintf("extAuth.contextExtensions[%d]", i)
		switch {
		case e.Name == "":
			x.Bad(path+".name", "is required")
		case e.Type == "Value" && e.Value != nil:
			out[e.Name] = *e.Value
		case e.Type == "ValueRef" && e.ValueRef != nil:
			out[e.Name] = keyOf(c, &x.Sheet, path+".valueRef", namespace, *e.ValueRef)
		default:
			x.Bad(path, "give the type Value with value, or ValueRef with valueRef")
		}
	}
	return out
}

// keyOf returns what a ConfigMap or Secret has under a key.
func keyOf(c *memo.Ctx, s *sheet.Sheet, at, namespace string, ref api.ObjectKeyRef) string {
	data, ok := heldBy(c, s, at, namespace, ref.LocalObjectReference)
	v, has := data[ref.Key]
	if ok && !has {
		s.Bad(at+".key", "%s %s/%s has no key %q", ref.Kind, namespace, ref.Name, ref.Key)
	}
	return string(v)
}

// heldBy returns all that a ConfigMap or Secret has, if there is one.
func heldBy(c *memo.Ctx, s *sheet.Sheet, at, namespace string, ref gwapiv1.LocalObjectReference) (data map[string][]byte, ok bool) {
	name := source.Name{Namespace: namespace, Name: string(ref.Name)}
	switch {
	case ref.Group == "" && ref.Kind == "Secret":
		var o *corev1.Secret
		if o, ok = source.Get[*corev1.Secret](c, source.Secret, name); ok {
			data = o.Data
		}
	case ref.Group == "" && ref.Kind == "ConfigMap":
		var o *corev1.ConfigMap
		if o, ok = source.Get[*corev1.ConfigMap](c, source.ConfigMap, name); ok {
			data = attach.DataOf(o)
		}
	default:
		s.Bad(at, "%s cannot hold it: refer to a ConfigMap or a Secret", source.A(string(ref.Kind)))
		return nil, false
	}
	if !ok {
		s.Bad(at, "there is no %s %s", ref.Kind, name)
	}
	return data, ok
}

// routeMetadata tells what a route was made from.
func routeMetadata(at attach.Place) *routev3.Route {
	resource := map[string]any{"kind": at.Route.Kind.Kind, "namespace": at.Route.Namespace, "name": at.Route.Name.Name}
	if at.Rule != "" {
		resource["sectionName"] = at.Rule
	}
	fields, err := structpb.NewStruct(map[string]any{"resources": []any{resource}})
	if err != nil {
		panic("BUG: names of objects are texts: " + err.Error())
	}
	return &routev3.Route{Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataNamespace: fields}}}
}
