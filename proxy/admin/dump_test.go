// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"strings"
	"testing"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	awsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/aws/v3"
	awslambdav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_lambda/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

const secret = "PRIVATE-MATERIAL"

func pack(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func inline(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

func tlsContext() *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{{
		CertificateChain: inline("PUBLIC-CHAIN"),
		PrivateKey:       &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(secret)}},
		Password:         inline(secret),
	}}}
}

// dumped is a proxy with a bootstrap, two clusters, a listener with a key in it and a secret.
func dumped(t testing.TB) *fake {
	f := newFake()
	listener := &listenerv3.Listener{Name: "l1", FilterChains: []*listenerv3.FilterChain{{
		TransportSocket: &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{
			TypedConfig: pack(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: tlsContext()}),
		}},
	}}}
	cluster := func(name string) *adminv3.ClustersConfigDump_StaticCluster {
		return &adminv3.ClustersConfigDump_StaticCluster{Cluster: pack(t, &clusterv3.Cluster{Name: name, AltStatName: "alt"})}
	}
	f.dump = []proto.Message{
		&adminv3.BootstrapConfigDump{Bootstrap: &bootstrapv3.Bootstrap{Node: &corev3.Node{Id: "n"}}},
		&adminv3.ClustersConfigDump{VersionInfo: "v1", StaticClusters: []*adminv3.ClustersConfigDump_StaticCluster{cluster("a"), cluster("b")}},
		&adminv3.ListenersConfigDump{DynamicListeners: []*adminv3.ListenersConfigDump_DynamicListener{{
			Name: "l1", ActiveState: &adminv3.ListenersConfigDump_DynamicListenerState{Listener: pack(t, listener)},
		}}},
		&adminv3.SecretsConfigDump{StaticSecrets: []*adminv3.SecretsConfigDump_StaticSecret{{Name: "s", Secret: pack(t, &tlsv3.Secret{
			Name: "s", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: tlsContext().GetTlsCertificates()[0]},
		})}}},
	}
	f.endpoints = &adminv3.EndpointsConfigDump{StaticEndpointConfigs: []*adminv3.EndpointsConfigDump_StaticEndpointConfig{
		{EndpointConfig: pack(t, &endpointv3.ClusterLoadAssignment{ClusterName: "a"})},
	}}
	return f
}

