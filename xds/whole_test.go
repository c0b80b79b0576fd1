// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
)

// Whole made of the one before is what it would be made anew, and has of the one before
// the route configurations that did not change.
func TestWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	b := &Builder{}
	b.Routes().Put("own", &routev3.RouteConfiguration{Name: "own", VirtualHosts: []*routev3.VirtualHost{{Name: "x"}}}, Origin{})
	now := b.Build("0")
	whole := Whole(now, nil, nil)
	for step := range 300 {
		b := now.Edit()
		touched := map[string]bool{}
		for range r.IntN(3) {
			name := fmt.Sprint("r", r.IntN(4))
			if r.IntN(2) == 0 {
				name += "/sub" // Its virtual hosts stand among those of the other.
			}
			touched[name] = true
			host := name + "/" + fmt.Sprint(r.IntN(5))
			switch r.IntN(6) {
			case 0:
				b.Routes().Delete(name)
			case 1:
				rc := &routev3.RouteConfiguration{Name: name, IgnorePortInHostMatching: r.IntN(2) == 0, Vhds: &routev3.Vhds{ConfigSource: &corev3.ConfigSource{}}}
				b.Routes().Put(name, rc, Origin{Object: name})
			case 2:
				b.VirtualHosts().Delete(host)
			default:
				b.VirtualHosts().Put(host, &routev3.VirtualHost{Name: host, Domains: []string{fmt.Sprint(step)}}, Origin{})
			}
		}
		next := b.Build(fmt.Sprint(step))
		got, want := Whole(next, now, whole), Whole(next, nil, nil)
		if len(Changes(got, want)) > 0 || got.Version() != next.Version() || got.VirtualHosts().Len() > 0 {
			t.Fatalf("step %d: it differs by %v", step, Changes(got, want))
		}
		hosts := map[string]int{}
		for name := range next.VirtualHosts().All() {
			hosts[RoutesOf(name)]++
		}
		for name, rc := range got.Routes().All() {
			old, ok := whole.Routes().Get(name)
			if ok && !touched[name] && old != rc {
				t.Fatalf("step %d: %s was made anew", step, name)
			}
			if name != "own" && (len(rc.GetVirtualHosts()) != hosts[name] || rc.GetVhds() != nil) {
				t.Fatalf("step %d: %s is %v, want %d hosts", step, name, rc, hosts[name])
			}
		}
		if own, _ := got.Routes().Get("own"); !proto.Equal(own, &routev3.RouteConfiguration{Name: "own", VirtualHosts: []*routev3.VirtualHost{{Name: "x"}}}) {
			t.Fatalf("own is %v", own)
		}
		now, whole = next, got
	}
}
