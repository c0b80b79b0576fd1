// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
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
	again, _ := over(t, next, sites(10, 3, 1))
	if again.hosts != next.hosts {
		t.Error("the index was made anew, and nothing has changed")
	}
}

func delivers() *routev3.Vhds {
	return &routev3.Vhds{ConfigSource: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}}
}

// A table with virtual hosts that were delivered is the table that has them all at once,
// whatever came and went; one that did not change is the one before.
func TestWith(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	base := compileOrFatal(t, &routev3.RouteConfiguration{
		Name: "r", Vhds: delivers(), VirtualHosts: []*routev3.VirtualHost{host("own", "own.test", "own")},
	})
	now, have := base, map[string]*routev3.VirtualHost{}
	domain := func(i int) string { return []string{"", "*.", "*-"}[i%3] + fmt.Sprint("v", i, ".test") }
	for step := range 400 {
		var put []Delivery
		var gone []string
		before := maps.Clone(have)
		for _, i := range r.Perm(12)[:r.IntN(4)] {
			name := fmt.Sprint("r/", i)
			if r.IntN(3) == 0 {
				gone = append(gone, name)
				delete(have, name)
				continue
			}
			// A domain passes from one virtual host to another now and then.
			d := domain(i)
			if r.IntN(4) == 0 {
				d = domain(12)
			}
			have[name] = host(fmt.Sprint("v", i), d, fmt.Sprint("route", step))
			put = append(put, Delivery{name, have[name]})
		}
		next, problems := now.With(put, gone, testContext())
		all, whole := []Delivery(nil), true
		taken := map[string]bool{}
		for name, vh := range have {
			all = append(all, Delivery{name, vh})
			whole = whole && !taken[vh.GetDomains()[0]]
			taken[vh.GetDomains()[0]] = true
		}
		if (next != nil) != whole {
			t.Fatalf("step %d: %v, want one: %v", step, problems, whole)
		}
		if next == nil {
			have = before
			continue
		}
		fresh, problems := base.With(all, nil, testContext())
		if fresh == nil {
			t.Fatal(problems)
		}
		for i := range 13 {
			for _, h := range []string{strings.TrimLeft(domain(i), "*-."), "x." + strings.TrimLeft(domain(i), "*-."), "x-" + strings.TrimLeft(domain(i), "*-."), "own.test", "none"} {
				req := request(":authority: " + h)
				got, want := next.Match(req), fresh.Match(req)
				if (got == nil) != (want == nil) || got != nil && got.Name != want.Name {
					t.Fatalf("step %d: %s takes %v, want %v", step, h, got, want)
				}
			}
		}
		for name, vh := range have {
			old, _ := now.delivered.get(name)
			if d, _ := next.delivered.get(name); before[name] == vh && d != old {
				t.Fatalf("step %d: %s was made anew", step, name)
			}
		}
		now = next
	}
	// What comes again over the wire is what was there.
	var again []Delivery
	for name, vh := range have {
		again = append(again, Delivery{name, proto.CloneOf(vh)})
	}
	ctx := testContext()
	ctx.Before = now
	next, _ := base.With(again, nil, ctx)
	for name := range have {
		old, _ := now.delivered.get(name)
		if d, _ := next.delivered.get(name); d.host != old.host {
			t.Errorf("%s was made anew", name)
		}
	}
}

func TestWithRefuses(t *testing.T) {
	base := compileOrFatal(t, &routev3.RouteConfiguration{
		Vhds: delivers(), VirtualHosts: []*routev3.VirtualHost{host("own", "own", "1")},
	})
	for want, vh := range map[string]*routev3.VirtualHost{
		`virtual_hosts[b].domains[0]: domain "OWN" is in virtual host "own" already: a domain may stand once in a route configuration`: host("b", "OWN", "1"),
		`virtual_hosts[b].domains[0]: is empty: name a host, a wildcard or "*"`:                                                        host("b", "", "1"),
		`virtual_hosts[b].domains: value must contain at least 1 item(s)`:                                                              {Name: "b"},
	} {
		next, problems := base.With([]Delivery{{"r/b", vh}}, nil, testContext())
		if next != nil || len(problems) != 1 || problems[0].Error() != want {
			t.Errorf("got %v, want %s", problems, want)
		}
	}
}

// What a virtual host costs that comes and goes among n, delivered by itself.
func BenchmarkWith(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			base := compileOrFatal(b, &routev3.RouteConfiguration{Vhds: delivers()})
			var all []Delivery
			for i := range n {
				all = append(all, Delivery{fmt.Sprint("r/", i), host(fmt.Sprint(i), fmt.Sprintf("h%d.example.com", i), "x")})
			}
			table, problems := base.With(all, nil, testContext())
			if table == nil {
				b.Fatal(problems)
			}
			one := []Delivery{{"r/one", host("one", "one.example.com", "x")}}
			b.ReportAllocs()
			for b.Loop() {
				table, _ = table.With(one, nil, testContext())
				table, _ = table.With(nil, []string{"r/one"}, testContext())
			}
		})
	}
}
