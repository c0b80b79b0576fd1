// SPDX-License-Identifier: Apache-2.0

package credentialinjector

import (
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	credentialinjectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	injectedoauth2v3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/oauth2/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/oauth"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.credential_injector"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{Name: Name, Config: &credentialinjectorv3.CredentialInjector{}, New: newFilter, Place: extension.Anywhere}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*credentialinjectorv3.CredentialInjector)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a CredentialInjector", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	k := compiler{c, c.Warn("credential injector", "filter", c.Name)}
	if err := supported.Apply(m, "", k.warn); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	f := &Filter{overwrite: m.GetOverwrite(), without: m.GetAllowRequestWithoutCredential(), header: header.Authorization}
	if err := k.credential(f, m); err != nil {
		return nil, fmt.Errorf("credential.typed_config.%w", err)
	}
	f.bound = []header.Name{f.header}
	f.stats = stats.Register[Stats](c.Scope.Scope("credential_injector"), len(c.Loops))
	c.Own(f.stats.Close)
	return f, nil
}

type compiler struct {
	*extension.HTTP
	warn func(path, reason string)
}

func (k compiler) credential(f *Filter, m *credentialinjectorv3.CredentialInjector) error {
	a := m.GetCredential().GetTypedConfig()
	if g, ok, err := extension.Decode(a, &genericv3.Generic{}); ok || err != nil {
		if err != nil {
			return err
		}
		return k.generic(f, g.(*genericv3.Generic))
	}
	if o, ok, err := extension.Decode(a, &injectedoauth2v3.OAuth2{}); ok || err != nil {
		if err != nil {
			return err
		}
		return k.oauth2(f, o.(*injectedoauth2v3.OAuth2))
	}
	return fmt.Errorf("%w: there are Generic and OAuth2", extension.Unknown(a))
}

// generic has the filter inject a secret.
func (k compiler) generic(f *Filter, m *genericv3.Generic) error {
	if err := supported.Apply(m, "", k.warn); err != nil {
		return err
	}
	if err := m.ValidateAll(); err != nil {
		return err
	}
	if n := m.GetHeader(); n != "" {
		var err error
		if f.header, err = header.ParseName(n); err != nil {
			return fmt.Errorf("header: %w", err)
		}
	}
	slot, err := k.Secrets.Named(m.GetCredential(), secret.KindGeneric)
	if err != nil {
		return fmt.Errorf("credential.%w", err)
	}
	prefix := m.GetHeaderValuePrefix()
	if !valid(prefix) {
		return errors.New("header_value_prefix: has bytes that no header has")
	}
	v, err := secret.NewParsed(slot, func(v *secret.Value) (string, error) {
		if v == nil || len(v.Generic[""]) == 0 {
			return "", nil
		}
		// Files end with a line break that is not meant.
		text := strings.TrimRight(string(v.Generic[""]), "\r\n")
		if !valid(text) {
			return "", errors.New("has bytes that no header has, such as a line break")
		}
		return prefix + text, nil
	}, k.Log("credential_injector"))
	if err != nil {
		return fmt.Errorf("credential: the secret %q %w", m.GetCredential().GetName(), err)
	}
	f.value = v.Load
	return nil
}

// valid reports whether a text may be in the value of a field (RFC 9110 §5.5).
func valid(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// Defaults of OAuth2.
const (
	defaultTimeout = 10 * time.Second
	defaultRetry   = 2 * time.Second
)

// oauth2 has the filter inject tokens of the client's own.
func (k compiler) oauth2(f *Filter, m *injectedoauth2v3.OAuth2) error {
	if err := supported.Apply(m, "", k.warn); err != nil {
		return err
	}
	if err := m.ValidateAll(); err != nil {
		return err
	}
	service, err := call.CompileURI(m.GetTokenEndpoint())
	if err != nil {
		return fmt.Errorf("token_endpoint.%w", err)
	}
	service.Limit = oauth.MaxAnswer
	if service.Timeout <= 0 {
		service.Timeout = defaultTimeout
	}
	cc := m.GetClientCredentials()
	caller := call.New(k.Loops, k.Clusters)
	client := &oauth.Client{Calls: caller.Client(service), ID: cc.GetClientId(), Method: methods[cc.GetAuthType()]}
	if client.Method != oauth.TLS {
		if cc.GetClientSecret() == nil {
			return fmt.Errorf("client_credentials.client_secret: is missing: auth_type %s needs it", cc.GetAuthType())
		}
		if client.Secret, err = k.Secrets.Named(cc.GetClientSecret(), secret.KindGeneric); err != nil {
			return fmt.Errorf("client_credentials.client_secret.%w", err)
		}
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(m.GetScopes()) > 0 {
		form.Set("scope", strings.Join(m.GetScopes(), " "))
	}
	for i, p := range m.GetEndpointParams() {
		if form.Has(p.GetName()) || p.GetName() == "client_id" || p.GetName() == "client_secret" {
			return fmt.Errorf("endpoint_params[%d].name: %s is said by other fields, or twice: remove it", i, p.GetName())
		}
		form.Set(p.GetName(), p.GetValue())
	}
	t := &tokens{client: client, caller: caller, form: form, retry: defaultRetry, log: k.Log("credential_injector")}
	if d := m.GetTokenFetchRetryInterval(); d != nil {
		t.retry = d.AsDuration()
	}
	counts := stats.Register[TokenStats](k.Scope.Scope("credential_injector.oauth2"), 1)
	k.Own(counts.Close)
	t.count = counts.At(0)
	f.value = t.load
	if !k.Checking {
		if k.Await != nil {
			w, ready := k.Resources.Pending("OAuth2 token", m.GetTokenEndpoint().GetUri())
			k.Await(w)
			t.ready = ready
		}
		t.start()
		k.Own(t.close)
	}
	return nil
}

var methods = map[injectedoauth2v3.OAuth2_AuthType]oauth.Method{
	injectedoauth2v3.OAuth2_BASIC_AUTH:       oauth.Basic,
	injectedoauth2v3.OAuth2_URL_ENCODED_BODY: oauth.Body,
	injectedoauth2v3.OAuth2_TLS_CLIENT_AUTH:  oauth.TLS,
}
