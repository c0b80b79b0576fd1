// SPDX-License-Identifier: Apache-2.0

package awsrequestsigning_test

import (
	"fmt"
	"strings"
	"testing"

	awsrequestsigningv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_request_signing/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/aws/awstest"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &awsrequestsigningv3.AwsRequestSigning{}, &awsrequestsigningv3.AwsRequestSigningPerRoute{})
}

const (
	kind = "type.googleapis.com/envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigning"
	keys = "credential_provider: {inline_credential: {access_key_id: " + awstest.AccessKeyID + ", secret_access_key: " + awstest.SecretAccessKey + "}}"
	base = "service_name: execute-api, region: us-east-1, " + keys
)

// filter is the filter's entry in a chain.
func filter(more string) string {
	return `- {name: sign, typed_config: {"@type": ` + kind + `, ` + more + `}}`
}

func perRoute(more string) string {
	return `typed_per_filter_config: {sign: {"@type": ` + kind + `PerRoute, stat_prefix: mine., aws_request_signing: {` + more + `}}}`
}

func start(t *testing.T, service string, e proxytest.Edge) (*proxytest.Proxy, *awstest.Service) {
	t.Helper()
	s := awstest.NewService(t, awstest.NewAccount(), service)
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": s.Addr}}), s
}

const (
	get  = "GET /a//b/../c?x=2&a=%20 HTTP/1.1\r\nhost: a:80\r\nuser-agent: test\r\nx-many: 2\r\nx-many: 1\r\n\r\n"
	post = "POST /p HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
	long = "POST /p HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
)

const signed = awstest.AccessKeyID + " is "

func TestSign(t *testing.T) {
	p, s := start(t, "execute-api", proxytest.Edge{Filters: filter(base)})
	for q, want := range map[string]string{
		strings.Replace(get, "/a//b/../c", "/c", 1): signed, post: signed + "hello", long: signed + "hello",
		strings.Replace(post, "host: a\r\n", "host: a\r\nauthorization: AWS4-HMAC-SHA256 old\r\nx-amz-date: old\r\nx-amz-security-token: old\r\n", 1): signed + "hello",
	} {
		if res := p.Do(q); res.Content != want {
			t.Errorf("%v", res)
		}
	}
	for _, r := range s.Requests() {
		if r.Method == "POST" && r.Header.Get("Content-Length") != "5" {
			t.Errorf("%+v", r)
		}
	}
	p.WaitCounter("http.test.aws_request_signing.signing_added", 4)
	p.WaitCounter("http.test.aws_request_signing.payload_signing_added", 3)
	p.WaitCounter("http.test.aws_request_signing.signing_failed", 0)
}

func TestForms(t *testing.T) {
	tests := []struct {
		name, service, config string
		check                 func(r awstest.Request) bool
	}{
		{"another host", "execute-api", base + ", host_rewrite: api.example.com", func(r awstest.Request) bool { return r.Host == "api.example.com" }},
		{"unsigned payload", "s3", "service_name: s3, region: eu-west-1, use_unsigned_payload: true, " + keys, func(r awstest.Request) bool {
			return r.Header.Get("X-Amz-Content-Sha256") == "UNSIGNED-PAYLOAD"
		}},
		{"in the query", "execute-api", base + ", query_string: {}", func(r awstest.Request) bool {
			return strings.Contains(r.URI, "&X-Amz-Expires=5&") && r.Header.Get("Authorization") == ""
		}},
		{"in the query for longer", "execute-api", base + ", query_string: {expiration_time: 60s}", func(r awstest.Request) bool { return strings.Contains(r.URI, "&X-Amz-Expires=60&") }},
		{"unsigned payload in the query", "s3", "service_name: s3, region: eu-west-1, use_unsigned_payload: true, query_string: {}, " + keys, func(r awstest.Request) bool {
			return strings.Contains(r.URI, "X-Amz-Signature=")
		}},
		{"some fields", "execute-api", base + ", match_included_headers: [{exact: x-a}]", func(r awstest.Request) bool {
			return strings.Contains(r.Header.Get("Authorization"), "SignedHeaders=content-type;host;x-a;x-amz-content-sha256;x-amz-date,")
		}},
		{"all but some", "execute-api", base + ", match_excluded_headers: [{prefix: x-a}, {prefix: content-}, {prefix: x-req}]", func(r awstest.Request) bool {
			return r.Header.Get("X-A") == "1"
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, s := start(t, tt.service, proxytest.Edge{Filters: filter(tt.config)})
			res := p.Do(strings.Replace(post, "POST /p", "POST /p%20q?b=1&a", 1)[:len(post)-len("\r\nhello")+len("%20q?b=1&a")] + "x-a: 1\r\n\r\nhello")
			if res.Content != signed+"hello" || !tt.check(s.Requests()[0]) {
				t.Errorf("%v\n%+v", res, s.Requests())
			}
		})
	}
}

