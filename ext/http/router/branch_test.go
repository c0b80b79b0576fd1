// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// Filters in front of a host, as flow YAML.
const (
	upstreamCodec = `{name: codec, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}`
	upstreamSmall = `{name: small, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 3}}`
	corsFilter    = `{name: cors, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}`
)

// mutation is a header mutation filter with the mutations in fields.
func mutation(fields string) string {
	return `{name: mutate, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, mutations: {` + fields + `}}}`
}

func appended(key, value string) string {
	return `[{append: {header: {key: ` + key + `, value: "` + value + `"}}}]`
}

// inFront is a cluster's options with these filters.
func inFront(filters ...string) string {
	return `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {enable_trailers: true}}
    http_filters: [` + strings.Join(filters, ", ") + `]`
}

// TestUpstreamFiltersPerAttempt: each attempt passes the filters anew, with the request
// as the router made it, and they see the response before the retry policy does.
func TestUpstreamFiltersPerAttempt(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(failure, ok))
	e := proxytest.Edge{
		Routes:    policy("retry_on: retriable-headers, num_retries: 3, retriable_headers: [{name: x-again, string_match: {exact: \"503\"}}]"),
		Cluster:   inFront(mutation("request_mutations: "+appended("x-try", "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %REQ(x-a)%")+", response_mutations: "+appended("x-again", "%RESP(:status)%")), upstreamCodec),
		AccessLog: "%RESPONSE_CODE% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %REQ(x-try)% %RESP(x-again)%",
	}
	p := start(t, e, up(u))
	res := p.Do("GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n\r\n")
	check(t, "response", res.Content+" "+res.Header.Get("X-Again"), "ok 200")
	got := u.WaitRequests(2)
	for i, want := range []string{"1 1", "2 1"} {
		check(t, "x-try", proxytest.Field(got[i], "x-try"), want)
		if n := strings.Count(got[i], "x-try:"); n != 1 {
			t.Errorf("request %d has x-try %d times", i, n)
		}
	}
	check(t, "log", p.LogLines(1)[0], "200 2 - 200")
	atRest(t, p)
}

// TestUpstreamFilterReplies: a filter that answers ends the request, whatever the retry
// policy says, and no host sees it.
func TestUpstreamFilterReplies(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(ok))
	e := proxytest.Edge{Routes: policy("retry_on: 5xx, num_retries: 3"), Cluster: inFront(upstreamSmall, upstreamCodec)}
	p := start(t, e, up(u))
	c := p.Dial()
	res := c.Do("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nfour")
	if res.StatusCode != 413 || u.Connections() != 0 {
		t.Errorf("%v after %d connections", res, u.Connections())
	}
	has(t, "log", p.LogLines(1)[0], "413 - request_payload_too_large 1")
	p.WaitCounter("cluster.up.downstream_rq_too_large", 1)
	// A body that fits passes, of known length.
	res = p.Do("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	check(t, "response", res.Content, "ok")
	check(t, "content-length", proxytest.Field(u.WaitRequests(1)[0], "content-length"), "3")
	atRest(t, p)
}

// TestUpstreamFilterTrailers: filters see the trailers of both directions; those of the
// request anew at each attempt.
func TestUpstreamFilterTrailers(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(failure, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-end: up\r\n\r\n"))
	e := proxytest.Edge{
		Routes:  policy("retry_on: 5xx"),
		Manager: "http_protocol_options: {enable_trailers: true}",
		Cluster: inFront(mutation("request_trailers_mutations: "+appended("x-end", "mine")+", response_trailers_mutations: "+appended("x-end", "mine")), upstreamCodec),
	}
	p := start(t, e, up(u))
	res := p.Do("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-end: down\r\n\r\n")
	check(t, "response", res.Content+" "+strings.Join(res.Trailer.Values("X-End"), "+"), "ok up+mine")
	u.WaitRequests(2)
	for _, r := range u.Received() {
		if n := strings.Count(r, "x-end: mine"); n != strings.Count(r, "x-end: down") || n == 0 {
			t.Errorf("sent %q", r)
		}
	}
	atRest(t, p)
}

// TestUpstreamFiltersOfMirror: a copy passes the filters of its own cluster.
func TestUpstreamFiltersOfMirror(t *testing.T) {
	u, sh := proxytest.NewUpstream(t, steps(ok)), proxytest.NewUpstream(t, steps(ok))
	e := mirrored("{cluster: shadow}", "")
	e.Clusters += "\n" + indent(inFront(mutation("request_mutations: "+appended("x-copy", "%UPSTREAM_CLUSTER%")), upstreamCodec))
	p := start(t, e, map[string]string{"up": u.Addr(), "shadow": sh.Addr()})
	check(t, "response", p.Do(get).Content, "ok")
	check(t, "copy", proxytest.Field(sh.WaitRequests(1)[0], "x-copy"), "shadow")
	check(t, "original", proxytest.Field(u.WaitRequests(1)[0], "x-copy"), "")
}

// TestUpstreamFiltersOfRouter: the router's own filters are for clusters without any.
func TestUpstreamFiltersOfRouter(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(ok))
	e := proxytest.Edge{}
	own := `{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, upstream_http_filters: [` +
		mutation("request_mutations: "+appended("x-of", "router")) + ", " + upstreamCodec + `]}}`
	p := start(t, e, up(u))
	for i, tt := range []struct{ cluster, want string }{
		{"", "router"},
		{inFront(mutation("request_mutations: "+appended("x-of", "cluster")), upstreamCodec), "cluster"},
	} {
		e.Cluster = tt.cluster
		if problems := p.Update(strings.ReplaceAll(e.YAML(), "{{router}}", own)); len(problems) > 0 {
			t.Fatal(problems)
		}
		check(t, "response", p.Do(get).Content, "ok")
		check(t, "x-of", proxytest.Field(u.WaitRequests(i + 1)[i], "x-of"), tt.want)
	}
}

// TestUpstreamFiltersMisplaced: what cannot run where it stands is refused, by its place.
func TestUpstreamFiltersMisplaced(t *testing.T) {
	for name, tt := range map[string]struct{ cluster, filters, problem string }{
		"downstream only": {inFront(corsFilter, upstreamCodec), "", "http_filters[0]: envoy.filters.http.cors does not run in front of a host"},
		"no end":          {inFront(mutation("")), "", "http_filters[0]: the last filter must be terminal: add envoy.filters.http.upstream_codec at the end"},
		"early end":       {inFront(upstreamCodec, mutation("")), "", "http_filters[0]: a terminal filter must be the last"},
		"upstream only":   {"", "- " + upstreamCodec, "http_filters[0]: envoy.filters.http.upstream_codec runs in front of a host only"},
	} {
		t.Run(name, func(t *testing.T) {
			e := proxytest.Edge{Cluster: tt.cluster, Filters: tt.filters}
			_, err := proxytest.TryStart(t, e.YAML(), proxytest.Options{Extensions: registry(), Backends: map[string]string{"up": "127.0.0.1:1"}})
			if err == nil {
				t.Fatal("it starts")
			}
			has(t, "error", strings.ReplaceAll(err.Error(), "]: ", "] "), strings.ReplaceAll(tt.problem, "]: ", "] "))
		})
	}
}

// indent moves a block below a list's item.
func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }
