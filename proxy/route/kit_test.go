// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// fakeFormat formats %REQ(name)% and %RESP(name)% only.
type fakeFormat []string // literal, operator, literal, ...

func compileFakeFormat(s string) (Formatter, error) {
	parts := strings.Split(s, "%")
	if len(parts)%2 == 0 {
		return nil, errors.New("unbalanced %")
	}
	return fakeFormat(parts), nil
}

func (f fakeFormat) AppendTo(dst []byte, info *streaminfo.Stream) []byte {
	for i, p := range f {
		switch {
		case i%2 == 0:
			dst = append(dst, p...)
		case strings.HasPrefix(p, "REQ("):
			dst = append(dst, info.Request.Get(header.NewName(p[4:len(p)-1]))...)
		case strings.HasPrefix(p, "RESP("):
			dst = append(dst, info.Response.Get(header.NewName(p[5:len(p)-1]))...)
		}
	}
	return dst
}

// testContext compiles filter configurations that are StringValues, for
// filters whose names do not begin with "unknown".
func testContext() Context {
	return Context{
		CompileFormat: compileFakeFormat,
		CompileFilterConfig: func(name string, cfg *anypb.Any) (any, error) {
			if strings.HasPrefix(name, "unknown") {
				return nil, ErrUnknownFilter
			}
			var v wrapperspb.StringValue
			if err := cfg.UnmarshalTo(&v); err != nil {
				return nil, err
			}
			return v.Value, nil
		},
	}
}

func parse(t testing.TB, js string) *routev3.RouteConfiguration {
	t.Helper()
	var rc routev3.RouteConfiguration
	if err := protojson.Unmarshal([]byte(js), &rc); err != nil {
		t.Fatalf("parse: %v\n%s", err, js)
	}
	return &rc
}

func mustCompile(t testing.TB, js string) *Table {
	t.Helper()
	return mustCompileIn(t, js, testContext())
}

func mustCompileIn(t testing.TB, js string, ctx Context) *Table {
	t.Helper()
	table, problems := Compile(parse(t, js), ctx)
	for _, p := range problems {
		t.Errorf("problem: %v", p)
	}
	if table == nil {
		t.Fatal("no table")
	}
	return table
}

// oneRoute is a table of one virtual host with the given route fields.
func oneRoute(route string) string {
	return `{"virtual_hosts":[{"name":"v","domains":["*"],"routes":[` + route + `]}]}`
}

// request makes a request of "name: value" lines; a bare first line is the
// path. Host is "h", method GET and scheme http unless given.
func request(lines ...string) *Request {
	h := &header.Map{}
	given := map[string]string{":method": "GET", ":scheme": "http", ":authority": "h", ":path": "/"}
	var rest [][2]string
	for _, l := range lines {
		k, v, ok := strings.Cut(l, ": ")
		switch {
		case !ok:
			given[":path"] = l
		case k[0] == ':':
			given[k] = v
		default:
			rest = append(rest, [2]string{k, v})
		}
	}
	for _, n := range []string{":method", ":scheme", ":authority", ":path", ":protocol"} {
		if v, ok := given[n]; ok && v != "-" {
			h.Add(header.NewName(n), v)
		}
	}
	for _, f := range rest {
		h.Add(header.NewName(f[0]), f[1])
	}
	return &Request{Header: h, Info: &streaminfo.Stream{Request: h, Conn: &streaminfo.Connection{}}}
}

func dump(h *header.Map) string {
	var b strings.Builder
	for n, v := range h.All() {
		b.WriteString(n.String() + "=" + string(v) + "\n")
	}
	return b.String()
}

func name(r *Route) string {
	if r == nil {
		return "none"
	}
	return r.Name
}

func forwardTo(name string, m *routev3.RouteMatch) *routev3.Route {
	return &routev3.Route{Name: name, Match: m, Action: &routev3.Route_Route{Route: &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "c"},
	}}}
}

func compileOrFatal(tb testing.TB, rc *routev3.RouteConfiguration) *Table {
	tb.Helper()
	t, problems := Compile(rc, testContext())
	if t == nil {
		tb.Fatal(problems)
	}
	return t
}

// sites are n virtual hosts of four routes each; changed is the number of one that
// differs, by version.
func sites(n, changed, version int) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{Name: "sites"}
	for i := range n {
		v := &routev3.VirtualHost{Name: fmt.Sprint("site-", i), Domains: []string{fmt.Sprintf("www.site%d.example.com", i), fmt.Sprintf("site%d.example.com", i)}}
		for _, p := range []string{"/api", "/static", "/login", "/"} {
			m := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: p}}
			m.Headers = []*routev3.HeaderMatcher{{Name: "x-tenant", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}}
			v.Routes = append(v.Routes, forwardTo("r"+p, m))
		}
		if i == changed {
			v.Routes[0].Name = fmt.Sprint("version-", version)
		}
		rc.VirtualHosts = append(rc.VirtualHosts, v)
	}
	return rc
}
