// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// RoutesOf is the name of the route configuration that a virtual host is delivered for:
// virtual hosts are called "ROUTES/HOST", and who asks for ROUTES asks for all of them.
func RoutesOf(virtualHost string) string {
	return virtualHost[:max(0, strings.LastIndexByte(virtualHost, '/'))]
}

// Whole returns the snapshot for who does not have virtual hosts delivered by themselves
// (VHDS): each route configuration that says they are has them in it, in the order of
// their names. Before is the snapshot of which whole was made so, and both may be nil: what
// has not changed since is taken from there.
func Whole(of, before, whole *Snapshot) *Snapshot {
	out := *of
	out.virtualHosts = Set[*routev3.VirtualHost]{}
	touched := map[string]bool{}
	if whole == nil {
		before, whole = &Snapshot{}, &Snapshot{}
	}
	for _, c := range appendChanges(nil, KindRoutes, before.routes, of.routes) {
		touched[c.Name] = true
	}
	for _, c := range appendChanges(nil, KindVirtualHost, before.virtualHosts, of.virtualHosts) {
		touched[RoutesOf(c.Name)] = true
	}
	routes := draft[*routev3.RouteConfiguration]{whole.routes}
	for name := range touched {
		rc, ok := of.routes.Get(name)
		switch {
		case !ok:
			routes.Delete(name)
		case rc.GetVhds() == nil:
			routes.Put(name, rc, of.routes.Origin(name))
		default:
			routes.Put(name, withHosts(rc, of.virtualHosts), of.routes.Origin(name))
		}
	}
	out.routes = routes.Set
	return &out
}

// withHosts is a route configuration with the virtual hosts that are delivered for it. It
// has the rest in common with rc.
func withHosts(rc *routev3.RouteConfiguration, hosts Set[*routev3.VirtualHost]) *routev3.RouteConfiguration {
	out := &routev3.RouteConfiguration{}
	to := out.ProtoReflect()
	rc.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Name() != "virtual_hosts" && f.Name() != "vhds" {
			to.Set(f, v)
		}
		return true
	})
	out.VirtualHosts = append(out.VirtualHosts, rc.GetVirtualHosts()...)
	prefix := rc.GetName() + "/"
	for name, i := range hosts.m.From(prefix) {
		if !strings.HasPrefix(name, prefix) {
			break
		}
		if RoutesOf(name) == rc.GetName() {
			out.VirtualHosts = append(out.VirtualHosts, i.message)
		}
	}
	return out
}
