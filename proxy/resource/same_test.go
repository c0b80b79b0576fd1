// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
)

// A route configuration that shares its virtual hosts with the one before is compared by
// those that it does not share: what a change costs does not grow with their size.
func BenchmarkSetSharesHosts(b *testing.B) {
	hosts := make([]*routev3.VirtualHost, 5000)
	for i := range hosts {
		hosts[i] = &routev3.VirtualHost{Name: fmt.Sprint("v", i), Domains: []string{fmt.Sprintf("h%d.example", i)}}
		for j := range 10 {
			hosts[i].Routes = append(hosts[i].Routes, &routev3.Route{Name: fmt.Sprint("r", j)})
		}
	}
	d := NewDirectory(nil)
	id := ID{Snapshot, xds.KindRoutes, "r"}
	for i := 0; b.Loop(); i++ {
		next := append([]*routev3.VirtualHost{}, hosts...)
		next[len(next)-1] = proto.CloneOf(next[len(next)-1])
		next[len(next)-1].Domains[0] = fmt.Sprint(i, ".example")
		if err := d.Set(id, &routev3.RouteConfiguration{Name: "r", VirtualHosts: next}, "1"); err != nil {
			b.Fatal(err)
		}
	}
}