func configs(t *testing.T, body string) []proto.Message {
	t.Helper()
	var d adminv3.ConfigDump
	if err := protojson.Unmarshal([]byte(body), &d); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	var out []proto.Message
	for _, c := range d.GetConfigs() {
		m, err := c.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

func TestConfigDumpRedacts(t *testing.T) {
	f := dumped(t)
	before := proto.Clone(f.dump[2])
	for _, target := range []string{"/config_dump", "/config_dump?include_eds", "/config_dump?resource=static_secrets", "/config_dump?resource=dynamic_listeners"} {
		body := get(t, f, target)
		if strings.Contains(body, secret) || strings.Contains(body, "UFJJVkFURS1NQVRFUklBT") {
			t.Errorf("%s shows a secret:\n%s", target, body)
		}
		if !strings.Contains(body, `"inline_string": "[redacted]"`) || !strings.Contains(body, `"inline_bytes": "W3JlZGFjdGVkXQ=="`) {
			t.Errorf("%s does not say [redacted]:\n%s", target, body)
		}
		if !strings.Contains(body, "PUBLIC-CHAIN") {
			t.Errorf("%s hides the chain", target)
		}
	}
	if d := cmp.Diff(before, f.dump[2], protocmp.Transform()); d != "" {
		t.Errorf("the proxy's own message was changed:\n%s", d)
	}
}

func TestConfigDumpParts(t *testing.T) {
	tests := []struct {
		target string
		want   []string // type and names
	}{
		{"/config_dump", []string{"BootstrapConfigDump", "ClustersConfigDump", "ListenersConfigDump", "SecretsConfigDump"}},
		{"/config_dump?include_eds", []string{"BootstrapConfigDump", "ClustersConfigDump", "ListenersConfigDump", "SecretsConfigDump", "EndpointsConfigDump"}},
		{"/config_dump?mask=version_info", []string{"ClustersConfigDump", "ListenersConfigDump"}},
		{"/config_dump?resource=static_clusters", []string{"StaticCluster", "StaticCluster"}},
		{"/config_dump?resource=static_clusters&name_regex=b", []string{"StaticCluster"}},
		{"/config_dump?resource=dynamic_listeners&name_regex=l.", []string{"DynamicListener"}},
		{"/config_dump?resource=dynamic_listeners&name_regex=l", nil},
		{"/config_dump?resource=static_endpoint_configs&include_eds&name_regex=a", []string{"StaticEndpointConfig"}},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			var got []string
			for _, m := range configs(t, get(t, dumped(t), tt.target)) {
				got = append(got, string(m.ProtoReflect().Descriptor().Name()))
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestConfigDumpMask(t *testing.T) {
	got := configs(t, get(t, dumped(t), "/config_dump?resource=static_clusters&mask=cluster.name&name_regex=b"))
	want := []proto.Message{&adminv3.ClustersConfigDump_StaticCluster{Cluster: pack(t, &clusterv3.Cluster{Name: "b"})}}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	got = configs(t, get(t, dumped(t), "/config_dump?mask=bootstrap.node.id"))
	want = []proto.Message{&adminv3.BootstrapConfigDump{Bootstrap: &bootstrapv3.Bootstrap{Node: &corev3.Node{Id: "n"}}}}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestConfigDumpRefuses(t *testing.T) {
	tests := []struct {
		target string
		code   int
		want   string
	}{
		{"/config_dump?resource=bananas", 404, "bananas not found in config dump"},
		{"/config_dump?resource=version_info", 400, "version_info is not a repeated field. Use ?mask=version_info to get only this field"},
		{"/config_dump?resource=static_clusters&mask=cluster.bananas", 400, "FieldMask cluster.bananas could not be successfully used."},
		{"/config_dump?resource=static_clusters&mask=cluster.endpoints_.x", 400, "FieldMask cluster.endpoints_.x could not be successfully used."},
		{"/config_dump?mask=bananas", 400, "FieldMask bananas could not be successfully applied to any configs."},
		{"/config_dump?mask=static_clusters.cluster", 400, "FieldMask static_clusters.cluster could not be successfully applied to any configs."},
		{"/config_dump?name_regex=(", 400, "Error while parsing name_regex from (: "},
	}
	for _, tt := range tests {
		code, body, _ := ask(t, dumped(t), "GET", tt.target, "")
		if code != tt.code || !strings.HasPrefix(body, tt.want) {
			t.Errorf("%s: %d %q, want %d %q", tt.target, code, body, tt.code, tt.want)
		}
	}
}

func TestRedactForms(t *testing.T) {
	value := func(js string) *structpb.Struct {
		var s structpb.Struct
		if err := protojson.Unmarshal([]byte(js), &s); err != nil {
			t.Fatal(err)
		}
		return &s
	}
	const keyJSON = `{"common_tls_context":{"tls_certificates":[{"private_key":{"inline_string":"` + secret + `"}}]},"require_sni":true}`
	tests := []struct {
		name string
		in   proto.Message
		want string
	}{
		{"typed struct", &xdstypev3.TypedStruct{TypeUrl: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", Value: value(keyJSON)},
			`{"type_url":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext","value":{"common_tls_context":{"tls_certificates":[{"private_key":{"inline_string":"[redacted]"}}]},"require_sni":true}}`},
		{"unknown typed struct", &xdstypev3.TypedStruct{TypeUrl: "x.y/z", Value: value(`{"a":"` + secret + `","n":5,"l":[{"b":true}]}`)},
			`{"type_url":"x.y/z","value":{"a":"[redacted]","n":"[redacted]","l":[{"b":"[redacted]"}]}}`},
		{"unknown any", &anypb.Any{TypeUrl: "x.y/z", Value: []byte(secret)},
			`{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"note":"not shown: the type is unknown or its bytes are broken","type_url":"x.y/z"}}`},
		{"broken any", &anypb.Any{TypeUrl: "type.googleapis.com/envoy.config.core.v3.Node", Value: []byte{0xff}},
			`{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"note":"not shown: the type is unknown or its bytes are broken","type_url":"type.googleapis.com/envoy.config.core.v3.Node"}}`},
		{"keys of AWS", &awslambdav3.Credentials{AccessKeyId: "id", SecretAccessKey: secret, SessionToken: secret},
			`{"access_key_id":"id","secret_access_key":"[redacted]","session_token":"[redacted]"}`},
		{"sources of keys of AWS", &awsv3.AwsCredentialProvider{
			InlineCredential:                  &awsv3.InlineCredentialProvider{AccessKeyId: "id", SecretAccessKey: secret, SessionToken: secret},
			CredentialsFileProvider:           &awsv3.CredentialsFileCredentialProvider{CredentialsDataSource: inline(secret)},
			AssumeRoleWithWebIdentityProvider: &awsv3.AssumeRoleWithWebIdentityCredentialProvider{WebIdentityTokenDataSource: inline(secret)},
		}, `{"inline_credential":{"access_key_id":"id","secret_access_key":"[redacted]","session_token":"[redacted]"},"credentials_file_provider":{"credentials_data_source":{"inline_string":"[redacted]"}},` +
			`"assume_role_with_web_identity_provider":{"web_identity_token_data_source":{"inline_string":"[redacted]"}}}`},
		{"harmless", &corev3.Node{Id: "n", Metadata: value(`{"k":"v"}`)}, `{"id":"n","metadata":{"k":"v"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			redact(tt.in.ProtoReflect(), false)
			raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if json.Unmarshal(raw, &got) != nil || json.Unmarshal([]byte(tt.want), &want) != nil {
				t.Fatal("not JSON")
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// FuzzConfigDump asks with any parameters: none may make it panic or show a secret.
func FuzzConfigDump(f *testing.F) {
	f.Add("static_clusters", "cluster.name", "a|b")
	f.Add("", "bootstrap.node.metadata.fields", "")
	f.Add("dynamic_listeners", "active_state.listener.filter_chains", "l1")
	f.Fuzz(func(t *testing.T, resource, mask, names string) {
		s := dumped(t)
		a := New(Config{}, s)
		r := newRequest("/config_dump", map[string]string{"resource": resource, "mask": mask, "name_regex": names, "include_eds": ""})
		w := newRecorder()
		a.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("shows a secret: %s", w.Body)
		}
	})
}
