// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/header"
)

// randomPath returns a short path of few different parts, so that paths and
// matchers meet.
func randomPath(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(4) {
		b.WriteString([]string{"/", "/a", "/A", "/ab", "/b", "a", "B", ";p=1", "/a/b/c"}[r.IntN(9)])
	}
	return "/" + strings.TrimPrefix(b.String(), "/")
}

func randomMatch(r *rand.Rand) *routev3.RouteMatch {
	m := &routev3.RouteMatch{}
	p := randomPath(r)
	switch r.IntN(8) {
	case 0, 1:
		m.PathSpecifier = &routev3.RouteMatch_Path{Path: p}
	case 2:
		m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/" + strings.Trim(p, "/") + "x"}
	case 3:
		m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: p + []string{"", ".*", "|/b", "?"}[r.IntN(4)]}}
	case 4:
		m.PathSpecifier = &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}
	default:
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: p}
	}
	if r.IntN(3) == 0 {
		m.CaseSensitive = wrapperspb.Bool(false)
	}
	if r.IntN(2) == 0 {
		m.Headers = []*routev3.HeaderMatcher{{Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: fmt.Sprint(r.IntN(3))}}}
	}
	return m
}

// TestIndexEqualsScan compares the index with a scan of all routes in order,
// over random tables and requests.
func TestIndexEqualsScan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range 300 {
		v := &routev3.VirtualHost{Name: "v", Domains: []string{"*"}}
		for i := range 1 + r.IntN(40) {
			v.Routes = append(v.Routes, &routev3.Route{
				Name: fmt.Sprint(i), Match: randomMatch(r),
				Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
			})
		}
		table, problems := Compile(&routev3.RouteConfiguration{
			VirtualHosts: []*routev3.VirtualHost{v}, IgnorePathParametersInPathMatching: r.IntN(2) == 0,
		}, Context{})
		if table == nil {
			t.Fatal(problems)
		}
		set := &table.VirtualHosts[0].set
		for range 50 {
			req := request(randomPath(r)+[]string{"", "?q", "#f"}[r.IntN(3)], fmt.Sprintf("x: %d", r.IntN(3)))
			if r.IntN(10) == 0 {
				req.Header.Set(header.Method, "CONNECT")
			}
			rp := table.common.requestPath(req.Header)
			want := set.scan(table.common, req, &rp)
			if got := set.find(table.common, req); got != want {
				t.Fatalf("%s: index %s, scan %s", dump(req.Header), name(got), name(want))
			}
			if want != nil {
				found++
			}
		}
	}
	if found < 3000 {
		t.Errorf("only %d requests matched", found)
	}
}

// scanHost finds a virtual host as Envoy's documentation words it.
func scanHost(domains []string, host string) string {
	host = strings.ToLower(host)
	best, rank := "", -1
	for _, d := range domains {
		l := strings.ToLower(d)
		r := -1
		switch {
		case l == "*":
			r = 0
		case l[0] == '*':
			if strings.HasSuffix(host, l[1:]) && len(host) > len(l)-1 {
				r = 2000 + len(l)
			}
		case l[len(l)-1] == '*':
			if strings.HasPrefix(host, l[:len(l)-1]) && len(host) > len(l)-1 {
				r = 1000 + len(l)
			}
		case l == host:
			r = 5000
		}
		if r > rank {
			best, rank = d, r
		}
	}
	return best
}

// hostTable has one virtual host per domain, of the domain's name, and leaves
// out domains that occur twice.
func hostTable(domains []string) (*hosts, []string) {
	h, kept, by := newHosts(), []string(nil), new(edit)
	for _, d := range domains {
		if d != "" && h.get(d) == nil {
			h.set(by, d, &VirtualHost{Name: d})
			kept = append(kept, d)
		}
	}
	return h, kept
}

func checkHost(t *testing.T, domains []string, host string) {
	t.Helper()
	h, kept := hostTable(domains)
	checkFound(t, h, kept, host)
	// Without every other one, and what was before stays as it was.
	less, by, rest := *h, new(edit), []string(nil)
	for i, d := range kept {
		if i%2 == 0 {
			less.drop(by, d)
		} else {
			rest = append(rest, d)
		}
	}
	checkFound(t, &less, rest, host)
	checkFound(t, h, kept, host)
	again := less
	for i, d := range kept {
		if i%2 == 0 {
			again.set(new(edit), d, &VirtualHost{Name: d})
		}
	}
	checkFound(t, &again, kept, host)
	checkFound(t, &less, rest, host)
}

