// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/header"
)

func host(name, domain, route string) *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: name, Domains: []string{domain}, Routes: []*routev3.Route{
		forwardTo(route, &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}),
	}}
}

// over compiles rc over the table before.
func over(t testing.TB, before *Table, rc *routev3.RouteConfiguration) (*Table, []Problem) {
	t.Helper()
	ctx := testContext()
	ctx.Before = before
	// It comes over the wire: no message is the one before.
	return Compile(proto.CloneOf(rc), ctx)
}

// A table compiled over the one before is the table that would have been compiled anew,
// whatever has changed, and has of the one before what has not.
func TestCompileOver(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	rc := &routev3.RouteConfiguration{Name: "r"}
	before, _ := over(t, nil, rc)
	for step := range 400 {
		hosts := slices.Clone(rc.VirtualHosts)
		kept := map[string]bool{}
		switch n := len(hosts); {
		case n == 0 || r.IntN(4) == 0:
			name := fmt.Sprint("v", step)
			hosts = append(hosts, host(name, []string{"", "*."}[r.IntN(2)]+name+".test", "a"))
		case r.IntN(4) == 0:
			hosts = slices.Delete(hosts, r.IntN(n), n)
		case r.IntN(2) == 0:
			r.Shuffle(n, func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
		default:
			i := r.IntN(n)
			hosts[i] = host(hosts[i].Name, hosts[i].Domains[0], fmt.Sprint("r", step))
		}
		if r.IntN(20) == 0 {
			rc = &routev3.RouteConfiguration{Name: "r", MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(uint32(step)), VirtualHosts: hosts}
		} else {
			for _, h := range hosts {
				kept[h.Name] = slices.Contains(rc.VirtualHosts, h)
			}
			rc = &routev3.RouteConfiguration{Name: "r", MaxDirectResponseBodySizeBytes: rc.MaxDirectResponseBodySizeBytes, VirtualHosts: hosts}
		}
		next, problems := over(t, before, rc)
		if next == nil {
			t.Fatal(problems)
		}
		fresh := compileOrFatal(t, rc)
		for i, vh := range next.VirtualHosts {
			if got := slices.Contains(before.VirtualHosts, vh); got != kept[vh.Name] {
				t.Fatalf("step %d: %s is the one before: %v, want %v", step, vh.Name, got, kept[vh.Name])
			}
			for _, h := range []string{vh.Name + ".test", "x." + vh.Name + ".test", "none"} {
				req := request(":authority: " + h)
				got, want := next.Match(req), fresh.Match(req)
				if (got == nil) != (want == nil) || got != nil && (got.Name != want.Name || got.VirtualHost.Name != want.VirtualHost.Name) {
					t.Fatalf("step %d: %s takes %v, want %v", step, h, got, want)
				}
			}
			if vh.Name != rc.VirtualHosts[i].Name {
				t.Fatalf("virtual host %d is %s", i, vh.Name)
			}
		}
		before = next
	}
}

// What is wrong is found in what changed, at its place, and leaves the table before.
func TestCompileOverRefuses(t *testing.T) {
	before := compileOrFatal(t, &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{host("a", "a", "1"), host("b", "b", "1")}})
	for want, hosts := range map[string][]*routev3.VirtualHost{
		`virtual_hosts[1].domains[0]: domain "A" is in virtual host "a" already: a domain may stand once in a route configuration`: {host("a", "a", "1"), host("b", "A", "1")},
		`virtual_hosts[1].domains[0]: is empty: name a host, a wildcard or "*"`:                                                    {host("a", "a", "1"), host("b", "", "1")},
		`virtual_hosts[1].domains: value must contain at least 1 item(s)`:                                                          {host("a", "a", "1"), {Name: "b"}},
	} {
		next, problems := over(t, before, &routev3.RouteConfiguration{VirtualHosts: hosts})
		if next != nil || len(problems) != 1 || problems[0].Error() != want {
			t.Errorf("got %v, want %s", problems, want)
		}
	}
	if before.Match(request(":authority: b")) == nil {
		t.Error("the table before is another")
	}
}

// Whoever has a host of an older table has a route of it, too.
func TestOlderTablesStay(t *testing.T) {
	old := compileOrFatal(t, sites(10, 3, 0))
	next, _ := over(t, old, sites(10, 3, 1))
	req := request("/api/x", ":authority: site3.example.com", "x-tenant: a")
	req.Header.Set(header.Path, "/api/x")
	if a, b := old.Match(req).Name, next.Match(req).Name; a != "version-0" || b != "version-1" {
		t.Errorf("got %s and %s", a, b)
	}
	if old.hosts != next.hosts {
		t.Error("the index was made anew, and no domain has changed")
	}
}
