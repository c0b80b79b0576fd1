// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	awsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/aws/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/aws/sign"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Config says where credentials are searched for, in the order of the fields.
type Config struct {
	key    string // tells configurations apart
	region string // of the Security Token Service

	inline      *sign.Credentials // alone
	environment bool
	file        *profileFile
	role        *assumeRole
	anywhere    *anywhere
	web         *webIdentity
	container   bool
	instance    bool
}

// Inline is the configuration of credentials that are given.
func Inline(c sign.Credentials) *Config {
	return &Config{key: "inline\x00" + c.AccessKeyID + "\x00" + c.SecretAccessKey + "\x00" + c.SessionToken, inline: &c}
}

// Profile is the configuration of a profile of the shared credentials file alone.
func Profile(name string) *Config {
	return &Config{key: "profile\x00" + name, file: &profileFile{profile: name}}
}

// Compile compiles an AwsCredentialProvider, nil for Envoy's default chain. region is
// that of the Security Token Service.
func Compile(m *awsv3.AwsCredentialProvider, region string, warn func(path, reason string)) (*Config, error) {
	if m != nil {
		for _, p := range supported.Check(m, "") {
			if p.Severity == xds.Error {
				return nil, p
			}
			if warn != nil {
				warn(p.Path, p.Reason)
			}
		}
		if err := m.ValidateAll(); err != nil {
			return nil, err
		}
	}
	if in := m.GetInlineCredential(); in != nil {
		return Inline(sign.Credentials{AccessKeyID: in.GetAccessKeyId(), SecretAccessKey: in.GetSecretAccessKey(), SessionToken: in.GetSessionToken()}), nil
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	c := &Config{key: "chain\x00" + region + "\x00" + string(text), region: region}
	if m.GetCustomCredentialProviderChain() {
		return c, c.custom(m)
	}
	c.environment, c.container, c.instance = true, true, true
	c.file, c.web = &profileFile{}, &webIdentity{}
	if m.GetAssumeRoleCredentialProvider() != nil && warn != nil {
		warn("assume_role_credential_provider", "the default chain assumes no role: set custom_credential_provider_chain to true")
	}
	return c, c.fill(m)
}

// custom makes a chain of exactly what is configured.
func (c *Config) custom(m *awsv3.AwsCredentialProvider) error {
	c.environment = m.GetEnvironmentCredentialProvider() != nil
	c.container = m.GetContainerCredentialProvider() != nil
	c.instance = m.GetInstanceProfileCredentialProvider() != nil
	if m.GetCredentialsFileProvider() != nil {
		c.file = &profileFile{}
	}
	if m.GetAssumeRoleWithWebIdentityProvider() != nil {
		c.web = &webIdentity{}
	}
	if r := m.GetAssumeRoleCredentialProvider(); r != nil {
		if err := c.assume(r); err != nil {
			return fmt.Errorf("assume_role_credential_provider.%w", err)
		}
	}
	if !c.environment && !c.container && !c.instance && c.file == nil && c.web == nil && c.role == nil && m.GetIamRolesAnywhereCredentialProvider() == nil {
		return errors.New("custom_credential_provider_chain is true and no provider is set: set at least one")
	}
	return c.fill(m)
}

// fill sets the file, the web identity and IAM Roles Anywhere from their messages, if
// they are there.
func (c *Config) fill(m *awsv3.AwsCredentialProvider) error {
	if f := m.GetCredentialsFileProvider(); f != nil {
		from, err := dataSource(f.GetCredentialsDataSource())
		if err != nil {
			return fmt.Errorf("credentials_file_provider.credentials_data_source: %w", err)
		}
		c.file.from, c.file.profile = from, f.GetProfile()
	}
	if w := m.GetAssumeRoleWithWebIdentityProvider(); w != nil {
		token, err := dataSource(w.GetWebIdentityTokenDataSource())
		if err != nil {
			return fmt.Errorf("assume_role_with_web_identity_provider.web_identity_token_data_source: %w", err)
		}
		c.web.token, c.web.role, c.web.session = token, w.GetRoleArn(), w.GetRoleSessionName()
	}
	if m.GetIamRolesAnywhereCredentialProvider() == nil {
		return nil
	}
	var err error
	if c.anywhere, err = rolesAnywhere(m.GetIamRolesAnywhereCredentialProvider()); err != nil {
		return fmt.Errorf("iam_roles_anywhere_credential_provider.%w", err)
	}
	return nil
}

// rolesAnywhere compiles the settings of IAM Roles Anywhere. The region is that of the
// trust anchor.
func rolesAnywhere(m *awsv3.IAMRolesAnywhereCredentialProvider) (*anywhere, error) {
	a := &anywhere{role: m.GetRoleArn(), profile: m.GetProfileArn(), anchor: m.GetTrustAnchorArn(), session: m.GetRoleSessionName(), duration: m.GetSessionDuration().AsDuration()}
	parts := strings.SplitN(a.anchor, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" || parts[2] != "rolesanywhere" || !label(parts[3]) {
		return nil, fmt.Errorf("trust_anchor_arn: %q names no trust anchor: write it as arn:aws:rolesanywhere:REGION:ACCOUNT:trust-anchor/ID", a.anchor)
	}
	a.partition, a.region = parts[1], parts[3]
	for _, f := range []struct {
		name string
		from *corev3.DataSource
		to   **source
	}{
		{"certificate", m.GetCertificate(), &a.certificate},
		{"private_key", m.GetPrivateKey(), &a.key},
		{"certificate_chain", m.GetCertificateChain(), &a.chain},
	} {
		var err error
		if *f.to, err = dataSource(f.from); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return a, nil
}

// label tells whether a region can be part of a host's name.
func label(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') })
}

func (c *Config) assume(r *awsv3.AssumeRoleCredentialProvider) error {
	if !strings.HasPrefix(r.GetRoleArn(), "arn:") {
		return fmt.Errorf("role_arn: %q is not an ARN: write it as arn:aws:iam::ACCOUNT:role/NAME", r.GetRoleArn())
	}
	c.role = &assumeRole{role: r.GetRoleArn(), session: r.GetRoleSessionName(), external: r.GetExternalId(), duration: r.GetSessionDuration().AsDuration()}
	if r.GetCredentialProvider().GetAssumeRoleCredentialProvider() != nil {
		return errors.New("credential_provider.assume_role_credential_provider: a role is not assumed with the credentials of another role: leave it out")
	}
	var err error
	if c.role.base, err = Compile(r.GetCredentialProvider(), c.region, nil); err != nil {
		return fmt.Errorf("credential_provider.%w", err)
	}
	return nil
}

// dataSource compiles a DataSource; nil is nil. Files are read again and again, so that
// their watched_directory has nothing to add.
func dataSource(d *corev3.DataSource) (*source, error) {
	switch v := d.GetSpecifier().(type) {
	case nil:
		return nil, nil
	case *corev3.DataSource_Filename:
		return &source{file: v.Filename}, nil
	case *corev3.DataSource_EnvironmentVariable:
		return &source{env: v.EnvironmentVariable}, nil
	case *corev3.DataSource_InlineString:
		return &source{inline: v.InlineString}, nil
	case *corev3.DataSource_InlineBytes:
		return &source{inline: string(v.InlineBytes)}, nil
	}
	return nil, errors.New("is of an unknown kind: set filename, inline_string, inline_bytes or environment_variable")
}
