// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"cmp"
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
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
	// HostLimits and EntryLimits are the rate_limits of the virtual host and the route
	// in JSON, each `{"rate_limits": [...]}`.
	HostLimits, EntryLimits string
	// Metadata is the route's, in JSON.
	Metadata string
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
		Own:      r.t.Cleanup,
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
		into func() proto.Message
	}{
		{x.HostCORS, func() proto.Message { host.Cors = &routev3.CorsPolicy{}; return host.Cors }},
		{x.EntryCORS, func() proto.Message { action.Cors = &routev3.CorsPolicy{}; return action.Cors }},
		{x.Metadata, func() proto.Message { entry.Metadata = &corev3.Metadata{}; return entry.Metadata }},
	} {
		if l.json == "" {
			continue
		}
		if err := protojson.Unmarshal([]byte(l.json), l.into()); err != nil {
			return nil, err
		}
	}
	var hostLimits routev3.VirtualHost
	var entryLimits routev3.RouteAction
	for _, l := range []struct {
		json string
		into proto.Message
	}{{x.HostLimits, &hostLimits}, {x.EntryLimits, &entryLimits}} {
		if err := protojson.Unmarshal([]byte(cmp.Or(l.json, "{}")), l.into); err != nil {
			return nil, err
		}
	}
	host.RateLimits, action.RateLimits = hostLimits.RateLimits, entryLimits.RateLimits
	action.IncludeVhRateLimits = entryLimits.IncludeVhRateLimits
	t, problems := route.Compile(rc, route.Context{
		Runtime: r.Services.Runtime,
		CompileFormat: func(s string) (route.Formatter, error) {
			return format.Compile(s, format.Options{OmitEmpty: true})
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
