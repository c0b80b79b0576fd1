// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	awsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/aws/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/proxy/aws/awstest"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &awsv3.AwsCredentialProvider{})
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func environment(values map[string]string) Environment {
	return Environment{Getenv: func(name string) string { return values[name] }}
}

const file = `
# a comment
[default]
aws_access_key_id = FILE
aws_secret_access_key=s3cret=
[other]
AWS_ACCESS_KEY_ID=OTHER
AWS_SECRET_ACCESS_KEY = x
aws_session_token = t
[half]
aws_access_key_id = HALF
`

// TestSources finds credentials in each of their places, in Envoy's order.
func TestSources(t *testing.T) {
	account := awstest.NewAccount()
	iss := awstest.NewIssuer(t, account)
	credentials, token, agent := write(t, file), write(t, awstest.WebIdentityToken+"\n"), write(t, awstest.AgentToken+"\n")
	env := map[string]string{"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
	shared := map[string]string{"AWS_SHARED_CREDENTIALS_FILE": credentials}
	sts := map[string]string{"AWS_ENDPOINT_URL_STS": iss.URL}
	irsa := map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::1:role/web", "AWS_ROLE_SESSION_NAME": "s"}
	pod := map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": iss.URL + "/agent", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": agent}
	ecs := map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": iss.URL + "/agent", "AWS_CONTAINER_AUTHORIZATION_TOKEN": awstest.AgentToken}
	ec2 := map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": iss.URL}
	tests := []struct {
		name   string
		config string // "" is the default chain
		env    []map[string]string
		key    string // prefix of the access key; "" is none
		asked  string // the last thing that was asked
		err    string
	}{
		{"environment first", "", []map[string]string{env, shared, sts, irsa, pod, ec2}, "ENV", "", ""},
		{"then the file", "", []map[string]string{shared, sts, irsa, pod, ec2}, "FILE", "", ""},
		{"of the profile", "", []map[string]string{shared, {"AWS_PROFILE": "other"}}, "OTHER", "", ""},
		{"then web identity", "", []map[string]string{sts, irsa, pod, ec2}, "STS", "AssumeRoleWithWebIdentity arn:aws:iam::1:role/web s", ""},
		{"then the pod's agent", "", []map[string]string{sts, pod, ec2}, "AGENT", "AGENT", ""},
		{"or the task's", "", []map[string]string{ecs, ec2}, "AGENT", "AGENT", ""},
		{"then the instance", "", []map[string]string{ec2}, "IMDS", "IMDS", ""},
		{"the instance may be off", "", []map[string]string{ec2, {"AWS_EC2_METADATA_DISABLED": "true"}}, "", "", "environment: not there: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set\ncredentials file: not there: /.aws/credentials\n" +
			"web identity: not there: AWS_WEB_IDENTITY_TOKEN_FILE is not set\ncontainer: not there: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set\n" +
			"instance metadata: not there: AWS_EC2_METADATA_DISABLED is true"},
		{"what fails is passed over", "", []map[string]string{sts, irsa, ec2, {"AWS_WEB_IDENTITY_TOKEN_FILE": credentials}}, "IMDS", "IMDS", ""},
		{"half a profile", "", []map[string]string{shared, {"AWS_PROFILE": "half", "AWS_EC2_METADATA_DISABLED": "true"}}, "", "", "credentials file: the profile [half] lacks"},
		{"no profile", "", []map[string]string{shared, {"AWS_PROFILE": "none", "AWS_EC2_METADATA_DISABLED": "true"}}, "", "", "the file has no profile [none]"},
		{"an agent far away", "", []map[string]string{{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://10.0.0.1/x", "AWS_EC2_METADATA_DISABLED": "true"}}, "", "", `container: AWS_CONTAINER_CREDENTIALS_FULL_URI: "http://10.0.0.1/x" is neither https nor`},
		{"default chain with another file", `{"credentials_file_provider":{"credentials_data_source":{"inline_string":"[p]\naws_access_key_id=INLINE\naws_secret_access_key=x"},"profile":"p"}}`, []map[string]string{shared}, "INLINE", "", ""},
		{"default chain with another role", `{"assume_role_with_web_identity_provider":{"role_arn":"arn:aws:iam::2:role/x","role_session_name":"mine"}}`, []map[string]string{sts, irsa}, "STS", "AssumeRoleWithWebIdentity arn:aws:iam::2:role/x mine", ""},
		{"a token of its own", `{"assume_role_with_web_identity_provider":{"role_arn":"arn:aws:iam::2:role/x","role_session_name":"mine","web_identity_token_data_source":{"environment_variable":"T"}}}`, []map[string]string{sts, {"T": awstest.WebIdentityToken}}, "STS", "AssumeRoleWithWebIdentity arn:aws:iam::2:role/x mine", ""},
		{"a chain of one", `{"custom_credential_provider_chain":true,"instance_profile_credential_provider":{}}`, []map[string]string{env, shared, ec2}, "IMDS", "IMDS", ""},
		{"a chain of the environment", `{"custom_credential_provider_chain":true,"environment_credential_provider":{}}`, []map[string]string{shared, ec2}, "", "", "environment: not there"},
		{"a role assumed", `{"custom_credential_provider_chain":true,"assume_role_credential_provider":{"role_arn":"arn:aws:iam::2:role/x","role_session_name":"mine","external_id":"ext","session_duration":"1800s",
			"credential_provider":{"inline_credential":{"access_key_id":"AKIDEXAMPLE","secret_access_key":"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}}}}`, []map[string]string{sts}, "STS", "AssumeRole arn:aws:iam::2:role/x mine ext 1800", ""},
		{"a role assumed with what the instance has", `{"custom_credential_provider_chain":true,"assume_role_credential_provider":{"role_arn":"arn:aws:iam::2:role/x","role_session_name":"mine"}}`, []map[string]string{sts, ec2}, "STS", "AssumeRole arn:aws:iam::2:role/x mine  3600", ""},
		{"a role that may not be assumed", `{"custom_credential_provider_chain":true,"assume_role_credential_provider":{"role_arn":"arn:aws:iam::2:role/x","credential_provider":{"inline_credential":{"access_key_id":"AKIDEXAMPLE","secret_access_key":"wrong"}}}}`, []map[string]string{sts}, "", "refused: SignatureDoesNotMatch", "assume role: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			values := map[string]string{"HOME": "/"}
			for _, e := range tt.env {
				maps.Copy(values, e)
			}
			c, err := compile(tt.config, nil)
			if err != nil {
				t.Fatal(err)
			}
			e := environment(values)
			f := finder{steps: c.chain(&e)}
			got, err := f.find(t.Context(), false)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v\nwant %s", err, tt.err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if tt.key != "" && (got == nil || !strings.HasPrefix(got.creds.AccessKeyID, tt.key)) {
				t.Errorf("%+v", got)
			}
			if asked := iss.Asked(); tt.asked != "" && asked[len(asked)-1] != tt.asked {
				t.Errorf("asked: %q", asked)
			}
			switch tt.key {
			case "STS", "IMDS", "AGENT":
				if left := time.Until(got.expires); left < 50*time.Minute || got.creds.SessionToken == "" {
					t.Errorf("%+v", got)
				}
			}
		})
	}
}

// TestRotatedToken: the file of the token is read for every call.
func TestRotatedToken(t *testing.T) {
	iss := awstest.NewIssuer(t, awstest.NewAccount())
	token := write(t, awstest.WebIdentityToken)
	e := environment(map[string]string{"AWS_ENDPOINT_URL_STS": iss.URL, "AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::1:role/web"})
	w := &webIdentity{}
	if _, err := w.find(t.Context(), &e, "us-east-1"); err != nil {
		t.Fatal(err)
	}
	iss.Rotate("another")
	if _, err := w.find(t.Context(), &e, "us-east-1"); err == nil {
		t.Error("an old token is taken")
	}
	if err := os.WriteFile(token, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.find(t.Context(), &e, "us-east-1"); err != nil {
		t.Error(err)
	}
}

func TestExpiredAnswer(t *testing.T) {
	iss := awstest.NewIssuer(t, awstest.NewAccount())
	iss.Life(-time.Minute)
	e := environment(map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": iss.URL})
	f := finder{steps: []step{{"instance metadata", "", e.instance}}}
	if _, err := f.find(context.Background(), false); err == nil || !strings.Contains(err.Error(), "had expired") {
		t.Errorf("%v", err)
	}
}

// TestStats: services are counted under Envoy's names, and what is not set up is not.
func TestStats(t *testing.T) {
	iss := awstest.NewIssuer(t, awstest.NewAccount())
	e := environment(map[string]string{
		"HOME": "/", "AWS_ENDPOINT_URL_STS": iss.URL, "AWS_WEB_IDENTITY_TOKEN_FILE": write(t, "wrong"), "AWS_ROLE_ARN": "arn:aws:iam::1:role/web", "AWS_EC2_METADATA_SERVICE_ENDPOINT": iss.URL,
	})
	c, err := compile("", nil)
	if err != nil {
		t.Fatal(err)
	}
	store := stats.NewStore()
	f := finder{steps: c.chain(&e), stats: store}
	if _, err := f.find(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	store.Visit(func(m stats.Metric) { got[strings.TrimPrefix(m.Name, "aws.metadata_credentials_provider.")] = m.Count })
	want := map[string]uint64{
		"sts_token_service_internal-us-west-2.credential_refreshes_performed": 1, "sts_token_service_internal-us-west-2.credential_refreshes_failed": 1,
		"ec2_instance_metadata_server_internal.credential_refreshes_performed": 1, "ec2_instance_metadata_server_internal.credential_refreshes_succeeded": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestEndpointOfSTS(t *testing.T) {
	e := environment(nil)
	for region, want := range map[string]string{"us-west-2": "us-west-2", "eu-west-1,us-*": "eu-west-1", "us-*": "aws-global", "*": "aws-global", "": "aws-global", "cn-north-1": "cn-north-1"} {
		if got := e.sts(region, nil).Options().Region; got != want {
			t.Errorf("%q: %q", region, got)
		}
	}
}

func compile(config string, warn func(path, reason string)) (*Config, error) {
	if config == "" {
		return Compile(nil, "us-west-2", warn)
	}
	m := &awsv3.AwsCredentialProvider{}
	if err := protojson.Unmarshal([]byte(config), m); err != nil {
		return nil, err
	}
	return Compile(m, "us-west-2", warn)
}

func TestRefused(t *testing.T) {
	for config, want := range map[string]string{
		`{"custom_credential_provider_chain":true}`:                       "no provider is set: set at least one",
		`{"inline_credential":{"access_key_id":"a"}}`:                     "InlineCredential",
		`{"iam_roles_anywhere_credential_provider":{"role_arn":"arn:x"}}`: "IamRolesAnywhereCredentialProvider",
		`{"iam_roles_anywhere_credential_provider":{"role_arn":"a","profile_arn":"b","trust_anchor_arn":"arn:aws:rolesanywhere:evil.example/:1:x","certificate":{"inline_string":"c"},"private_key":{"inline_string":"k"}}}`: "iam_roles_anywhere_credential_provider.trust_anchor_arn: ",
		`{"config_credential_provider":{}}`: "use credentials_file_provider",
		`{"custom_credential_provider_chain":true,"assume_role_credential_provider":{"role_arn":"x"}}`:                                                                                                                            `role_arn: "x" is not an ARN`,
		`{"custom_credential_provider_chain":true,"assume_role_credential_provider":{"role_arn":"arn:x","session_duration":"60s"}}`:                                                                                               "[15m0s, 12h0m0s]",
		`{"custom_credential_provider_chain":true,"assume_role_credential_provider":{"role_arn":"arn:x","credential_provider":{"custom_credential_provider_chain":true,"assume_role_credential_provider":{"role_arn":"arn:y"}}}}`: "leave it out",
	} {
		if _, err := compile(config, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
	told := ""
	if _, err := compile(`{"assume_role_credential_provider":{"role_arn":"arn:x"}}`, func(path, _ string) { told = path }); err != nil || told != "assume_role_credential_provider" {
		t.Errorf("%q, %v", told, err)
	}
}

func TestRegion(t *testing.T) {
	credentials := write(t, "[default]\nregion = file\n[p]\nx=y")
	config := write(t, "[default]\nregion = config\nsigv4a_signing_region_set=us-*\n[profile p]\nregion = profile")
	tests := []struct {
		env         map[string]string
		region, set string
	}{
		{map[string]string{"AWS_REGION": "env", "AWS_DEFAULT_REGION": "default", "AWS_SIGV4A_SIGNING_REGION_SET": "*"}, "env", "*"},
		{map[string]string{"AWS_DEFAULT_REGION": "default", "AWS_SHARED_CREDENTIALS_FILE": credentials}, "default", ""},
		{map[string]string{"AWS_SHARED_CREDENTIALS_FILE": credentials, "AWS_CONFIG_FILE": config}, "file", "us-*"},
		{map[string]string{"AWS_SHARED_CREDENTIALS_FILE": credentials, "AWS_CONFIG_FILE": config, "AWS_PROFILE": "p"}, "profile", ""},
		{map[string]string{"HOME": "/none"}, "", ""},
	}
	for _, tt := range tests {
		s := NewSet(environment(tt.env))
		region, err := s.Region()
		if region != tt.region || (err == nil) != (region != "") {
			t.Errorf("%v: %q, %v", tt.env, region, err)
		}
		if set, err := s.RegionSet(); set != tt.set || (err == nil) != (set != "") {
			t.Errorf("%v: %q, %v", tt.env, set, err)
		}
	}
}

func FuzzSection(f *testing.F) {
	f.Add(file, "default")
	f.Add("[a\n]\n=\n[ a ]\nb", "a")
	f.Fuzz(func(t *testing.T, text, name string) {
		values, ok := section(text, name)
		if ok == (values == nil) {
			t.Errorf("%v, %v", values, ok)
		}
	})
}
