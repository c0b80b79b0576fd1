// SPDX-License-Identifier: Apache-2.0

// Package lambda runs functions of AWS Lambda for real, as processes that speak its
// Runtime API, and rolls them out behind a proxy like any other service; and functions of
// the Fn Project beside them.
package lambda

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/aws/awstest"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/test/tool"
	"weir.dev/weir/test/weirtest"
)

func TestMain(m *testing.M) { weirtest.Main(m) }

// function starts a function, built with aws-lambda-go, as a version.
func function(t *testing.T, version string) awstest.Function {
	t.Helper()
	cmd := exec.Command(tool.Build(t, "testdata/function"))
	cmd.Env = append(os.Environ(), "VERSION="+version)
	return awstest.Process(t, cmd)
}

func arn(name string) string {
	return `arn: "` + awstest.ARN(name) + `", credentials: {access_key_id: ` + awstest.AccessKeyID + `, secret_access_key: ` + awstest.SecretAccessKey + `}`
}

func version(name string) string {
	return `typed_per_filter_config: {lambda: {"@type": type.googleapis.com/envoy.extensions.filters.http.aws_lambda.v3.PerRouteConfig, invoke_config: {` + arn(name) + `}}}`
}

// TestRollOut splits requests between two versions of a function and a service that it
// takes the place of.
func TestRollOut(t *testing.T) {
	api := awstest.NewLambda(t, awstest.NewAccount(), false)
	api.Add("hello:1", function(t, "1"))
	api.Add("hello:prod", function(t, "2"))
	service := proxytest.NewUpstream(t, proxytest.Answer("HTTP/1.1 201 Created\r\nx-version: service\r\ncontent-length: 0\r\n\r\n"))
	e := proxytest.Edge{
		Filters: `- {name: lambda, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.aws_lambda.v3.Config, ` + arn("hello:prod") + `}}`,
		Cluster: `metadata: {filter_metadata: {com.amazonaws.lambda: {egress_gateway: true}}}`,
		Routes: "- match: {path: /split}\n  route:\n    weighted_clusters:\n      clusters:\n" +
			"      - {name: up, weight: 30, " + version("hello:1") + "}\n      - {name: up, weight: 30}\n      - {name: service, weight: 40}\n" +
			"- {match: {prefix: /}, route: {cluster: up}}",
		Clusters: "- {name: service, type: STATIC, load_assignment: {cluster_name: service, endpoints: [{lb_endpoints: [{endpoint: {address: {{service}}}}]}]}}",
	}
	p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": api.Addr, "service": service.Addr()}})

	res := p.Do("POST /a/b?c=d HTTP/1.1\r\nhost: lambda\r\nx-a: e\r\ncontent-length: 4\r\n\r\n\x00\xff\r\n")
	if res.StatusCode != 201 || res.Content != "\x00\xff\r\n" || res.Header.Get("X-Version") != "2" || res.Header.Get("X-Was") != "POST /a/b?c=d e" ||
		strings.Join(res.Header.Values("Set-Cookie"), "|") != "a=1|b=2; Path=/" || res.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%v", res)
	}
	res = p.Do("GET /?do=fail HTTP/1.1\r\nhost: lambda\r\n\r\n")
	if res.StatusCode != 200 || res.Header.Get("X-Amz-Function-Error") != "Unhandled" || !strings.Contains(res.Content, `"errorMessage":"it does not work"`) {
		t.Errorf("a function that fails: %v", res)
	}
	seen := map[string]int{}
	c := p.Dial()
	for range 300 {
		seen[c.Do("GET /split HTTP/1.1\r\nhost: lambda\r\n\r\n").Header.Get("X-Version")]++
	}
	if seen["1"] < 45 || seen["1"] > 135 || seen["2"] < 45 || seen["2"] > 135 || seen["1"]+seen["2"]+seen["service"] != 300 {
		t.Errorf("%v", seen)
	}
	for _, q := range service.Received() {
		if strings.Contains(q, "x-amz-") {
			t.Errorf("the service got %q", q)
		}
	}
}
