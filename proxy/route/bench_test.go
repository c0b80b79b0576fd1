// SPDX-License-Identifier: Apache-2.0

//go:build !race

package route

import (
	"fmt"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"weir.dev/weir/proxy/header"
)

// manyHosts is a table of n virtual hosts, each with an exact domain, a suffix
// and a prefix wildcard.
func manyHosts(tb testing.TB, n int) *Table {
	tb.Helper()
	rc := &routev3.RouteConfiguration{}
	for i := range n {
		rc.VirtualHosts = append(rc.VirtualHosts, &routev3.VirtualHost{
			Name:    fmt.Sprint(i),
			Domains: []string{fmt.Sprintf("www.site%d.example.com", i), fmt.Sprintf("*.site%d.example.org", i), fmt.Sprintf("site%d.*", i)},
			Routes:  []*routev3.Route{forwardTo("r", &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}})},
		})
	}
	return compileOrFatal(tb, rc)
}

// manyRoutes is a table of n routes, by exact path and by prefix in turn.
func manyRoutes(tb testing.TB, n int) *Table {
	tb.Helper()
	v := &routev3.VirtualHost{Name: "v", Domains: []string{"*"}}
	for i := range n {
		m := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: fmt.Sprintf("/api/v1/service%d/", i)}}
		if i%2 == 0 {
			m.PathSpecifier = &routev3.RouteMatch_Path{Path: fmt.Sprintf("/api/v1/item%d", i)}
		}
		v.Routes = append(v.Routes, forwardTo(fmt.Sprint(i), m))
	}
	v.Routes = append(v.Routes, forwardTo("last", &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}))
	return compileOrFatal(tb, &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{v}})
}

func TestMatchAllocs(t *testing.T) {
	hosts, routes := manyHosts(t, 100), manyRoutes(t, 100)
	conds := mustCompile(t, oneRoute(direct("a", `"prefix":"/x"`)+","+direct("b", `"safe_regex":{"regex":"/b/[0-9]+"}`)+","+
		direct("c", `"prefix":"/api","case_sensitive":false,"headers":[{"name":"x","safe_regex_match":{"regex":"[a-z]+,[a-z]+"}}],"query_parameters":[{"name":"q","string_match":{"prefix":"1"}}],"cookies":[{"name":"s","string_match":{"exact":"1"}}]`)+","+
		direct("d", `"prefix":"/d"`)+","+direct("e", `"prefix":"/e"`)))
	tree := mustCompile(t, `{"virtual_hosts":[{"name":"v","domains":["*"],"matcher":{"matcher_tree":{
		"input":{"name":"i","typed_config":{"@type":"type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput","header_name":"x"}},
		"prefix_match_map":{"map":{"o":{"action":{"name":"a","typed_config":{"@type":"type.googleapis.com/envoy.config.route.v3.Route",`+direct("one", `"prefix":"/"`)[1:]+`}}}}}}}]}`)
	weighted := weightedTable(t, "", testContext())
	tests := []struct {
		name  string
		table *Table
		req   *Request
	}{
		{"exact host", hosts, request(":authority: WWW.site7.example.com")},
		{"suffix host", hosts, request(":authority: a.site7.example.org")},
		{"prefix host", hosts, request(":authority: site7.example.net")},
		{"exact path", routes, request("/api/v1/item50?q=1")},
		{"prefix path", routes, request("/api/v1/service51/x")},
		{"last route", routes, request("/other")},
		{"regex", conds, request("/b/12")},
		{"conditions", conds, request("/API/x?q=12", "x: ab", "x: cd", "cookie: a=b; s=1")},
		{"tree", tree, request("x: one")},
		{"weighted", weighted, request()},
	}
	for _, tt := range tests {
		if tt.table.Match(tt.req) == nil {
			t.Errorf("%s: no match", tt.name)
		}
		if n := testing.AllocsPerRun(200, func() { tt.table.Match(tt.req).Cluster(tt.req) }); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

func TestFinalizeAllocs(t *testing.T) {
	table := mustCompile(t, oneRoute(`{"match":{"prefix":"/a"},"route":{"cluster":"c","prefix_rewrite":"/b","host_rewrite_literal":"x"},
		"request_headers_to_add":[`+set("x-a", "b", "")+`,`+set("x-c", "%REQ(user-agent)%", "")+`],"request_headers_to_remove":["x-d"]}`))
	src, req := request("/a/c", "user-agent: u"), request()
	r := table.Match(src)
	run := func() {
		req.Header.Reset()
		src.Header.CopyTo(req.Header)
		r.FinalizeRequest(req.Header, req.Info, true)
		r.FilterConfig("f")
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHosts(b *testing.B) {
	for _, n := range []int{1, 10000} {
		table := manyHosts(b, n)
		for kind, host := range map[string]string{"exact": "www.site%d.example.com", "suffix": "a.site%d.example.org", "prefix": "site%d.example.net"} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				req := request(":authority: " + fmt.Sprintf(host, n/2))
				for b.Loop() {
					if table.Match(req) == nil {
						b.Fatal("no match")
					}
				}
			})
		}
	}
}

func BenchmarkRoutes(b *testing.B) {
	for _, n := range []int{1, 10, 10000} {
		table := manyRoutes(b, n)
		set := &table.VirtualHosts[0].set
		paths := map[string]string{"exact": fmt.Sprintf("/api/v1/item%d", n/2*2-2+2*(1-min(n/2, 1))), "prefix": fmt.Sprintf("/api/v1/service%d/x", n/2*2-1), "last": "/other"}
		for kind, path := range paths {
			req := request(path)
			b.Run(fmt.Sprintf("indexed/%s/%d", kind, n), func(b *testing.B) {
				for b.Loop() {
					set.find(table.common, req)
				}
			})
			b.Run(fmt.Sprintf("scanned/%s/%d", kind, n), func(b *testing.B) {
				for b.Loop() {
					rp := table.common.requestPath(req.Header)
					set.scan(table.common, req, &rp)
				}
			})
		}
	}
}

// BenchmarkSpread matches a different one of 10,000 hosts or routes each time,
// so that nothing stays in the processor's caches by itself.
func BenchmarkSpread(b *testing.B) {
	for _, n := range []int{10, 10000} {
		hosts, routes := manyHosts(b, n), manyRoutes(b, n)
		reqs := make([]*Request, 4096)
		for i := range reqs {
			k := i * 7919 % n
			path := fmt.Sprintf("/api/v1/service%d/x", k)
			if k%2 == 0 {
				path = fmt.Sprintf("/api/v1/item%d", k)
			}
			reqs[i] = request(path, fmt.Sprintf(":authority: www.site%d.example.com", k))
			reqs[i].Header.Add(header.Accept, "*/*")
		}
		run := func(name string, t *Table) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					if t.Match(reqs[i&4095]) == nil {
						b.Fatal("no match")
					}
				}
			})
		}
		run("hosts", hosts)
		run("routes", routes)
	}
}

// What a change of one virtual host of n costs, whole and over the table before.
func BenchmarkChangeOfOneHost(b *testing.B) {
	for _, n := range []int{50, 5000} {
		both := [2]*routev3.RouteConfiguration{sites(n, n/2, 0), sites(n, n/2, 1)}
		first := compileOrFatal(b, both[1])
		for name, before := range map[string]*Table{"whole": nil, "over": first} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				ctx := testContext()
				for i := 0; b.Loop(); i++ {
					ctx.Before = before
					t, problems := Compile(both[i%2], ctx)
					if t == nil {
						b.Fatal(problems)
					}
					if before != nil {
						before = t
					}
				}
			})
		}
	}
}
