// SPDX-License-Identifier: Apache-2.0

package customresponse

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	localresponsepolicyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/local_response_policy/v3"
	redirectpolicyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/redirect_policy/v3"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Extension().Config, &localresponsepolicyv3.LocalResponsePolicy{}, &redirectpolicyv3.RedirectPolicy{})
}

// matched has responses replaced whose input has a value.
func matched(input, value, policy string) string {
	return fmt.Sprintf(`{"custom_response_matcher":{"matcher_list":{"matchers":[{"predicate":{"single_predicate":{
		"input":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.type.matcher.v3.%s}},"value_match":{"exact":"%s"}}},
		"on_match":{"action":{"name":"y","typed_config":{"@type":"type.googleapis.com/envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"%s}}}}]}}}`,
		input, value, policy)
}

const (
	statusIs = `HttpResponseStatusCodeMatchInput"`
	classIs  = `HttpResponseStatusCodeClassMatchInput"`
	localIs  = `HttpResponseLocalReplyMatchInput"`
	headerIs = `HttpResponseHeaderMatchInput","header_name":"x-kind"`
)

// told notes of a response what the router does.
type told struct{}

func (told) Request(*stream.Stream) error { return nil }

func (told) Response(s *stream.Stream) error {
	if !s.Replied() {
		s.Info.Status, _ = strconv.Atoi(string(s.Response.Header.Get(header.Status)))
		s.Info.StatusDetails = viaUpstream
	}
	return nil
}

func TestResponse(t *testing.T) {
	for _, tt := range []struct {
		name, config, route string
		up                  streamtest.Upstream
		method              string
		status              int
		body, kind, details string
	}{
		{name: "by status", config: matched(statusIs, "503", `,"status_code":200,"body":{"inline_string":"sorry, 100%"}`), up: streamtest.Upstream{Status: 503, Body: streamtest.Pieces("long")}, status: 200, body: "sorry, 100%", kind: "text/plain"},
		{name: "another status", config: matched(statusIs, "503", `,"status_code":200`), up: streamtest.Upstream{Status: 502, Body: streamtest.Pieces("long")}, status: 502, body: "long"},
		{name: "by class, with its status", config: matched(classIs, "5xx", `,"body_format":{"text_format":"%RESPONSE_CODE% of %REQ(:PATH)%","content_type":"text/html"}`), up: streamtest.Upstream{Status: 599}, status: 599, body: "599 of /", kind: "text/html"},
		{name: "format of a body", config: matched(classIs, "5xx", `,"body":{"inline_string":"a"},"body_format":{"json_format":{"say":"%LOCAL_REPLY_BODY%"}}`), up: streamtest.Upstream{Status: 500}, status: 500, body: `{"say":"a"}` + "\n", kind: "application/json"},
		{name: "by header", config: matched(headerIs, "odd", `,"body":{"inline_string":"even"},"response_headers_to_add":[{"header":{"key":"content-type","value":"x/y"},"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"}]`), up: streamtest.Upstream{Header: []string{"x-kind: odd"}, Body: streamtest.Pieces("a")}, status: 200, body: "even", kind: "x/y"},
		{name: "of a host", config: matched(localIs, "false", `,"body":{"inline_string":"host"}`), up: streamtest.Upstream{Status: 500}, status: 500, body: "host", kind: "text/plain"},
		{name: "made here", config: matched(localIs, "true", `,"body":{"inline_string":"here"},"preserve_response_code_details":true`), up: streamtest.Upstream{Err: &stream.Error{Status: 503, Details: "broken"}}, status: 503, body: "here", kind: "text/plain", details: "broken"},
		{name: "details", config: matched(statusIs, "503", `,"response_code_details":"replaced"`), up: streamtest.Upstream{Status: 503, Body: streamtest.Pieces("long")}, status: 503, details: "replaced"},
		{name: "by route", config: `{}`, route: matched(statusIs, "503", `,"body":{"inline_string":"route"}`), up: streamtest.Upstream{Status: 503}, status: 503, body: "route", kind: "text/plain"},
		{name: "nothing", config: `{}`, up: streamtest.Upstream{Status: 503, Body: streamtest.Pieces("a")}, status: 503, body: "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), tt.config)
			rig.AddFilter("told", told{})
			rig.Route(streamtest.Route{Filter: Extension(), Entry: tt.route})
			res := rig.Run(streamtest.Request{}, tt.up)
			if res.Status != tt.status || res.Body != tt.body || res.Header.Get("content-type") != tt.kind {
				t.Errorf("%d %q %v", res.Status, res.Body, res.Header)
			}
			if tt.details != "" && res.Info.StatusDetails != tt.details {
				t.Errorf("the details are %q", res.Info.StatusDetails)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for name, tt := range map[string]struct{ config, want string }{
		"a redirect to no URL":      {redirected(`"uri":"a/b"`), "uri: "},
		"a redirect to nowhere":     {redirected(`"redirect_action":{"https_redirect":true}`), "host_redirect: is required"},
		"a redirect by prefix":      {redirected(`"redirect_action":{"host_redirect":"a","prefix_rewrite":"/b"}`), "only path_redirect"},
		"a redirect to a fragment":  {redirected(`"redirect_action":{"path_redirect":"/a#b"}`), "fragment"},
		"a redirect to ftp":         {redirected(`"redirect_action":{"host_redirect":"a","scheme_redirect":"ftp"}`), "scheme_redirect"},
		"a redirect to half a path": {redirected(`"redirect_action":{"path_redirect":"a"}`), "does not begin with /"},
		"a redirect to no port":     {redirected(`"redirect_action":{"host_redirect":"a","port_redirect":70000}`), "is no port"},
		"a redirect, and more":      {redirected(`"uri":"http://a/","modify_request_headers_action":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}}`), "modify_request_headers_action"},
		"another action":            {strings.ReplaceAll(matched(statusIs, "503", ``), "http.custom_response.local_response_policy.v3.LocalResponsePolicy", "filters.http.cors.v3.Cors"), "is not a custom response"},
		"a status":                  {matched(statusIs, "503", `,"status_code":199`), "StatusCode"},
		"a file":                    {matched(statusIs, "503", `,"body":{"filename":"/x"}`), "body: use inline_string"},
		"a format":                  {matched(statusIs, "503", `,"body_format":{"text_format":"%NOTHING%"}`), "body_format"},
	} {
		if _, err := rig.Compile(Extension(), tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
