// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestEqual(t *testing.T) {
	shared := &routev3.VirtualHost{Name: "shared"}
	routes := func(change func(*routev3.RouteConfiguration)) *routev3.RouteConfiguration {
		rc := &routev3.RouteConfiguration{Name: "r", VirtualHosts: []*routev3.VirtualHost{shared, {Name: "own"}}, IgnorePortInHostMatching: true}
		change(rc)
		return rc
	}
	same := func(*routev3.RouteConfiguration) {}
	for name, c := range map[string]struct {
		a, b proto.Message
		want bool
	}{
		"alike":            {routes(same), routes(same), true},
		"another host":     {routes(same), routes(func(rc *routev3.RouteConfiguration) { rc.VirtualHosts[1].Name = "other" }), false},
		"one host fewer":   {routes(same), routes(func(rc *routev3.RouteConfiguration) { rc.VirtualHosts = rc.VirtualHosts[:1] }), false},
		"another value":    {routes(same), routes(func(rc *routev3.RouteConfiguration) { rc.Name = "x" }), false},
		"one field fewer":  {routes(same), routes(func(rc *routev3.RouteConfiguration) { rc.IgnorePortInHostMatching = false }), false},
		"one field more":   {routes(same), routes(func(rc *routev3.RouteConfiguration) { rc.ValidateClusters = wrapperspb.Bool(false) }), false},
		"of other kinds":   {routes(same), &clusterv3.Cluster{Name: "r"}, false},
		"clusters":         {&clusterv3.Cluster{Name: "c"}, &clusterv3.Cluster{Name: "c"}, true},
		"other clusters":   {&clusterv3.Cluster{Name: "c"}, &clusterv3.Cluster{Name: "d"}, false},
		"nothing in it":    {&routev3.RouteConfiguration{}, &routev3.RouteConfiguration{}, true},
		"the same message": {shared, shared, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Equal(c.a, c.b); got != c.want {
				t.Errorf("equal: %t", got)
			}
			if got := Equal(c.b, c.a); got != c.want {
				t.Errorf("equal the other way: %t", got)
			}
		})
	}
}
