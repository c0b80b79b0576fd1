// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpccredentialv3 "github.com/envoyproxy/go-control-plane/envoy/config/grpc_credential/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A token in a file is read for each stream, and is never sent in cleartext.
func TestFileMetadata(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	config, err := anypb.New(&grpccredentialv3.FileBasedMetadataConfig{
		SecretData: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: file}}, HeaderPrefix: "Bearer ",
	})
	if err != nil {
		t.Fatal(err)
	}
	plugin := func(config *anypb.Any) *corev3.GrpcService_GoogleGrpc_CallCredentials {
		return &corev3.GrpcService_GoogleGrpc_CallCredentials{CredentialSpecifier: &corev3.GrpcService_GoogleGrpc_CallCredentials_FromPlugin{
			FromPlugin: &corev3.GrpcService_GoogleGrpc_CallCredentials_MetadataCredentialsFromPlugin{
				ConfigType: &corev3.GrpcService_GoogleGrpc_CallCredentials_MetadataCredentialsFromPlugin_TypedConfig{TypedConfig: config},
			},
		}}
	}
	c, err := callCredentials(plugin(config))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetRequestMetadata(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "secret_data: ") {
		t.Errorf("without the file it is %v", err)
	}
	for _, token := range []string{"one", "two"} {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		md, err := c.GetRequestMetadata(t.Context())
		if err != nil || md["authorization"] != "Bearer "+token {
			t.Errorf("it says %v, %v", md, err)
		}
	}
	if !c.RequireTransportSecurity() {
		t.Error("a token may go in cleartext")
	}
	other, err := anypb.New(wrapperspb.Bool(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := callCredentials(plugin(other)); err == nil {
		t.Error("another plugin is taken")
	}
}
