// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/aws/awstest"
	"weir.dev/weir/proxy/proxytest"
)

// TestLambda is a proxy in front of a function of AWS Lambda, which runs here in the
// runtime that the document names. The proxy's role is what eksctl gives to a service
// account: a token in a file, for which the Security Token Service gives keys.
func TestLambda(t *testing.T) {
	account := awstest.NewAccount()
	iss := awstest.NewIssuer(t, account)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(awstest.WebIdentityToken), 0o600); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/hello-envoy-lambda", "AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ENDPOINT_URL_STS": iss.URL,
		"AWS_ROLE_SESSION_NAME": "hello", "AWS_ACCESS_KEY_ID": "", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
	} {
		t.Setenv(k, v)
	}
	api := awstest.NewLambda(t, account, true)
	api.Add("hello-envoy-lambda", awstest.Python(t, filepath.Join(examples, "000-envoy-lambda")))

	_, port, err := net.SplitHostPort(api.Addr)
	if err != nil {
		t.Fatal(err)
	}
	p := proxytest.Start(t, seed(t, examples+"/000-envoy-lambda/envoy.yaml",
		"address: 0.0.0.0\n        port_value: 10000", "address: 127.0.0.1\n        port_value: 0", "port_value: 9901", "port_value: 0",
		"path: \"/dev/stdout\"", "path: \"{{log}}\"", "address: lambda.us-east-1.amazonaws.com\n                port_value: 443", "address: localhost\n                port_value: "+port,
	), proxytest.Options{Extensions: all.Extensions()})

	const data = `{"data":"this is test!"}`
	head := "POST / HTTP/1.1\r\nHost:lambda\r\nUser-Agent: curl/7.61.1\r\nAccept: */*\r\nContent-Length: 24\r\n"
	res := p.Do(head + "Content-Type: application/json\r\n\r\n" + data)
	if want := `"hello envoy with lambda. body is {\"data\":\"this is test!\"}"`; res.StatusCode != 200 || res.Content != want || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got  %v\nwant %s", res, want)
	}
	// What is not told to be text reaches the function in base64.
	res = p.Do(head + "Content-Type: application/octet-stream\r\n\r\n" + data)
	if want := `"hello envoy with lambda. body is b'{\"data\":\"this is test!\"}'"`; res.Content != want {
		t.Errorf("got  %v\nwant %s", res, want)
	}
	if names := api.ServerNames(); len(names) == 0 || names[0] != "*.amazonaws.com" {
		t.Errorf("asked for over TLS: %q", names)
	}
	calls := api.Calls()
	if len(calls) != 2 || calls[0].Key != "STS1" || calls[0].Host != "lambda" || calls[0].Header.Get("X-Iwant-Host") != "lambda.us-east-1.amazonaws.com" {
		t.Errorf("%+v", calls)
	}
	if asked := iss.Asked(); len(asked) != 1 || asked[0] != "AssumeRoleWithWebIdentity arn:aws:iam::123456789012:role/hello-envoy-lambda hello" {
		t.Errorf("asked: %q", asked)
	}
	if line := p.LogLines(1)[0]; !strings.Contains(line, " 200 - ") {
		t.Errorf("access log: %s", line)
	}
}
