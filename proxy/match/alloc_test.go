// SPDX-License-Identifier: Apache-2.0

//go:build !race

package match

import (
	"net/netip"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

func TestAllocs(t *testing.T) {
	d := data(":path: /?q=7", "x: 1", "x: 2", "cookie: s=1")
	trees := []*Tree[string]{
		compile(t, lookupJSON(input(":path"), "exact_match_map", "/?q=7", do("a"))),
		compile(t, lookupJSON(input(netInputs+"DestinationPortInput"), "prefix_match_map", "4", do("a"))),
		compile(t, custom(input(netInputs+"SourceIPInput"), "IPMatcher", `"range_matchers":[{"ranges":[`+cidr("192.168.0.0/16")+`],"on_match":`+do("a")+`}]`)),
		compile(t, custom(input(netInputs+"ServerNameInput"), "ServerNameMatcher", `"domain_matchers":[{"domains":["*.example"],"on_match":`+do("a")+`}]`)),
		compile(t, list(`{"single_predicate":{`+input(netInputs+"SourceIPInput")+`,"value_match":{"prefix":"192."}}}`, do("a"))),
	}
	for i, tree := range trees {
		if n := testing.AllocsPerRun(100, func() { tree.Match(d) }); n != 0 {
			t.Errorf("tree %d: %v allocations", i, n)
		}
	}
	joined, err := CompileHeader(parse(t, &routev3.HeaderMatcher{}, `{"name":"x","safe_regex_match":{"regex":"1,2"}}`))
	if err != nil {
		t.Fatal(err)
	}
	set := NewCIDRs(netip.MustParsePrefix("10.0.0.0/8"))
	a := netip.MustParseAddr("10.1.1.1")
	if n := testing.AllocsPerRun(100, func() {
		joined.Match(d.Request)
		set.Contains(a)
		QueryValue("/?a=1&b=2", "b")
		CookieValue(d.Request, "s")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
