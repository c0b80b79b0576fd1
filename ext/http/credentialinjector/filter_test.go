// SPDX-License-Identifier: Apache-2.0

package credentialinjector

import (
	"slices"
	"strings"
	"testing"

	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	injectedoauth2v3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/oauth2/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Extension().Config, &genericv3.Generic{}, &injectedoauth2v3.OAuth2{})
}

func newRig(t testing.TB, text string) *streamtest.Rig {
	t.Helper()
	rig := streamtest.New(t)
	m := &tlsv3.Secret{}
	if err := protojson.Unmarshal([]byte(`{"name":"key","generic_secret":{"secret":{"inline_string":"`+text+`"}}}`), m); err != nil {
		t.Fatal(err)
	}
	if err := rig.Services.Secrets.Source("").Set("key", m); err != nil {
		t.Fatal(err)
	}
	return rig
}

func generic(more, fields string) string {
	return `{` + more + `"credential":{"name":"c","typed_config":{"@type":"type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic","credential":{"name":"key"}` + fields + `}}}`
}

func TestGeneric(t *testing.T) {
	for _, tt := range []struct{ name, secret, config, header, want, count string }{
		{"the default header", "Basic abc", generic("", ""), "x: y", "authorization: Basic abc", "injected"},
		{"another, with a prefix", `abc\n`, generic("", `,"header":"X-Key","header_value_prefix":"Key "`), "x: y", "x-key: Key abc", "injected"},
		{"one that is there", "abc", generic("", ""), "authorization: mine", "authorization: mine", "already_exists"},
		{"one that is empty", "abc", generic("", ""), "authorization: ", "authorization: abc", "injected"},
		{"overwritten", "abc", generic(`"overwrite":true,`, ""), "authorization: mine", "authorization: abc", "injected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rig := newRig(t, tt.secret)
			rig.Add(Extension(), tt.config)
			res := rig.Run(streamtest.Request{Header: []string{tt.header}}, streamtest.Upstream{})
			if res.Status != 200 || !slices.Contains(res.Upstream.Header, tt.want) || rig.Counter("http.test.credential_injector."+tt.count) != 1 {
				t.Errorf("%d %q", res.Status, res.Upstream.Header)
			}
			if strings.Contains(strings.Join(res.Upstream.Header, "\n"), "mine") && tt.count == "injected" {
				t.Errorf("%q", res.Upstream.Header)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	rig := newRig(t, `a\nb`)
	oauth := func(fields string) string {
		return `{"credential":{"name":"c","typed_config":{"@type":"type.googleapis.com/envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2",` + fields + `}}}`
	}
	endpoint := `"token_endpoint":{"uri":"https://idp/token","cluster":"idp","timeout":"1s"},`
	for config, want := range map[string]string{
		`{}`: "Credential",
		`{"credential":{"name":"c","typed_config":{"@type":"type.googleapis.com/google.protobuf.Empty"}}}`: "credential.typed_config.typed_config: the extension google.protobuf.Empty is not supported: there are Generic and OAuth2",
		generic("", ""):                                             `credential.typed_config.credential: the secret "key" has bytes that no header has`,
		generic("", `,"header":":path"`):                            "header: ",
		generic("", `,"header":"host"`):                             "header: \"host\"",
		generic("", `,"header_value_prefix":"a\n"`):                 "header_value_prefix",
		strings.Replace(generic("", ""), `"key"`, `"none"`, 1):      "credential.name: there is no",
		oauth(endpoint + `"client_credentials":{"client_id":"me"}`): "client_credentials.client_secret: is missing",
		oauth(`"client_credentials":{"client_id":"me"}`):            "TokenEndpoint",
		oauth(endpoint + `"client_credentials":{"client_id":"me","client_secret":{"name":"key"}},"endpoint_params":[{"name":"grant_type","value":"x"}]`):     "endpoint_params[0].name: grant_type is said by other fields",
		oauth(endpoint + `"client_credentials":{"client_id":"me","client_secret":{"name":"key"}},"endpoint_params":[{"name":"a","value":"x"},{"name":"a"}]`): "endpoint_params[1].name: a is said",
		oauth(endpoint + `"client_credentials":{"client_id":"me","client_secret":{"name":"key"}},"token_fetch_retry_interval":"0.5s"`):                       "TokenFetchRetryInterval",
	} {
		if _, err := rig.Compile(Extension(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// TestIsFree: a request costs no memory.
func TestIsFree(t *testing.T) {
	rig := newRig(t, "abc")
	rig.Add(Extension(), generic("", ""))
	if n := rig.Allocs(streamtest.Request{}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