// TestRolesAnywhere signs with keys that a certificate was exchanged for.
func TestRolesAnywhere(t *testing.T) {
	account := awstest.NewAccount()
	issuer, service := awstest.NewIssuer(t, account), awstest.NewService(t, account, "execute-api")
	ca := tlstest.NewCA(t, "ca")
	issuer.Trust(ca.Pool())
	leaf := ca.Issue(t, tlstest.Leaf{})
	t.Setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", issuer.URL)
	p := proxytest.Start(t, proxytest.Edge{Filters: filter(fmt.Sprintf("service_name: execute-api, region: us-east-1, credential_provider: {custom_credential_provider_chain: true, "+
		"iam_roles_anywhere_credential_provider: {role_arn: r, profile_arn: p, trust_anchor_arn: 'arn:aws:rolesanywhere:us-east-1:1:trust-anchor/a', certificate: {inline_string: %q}, private_key: {inline_string: %q}}}",
		leaf.CertPEM, leaf.KeyPEM))}.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": service.Addr}})
	if res := p.Do(post); res.Content != "ANYWHERE1 is hello" {
		t.Errorf("%v", res)
	}
}

// TestV4A: a service takes what is signed for several regions, and nothing else.
func TestV4A(t *testing.T) {
	p, s := start(t, "execute-api", proxytest.Edge{
		Filters: filter("service_name: execute-api, region: \"us-*,eu-west-1\", signing_algorithm: AWS_SIGV4A, " + keys),
		Routes: "- {match: {prefix: /other}, route: {cluster: up}, " + perRoute("service_name: lambda, region: \"us-*\", signing_algorithm: AWS_SIGV4A, "+keys) + "}\n" +
			"- {match: {prefix: /late}, route: {cluster: up}, request_headers_to_add: [{header: {key: x-amz-late, value: x}}]}\n" +
			"- {match: {prefix: /}, route: {cluster: up}}",
	})
	for q, want := range map[string]string{post: signed + "hello", long: signed + "hello", strings.Replace(get, "/a//b/../c", "/c", 1): signed} {
		if res := p.Do(q); res.StatusCode != 200 || res.Content != want {
			t.Errorf("%v", res)
		}
	}
	for _, r := range s.Requests() {
		if a := r.Header.Get("Authorization"); !strings.HasPrefix(a, "AWS4-ECDSA-P256-SHA256 Credential="+awstest.AccessKeyID+"/") || r.Header.Get("X-Amz-Region-Set") != "us-*,eu-west-1" {
			t.Errorf("%+v", r)
		}
	}
	for _, path := range []string{"/other", "/late"} {
		if res := p.Do(strings.Replace(post, "/p", path, 1)); res.StatusCode != 403 {
			t.Errorf("%s: %v", path, res)
		}
	}
}

func TestLimit(t *testing.T) {
	p, s := start(t, "s3", proxytest.Edge{
		Filters: filter("service_name: s3, region: r, " + keys),
		Routes: "- {match: {path: /p}, route: {cluster: up}, request_body_buffer_limit: 4}\n" +
			"- {match: {prefix: /}, route: {cluster: up}, " + perRoute("service_name: s3, region: r, use_unsigned_payload: true, "+keys) + ", request_body_buffer_limit: 4}",
	})
	for _, q := range []string{post, long} {
		if res := p.Do(q); res.StatusCode != 413 {
			t.Errorf("%v", res)
		}
	}
	if res := p.Do(strings.Replace(long, "/p", "/q", 1)); res.Content != signed+"hello" || len(s.Requests()) != 1 {
		t.Errorf("%v, %+v", res, s.Requests())
	}
	p.WaitCounter("mine.aws_request_signing.signing_added", 1)
}

// TestInFrontOfHosts: there the request is signed as the router has made it, with the
// path and the host that the route has rewritten.
func TestInFrontOfHosts(t *testing.T) {
	p, s := start(t, "execute-api", proxytest.Edge{
		Routes: "- {match: {prefix: /}, route: {cluster: up, prefix_rewrite: /stage/, host_rewrite_literal: api.example.com}, request_headers_to_add: [{header: {key: x-added, value: y}}]}",
		Cluster: `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {}}
    http_filters:
    ` + filter(base) + `
    - {name: codec, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}`,
	})
	for _, q := range []string{post, long} {
		if res := p.Do(q); res.Content != signed+"hello" {
			t.Errorf("%v", res)
		}
	}
	for _, r := range s.Requests() {
		if r.Host != "api.example.com" || r.URI != "/stage/p" || !strings.Contains(r.Header.Get("Authorization"), ";x-added") {
			t.Errorf("%+v", r)
		}
	}
	p.WaitCounter("cluster.up.aws_request_signing.signing_added", 2)
}

// TestUnsigned: without credentials requests are sent, and counted.
func TestUnsigned(t *testing.T) {
	p, _ := start(t, "execute-api", proxytest.Edge{Filters: filter("service_name: execute-api, region: r, credential_provider: {custom_credential_provider_chain: true, credentials_file_provider: {credentials_data_source: {inline_string: nothing}}}")})
	if res := p.Do(post); res.StatusCode != 403 || !strings.Contains(res.Content, "Missing Authentication Token") {
		t.Errorf("%v", res)
	}
	p.WaitCounter("http.test.aws_request_signing.signing_failed", 1)
	p.WaitCounter("http.test.aws_request_signing.payload_signing_failed", 1)
}

// TestRegion: what is not configured is the environment's.
func TestRegion(t *testing.T) {
	t.Setenv("AWS_REGION", "eu-north-1")
	p, s := start(t, "execute-api", proxytest.Edge{Filters: filter("service_name: execute-api, " + keys)})
	if res := p.Do(post); res.Content != signed+"hello" || !strings.Contains(s.Requests()[0].Header.Get("Authorization"), "/eu-north-1/execute-api/") {
		t.Errorf("%v", res)
	}
}

func TestRefused(t *testing.T) {
	for _, n := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SIGV4A_SIGNING_REGION_SET"} {
		t.Setenv(n, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
	t.Setenv("AWS_CONFIG_FILE", "/nowhere")
	for c, want := range map[string]string{
		"region: r":        "service_name: must not be empty",
		"service_name: s3": "region: none is configured, AWS_REGION or AWS_DEFAULT_REGION is not set, and neither /nowhere nor /nowhere has region for the profile default",
		"service_name: s3, signing_algorithm: AWS_SIGV4A":                                                           "AWS_SIGV4A_SIGNING_REGION_SET is not set",
		"service_name: s3, region: r, query_string: {expiration_time: 7200s}":                                       "query_string.expiration_time",
		"service_name: s3, region: r, match_included_headers: [{}]":                                                 "match_included_headers[0]",
		"service_name: s3, region: r, credential_provider: {custom_credential_provider_chain: true}":                "credential_provider: custom_credential_provider_chain is true and no provider is set",
		"service_name: s3, region: r, credential_provider: {iam_roles_anywhere_credential_provider: {role_arn: a}}": "iam_roles_anywhere_credential_provider",
	} {
		_, err := proxytest.TryStart(t, proxytest.Edge{Filters: filter(c)}.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n%v", c, err)
		}
	}
}
