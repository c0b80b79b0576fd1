// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"slices"
	"strings"
	"sync"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"weir.dev/weir/xds"
)

// whole is what all objects came to, and where the parts of each stand in it: that is found out once, so that telling
// of all objects costs no more than there is to tell.
type whole struct {
	*xds.Snapshot
	listeners, tables, names func() []string // names is of clusters
	routes                   func() map[string][]routeAt
}

// routeAt is a route, and where it stands. name is that of the table among the resources.
type routeAt struct {
	name  string
	table *routev3.RouteConfiguration
	host  *routev3.VirtualHost
	route *routev3.Route
}

func newWhole(s *xds.Snapshot) *whole {
	return &whole{
		Snapshot: s, listeners: sync.OnceValue(s.Listeners().Names), tables: sync.OnceValue(s.Routes().Names), names: sync.OnceValue(s.Clusters().Names),
		routes: sync.OnceValue(func() map[string][]routeAt {
			out := map[string][]routeAt{}
			for name, rc := range s.Routes().All() {
				for _, vh := range rc.GetVirtualHosts() {
					for _, r := range vh.GetRoutes() {
						if owner := ownerOf(r.GetName()); owner != "" {
							out[owner] = append(out[owner], routeAt{name, rc, vh, r})
						}
					}
				}
			}
			return out
		}),
	}
}

// ownerOf returns the object in a route's name: its kind, namespace and name, which stand first.
func ownerOf(name string) string {
	end := 0
	for range 3 {
		i := strings.IndexByte(name[end:], '/')
		if i < 0 {
			return ""
		}
		end += i + 1
	}
	return name[:end-1]
}

// beginning returns of sorted names those that begin with prefix.
func beginning(names []string, prefix string) []string {
	from, _ := slices.BinarySearch(names, prefix)
	to := from
	for to < len(names) && strings.HasPrefix(names[to], prefix) {
		to++
	}
	return names[from:to]
}
