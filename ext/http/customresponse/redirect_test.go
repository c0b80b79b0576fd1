// SPDX-License-Identifier: Apache-2.0

package customresponse

import (
	"strings"
	"testing"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
)

// redirected has responses of 403 had from elsewhere.
func redirected(policy string) string {
	return strings.ReplaceAll(matched(statusIs, "403", ","+policy), "local_response_policy.v3.LocalResponsePolicy", "redirect_policy.v3.RedirectPolicy")
}

// gate refuses what is not asked of its host, or is asked there for /bad.
type gate struct{ asked []string }

func (g *gate) Request(s *stream.Stream) error {
	h := s.Request.Header
	g.asked = append(g.asked, string(h.Get(header.Method))+" "+string(h.Get(header.Scheme))+"://"+string(h.Get(header.Authority))+string(h.Get(header.Path))+" "+string(h.Get(header.ContentLength))+string(h.Get(header.NewName("x-why"))))
	if host := string(h.Get(header.Authority)); !strings.HasPrefix(host, "sorry") || strings.HasPrefix(string(h.Get(header.Path)), "/bad") {
		s.Reply(stream.Reply{Status: 403, Body: "refused", Details: "gate"})
	}
	return nil
}

func (*gate) Response(*stream.Stream) error { return nil }

// reader reads bodies before anything is refused.
type reader struct{}

func (reader) Request(s *stream.Stream) error {
	if s.Request.Body == nil || s.Request.Header.Has(header.NewName("x-unread")) {
		return nil
	}
	_, err := stream.Collect(s.Request.Body, nil, 1<<20)
	return err
}

func (reader) Response(*stream.Stream) error { return nil }

// TestRedirect: where a redirect leads is asked, once, and what comes of it is sent.
func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		name, policy string
		req          streamtest.Request
		status       int
		body, asked  string
	}{
		{name: "all parts", policy: `"redirect_action":{"scheme_redirect":"https","host_redirect":"sorry.example","port_redirect":8443,"path_redirect":"/x"},"status_code":301,"response_headers_to_add":[{"header":{"key":"x-is","value":"%PROTOCOL%a"}}]`,
			req: streamtest.Request{Path: "/a?b=c"}, status: 301, body: "there", asked: "GET https://sorry.example:8443/x?b=c "},
		{name: "a host", policy: `"redirect_action":{"host_redirect":"sorry"}`, req: streamtest.Request{Path: "/a?b=c"}, status: 200, body: "there", asked: "GET http://sorry/a?b=c "},
		{name: "without query", policy: `"redirect_action":{"host_redirect":"sorry","strip_query":true}`, req: streamtest.Request{Path: "/a?b=c"}, status: 200, body: "there", asked: "GET http://sorry/a "},
		{name: "a query of its own", policy: `"redirect_action":{"host_redirect":"sorry","path_redirect":"/x?y"}`, req: streamtest.Request{Path: "/a?b=c"}, status: 200, body: "there", asked: "GET http://sorry/x?y "},
		{name: "a URL", policy: `"uri":"https://sorry:1/x?y=z","request_headers_to_add":[{"header":{"key":"x-why","value":"%REQ(X-ME)%"}}]`,
			req: streamtest.Request{Path: "/a?b=c", Header: []string{"x-me: 7"}}, status: 200, body: "there", asked: "GET https://sorry:1/x?y=z 7"},
		{name: "a body that was read", policy: `"redirect_action":{"host_redirect":"sorry"}`, req: streamtest.Request{Method: "POST", Body: streamtest.Pieces("abc")}, status: 200, body: "there", asked: "GET http://sorry/ "},
		{name: "a body that was not", policy: `"redirect_action":{"host_redirect":"sorry"}`, req: streamtest.Request{Method: "POST", Header: []string{"x-unread: 1"}, Body: streamtest.Pieces("abc")}, status: 403, body: "refused"},
		{name: "to an error", policy: `"redirect_action":{"host_redirect":"sorry","path_redirect":"/bad"},"status_code":301`, status: 403, body: "refused", asked: "GET http://sorry/bad "},
		{name: "in a circle", policy: `"redirect_action":{"host_redirect":"example.com","path_redirect":"/again"}`, status: 403, body: "refused", asked: "GET http://example.com/again "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rig, g := streamtest.New(t), &gate{}
			rig.Add(Extension(), redirected(tt.policy))
			rig.AddFilter("reader", reader{})
			rig.AddFilter("gate", g)
			rig.AddFilter("told", told{})
			res := rig.Run(tt.req, streamtest.Upstream{Body: streamtest.Pieces("there")})
			if res.Status != tt.status || res.Body != tt.body {
				t.Errorf("%d %q", res.Status, res.Body)
			}
			if n := len(g.asked); n > 2 || (n == 2) != (tt.asked != "") || n == 2 && g.asked[1] != tt.asked {
				t.Errorf("asked for %q", g.asked)
			}
			if tt.name == "all parts" && !strings.HasSuffix(res.Header.Get("x-is"), "a") {
				t.Errorf("%v", res.Header)
			}
		})
	}
}

// TestNoRoute: a redirect that has no route leaves the response as it is.
func TestNoRoute(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), redirected(`"redirect_action":{"host_redirect":"sorry"}`))
	rig.AddFilter("gate", &gate{})
	rig.NoRoute()
	if res := rig.Run(streamtest.Request{}, streamtest.Upstream{}); res.Status != 403 || rig.Counter("http.test.custom_response_redirect_no_route") != 1 {
		t.Errorf("%d", res.Status)
	}
}