func checkFound(t *testing.T, h *hosts, kept []string, host string) {
	t.Helper()
	got := ""
	if vh := h.find([]byte(host)); vh != nil {
		got = vh.Name
	}
	if want := scanHost(kept, host); got != want {
		t.Fatalf("%q in %q: got %q, want %q", host, kept, got, want)
	}
	for _, d := range kept {
		if vh := h.get(d); vh == nil || vh.Name != d {
			t.Fatalf("%q in %q: got %v", d, kept, vh)
		}
	}
}

func TestHostsEqualScan(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	word := func() string {
		return []string{"a", "B", "ab", ".", "-", "a.b", ".c", "com"}[r.IntN(8)]
	}
	for range 3000 {
		var domains []string
		for range r.IntN(12) {
			d := word() + word()
			switch r.IntN(4) {
			case 0:
				d = "*" + d
			case 1:
				d += "*"
			}
			domains = append(domains, d)
		}
		if r.IntN(2) == 0 {
			domains = append(domains, "*")
		}
		checkHost(t, domains, word()+word()+word())
	}
}

func FuzzHost(f *testing.F) {
	f.Add("*.foo.com,*-bar.foo.com,foo.*,*", "a-bar.foo.com")
	f.Add("a,b,*", "")
	f.Add(".*,*.", ".")
	f.Fuzz(func(t *testing.T, list, host string) {
		var domains []string
		for d := range strings.SplitSeq(list, ",") {
			if d != "" && isASCII(d) {
				domains = append(domains, d)
			}
		}
		if isASCII(host) && len(host) < 900 && len(list) < 900 {
			checkHost(t, domains, host)
		}
	})
}

// isASCII: outside ASCII strings.ToLower, which the scan uses, goes further.
func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 126 || r == 0xfffd }) < 0
}

func FuzzPath(f *testing.F) {
	f.Add("/a/b?c", "/a", "/A", "/a/b")
	f.Add("/;x", "/", "/;", "/x")
	f.Add("", "/", "/a", "/b")
	f.Fuzz(func(t *testing.T, path, prefix, folded, exact string) {
		var routes []*Route
		add := func(p pathMatcher) {
			if p.text != "" {
				routes = append(routes, &Route{Name: p.text, path: p})
			}
		}
		add(pathMatcher{kind: pathSeparated, text: prefix})
		add(pathMatcher{kind: pathExact, text: exact})
		add(pathMatcher{kind: pathPrefix, text: lowerASCII(folded), fold: true})
		add(pathMatcher{kind: pathExact, text: lowerASCII(exact), fold: true})
		add(pathMatcher{kind: pathPrefix, text: prefix})
		add(pathMatcher{kind: pathPrefix, text: prefix + exact})
		set := newRouteSet(routes)
		for _, params := range []bool{false, true} {
			table := &common{ignoreParams: params}
			req := &Request{Header: &header.Map{}}
			req.Header.Add(header.Path, path)
			rp := table.requestPath(req.Header)
			if got, want := set.find(table, req), set.scan(table, req, &rp); got != want {
				t.Fatalf("index %v, scan %v", got, want)
			}
		}
	})
}

func FuzzTemplate(f *testing.F) {
	f.Add("/u/{id}/**", "/x/{id}", "/u/1/2")
	f.Add("/{a=*/b}.c", "/{a}", "/x/b.c")
	f.Fuzz(func(t *testing.T, tpl, rewrite, path string) {
		p, err := parseTemplate(tpl)
		if err != nil {
			return
		}
		re, err := p.matcher()
		if err != nil {
			t.Fatalf("template %q became the bad expression %q: %v", tpl, p.expr, err)
		}
		w, err := newTemplateRewrite(rewrite, p)
		if err != nil {
			return
		}
		out, ok := w.append(nil, path)
		if ok != re.Match(path) {
			t.Fatalf("rewrite %v, match %v", ok, !ok)
		}
		if ok && (len(out) == 0 || out[0] != '/') {
			t.Fatalf("rewrote %q to %q", path, out)
		}
	})
}

// TestManyPrefixes has more prefixes of one path than there is room for lists.
func TestManyPrefixes(t *testing.T) {
	var routes []*Route
	for n := 2 * maxLists; n > 0; n-- {
		p := "/" + strings.Repeat("a", n)
		routes = append(routes, &Route{Name: p, path: pathMatcher{kind: pathPrefix, text: p}})
	}
	set := newRouteSet(routes)
	for _, n := range []int{1, maxLists - 1, maxLists, maxLists + 1, 2 * maxLists} {
		want := "/" + strings.Repeat("a", n)
		if got := name(set.find(&common{}, request(want))); got != want {
			t.Errorf("%d: got %s", n, got)
		}
	}
}
