// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"errors"
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/runtime"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Disabled in place of a per-route configuration disables the filter there.
const Disabled = "disabled"

// Route is the one route that all requests take, and what its levels say of one
// filter.
type Route struct {
	// Cluster is "backend" if it is empty.
	Cluster string
	// Filter is the extension that the levels configure.
	Filter extension.HTTPFilter
	// Table, Host and Entry are its per-route configuration in JSON at the route
	// table, the virtual host and the route: "" for none, or Disabled.
	Table, Host, Entry string
	// HostCORS and EntryCORS are the deprecated CorsPolicy of the virtual host
	// and the route in JSON.
	HostCORS, EntryCORS string
	// Direct answers the route's requests with this status instead.
	Direct int
}

// Route replaces the route that requests take.
func (r *Rig) Route(x Route) {
	r.t.Helper()
	t, err := r.compileRoute(&x)
	if err != nil {
		r.t.Fatalf("route: %v", err)
	}
	r.table = t
}

// Compile compiles an extension's configuration, in JSON.
func (r *Rig) Compile(x extension.HTTPFilter, json string) (stream.Filter, error) {
	cfg := x.Config.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(json), cfg); err != nil {
		return nil, err
	}
	return x.New(cfg, &extension.HTTP{
		Services: r.Services,
		Name:     x.Name,
		Slot:     stream.Slot(len(r.filters)),
		Scope:    r.Services.Stats.Scope("http.test."),
	})
}

// CompileRoute compiles an extension's per-route configuration, in JSON.
func (r *Rig) CompileRoute(x extension.HTTPFilter, json string) (any, error) {
	cfg := x.Route.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(json), cfg); err != nil {
		return nil, err
	}
	return x.NewRoute(cfg, r.Services)
}

func newRuntime(store *stats.Store) *runtime.Runtime {
	c, err := runtime.Compile(nil, "")
	if err != nil {
		panic("BUG: no runtime configuration: " + err.Error())
	}
	return runtime.New(c, store, nil)
}

func (r *Rig) compileRoute(x *Route) (*route.Table, error) {
	if x.Cluster == "" {
		x.Cluster = "backend"
	}
	entry := &routev3.Route{Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}}
	action := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: x.Cluster}}
	host := &routev3.VirtualHost{Name: "host", Domains: []string{"*"}, Routes: []*routev3.Route{entry}}
	rc := &routev3.RouteConfiguration{Name: "table", VirtualHosts: []*routev3.VirtualHost{host}}
	if x.Direct != 0 {
		entry.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: uint32(x.Direct)}}
	} else {
		entry.Action = &routev3.Route_Route{Route: action}
	}
	for _, l := range []struct {
		json string
		set  *map[string]*anypb.Any
	}{{x.Table, &rc.TypedPerFilterConfig}, {x.Host, &host.TypedPerFilterConfig}, {x.Entry, &entry.TypedPerFilterConfig}} {
		if l.json == "" {
			continue
		}
		a, err := x.any(l.json)
		if err != nil {
			return nil, err
		}
		*l.set = map[string]*anypb.Any{x.Filter.Name: a}
	}
	for _, l := range []struct {
		json string
		set  **routev3.CorsPolicy
	}{{x.HostCORS, &host.Cors}, {x.EntryCORS, &action.Cors}} {
		if l.json == "" {
			continue
		}
		*l.set = &routev3.CorsPolicy{}
		if err := protojson.Unmarshal([]byte(l.json), *l.set); err != nil {
			return nil, err
		}
	}
	t, problems := route.Compile(rc, route.Context{
		Runtime: r.Services.Runtime,
		CompileFormat: func(s string) (route.Formatter, error) {
			return format.Compile(s, format.Options{})
		},
		CompileFilterConfig: func(_ string, cfg *anypb.Any) (any, error) {
			m, err := cfg.UnmarshalNew()
			if err != nil {
				return nil, err
			}
			return x.Filter.NewRoute(m, r.Services)
		},
	})
	if t == nil {
		var errs []error
		for _, p := range problems {
			errs = append(errs, p)
		}
		return nil, errors.Join(errs...)
	}
	return t, nil
}

func (x *Route) any(json string) (*anypb.Any, error) {
	var m proto.Message = &routev3.FilterConfig{Disabled: true}
	if json != Disabled {
		if x.Filter.Route == nil {
			return nil, fmt.Errorf("%s has no per-route configuration", x.Filter.Name)
		}
		m = x.Filter.Route.ProtoReflect().New().Interface()
		if err := protojson.Unmarshal([]byte(json), m); err != nil {
			return nil, err
		}
	}
	return anypb.New(m)
}
