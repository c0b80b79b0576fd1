// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	apikeyauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/htpasswd"
	"weir.dev/weir/internal/memo"
)

// htpasswdKey is where a Secret has users and passwords.
const htpasswdKey = ".htpasswd"

// basicAuth asks for names and passwords.
func (x *compiledSecurity) basicAuth(c *memo.Ctx, owner source.Name, b *api.BasicAuth) {
	if b == nil {
		return
	}
	o := secretOf(c, &x.Sheet, "basicAuth.users", source.Key{Kind: source.SecurityPolicy, Name: owner}, b.Users)
	if o == nil {
		return
	}
	users := o.Data[htpasswdKey]
	if _, err := htpasswd.Parse(users); err != nil || len(users) == 0 {
		if err == nil {
			err = fmt.Errorf("is not there, or empty")
		}
		x.Bad("basicAuth.users", "%s of Secret %s: %v", htpasswdKey, source.NameOf(o), err)
		return
	}
	// Who is let in is a route's to say, how backends are told who it is the filter's.
	name, header := build.BasicAuth, ptr.Deref(b.ForwardUsernameHeader, "")
	if header != "" {
		if !validHeader(header) {
			x.Bad("basicAuth.forwardUsernameHeader", "%q is not the name of a header", header)
			return
		}
		name = build.Instance(name, strings.ToLower(header))
	}
	perFilter(x.route, name, build.Users(string(users)))
	x.filters[name] = build.Basic(header)
}

// apiKeyAuth asks for keys.
func (x *compiledSecurity) apiKeyAuth(c *memo.Ctx, owner source.Name, a *api.APIKeyAuth) {
	if a == nil {
		return
	}
	out := &apikeyauthv3.ApiKeyAuthPerRoute{}
	known, of := map[string]bool{}, map[string]string{}
	for i, ref := range a.CredentialRefs {
		path := fmt.Sprintf("apiKeyAuth.credentialRefs[%d]", i)
		o := secretOf(c, &x.Sheet, path, source.Key{Kind: source.SecurityPolicy, Name: owner}, ref)
		if o == nil {
			continue
		}
		for _, client := range slices.Sorted(maps.Keys(o.Data)) {
			key := string(o.Data[client])
			switch {
			case known[client]: // The first counts.
				continue
			case key == "":
				x.Bad(path, "the key of client %s of Secret %s is empty", client, source.NameOf(o))
			case of[key] != "":
				x.Bad(path, "clients %s and %s have the same key: each key is one client's", of[key], client)
			default:
				out.Credentials = append(out.Credentials, &apikeyauthv3.Credential{Key: key, Client: client})
			}
			known[client], of[key] = true, client
		}
	}
	if len(a.CredentialRefs) == 0 {
		x.Bad("apiKeyAuth.credentialRefs", "is empty: name the Secrets that have the keys")
	}
	for i, from := range a.ExtractFrom {
		for _, h := range from.Headers {
			if !validHeader(h) {
				x.Bad(fmt.Sprintf("apiKeyAuth.extractFrom[%d].headers", i), "%q is not the name of a header", h)
			}
			out.KeySources = append(out.KeySources, &apikeyauthv3.KeySource{Header: h})
		}
		if slices.Contains(from.Params, "") || slices.Contains(from.Cookies, "") {
			x.Bad(fmt.Sprintf("apiKeyAuth.extractFrom[%d]", i), "has a parameter or a cookie without a name")
		}
		for _, p := range from.Params {
			out.KeySources = append(out.KeySources, &apikeyauthv3.KeySource{Query: p})
		}
		for _, k := range from.Cookies {
			out.KeySources = append(out.KeySources, &apikeyauthv3.KeySource{Cookie: k})
		}
	}
	if len(out.KeySources) == 0 {
		x.Bad("apiKeyAuth.extractFrom", "names neither headers nor params nor cookies: say where requests have their keys")
	}
	if h := ptr.Deref(a.ForwardClientIDHeader, ""); h != "" || ptr.Deref(a.Sanitize, false) {
		if h != "" && !validHeader(h) {
			x.Bad("apiKeyAuth.forwardClientIDHeader", "%q is not the name of a header", h)
		}
		out.Forwarding = &apikeyauthv3.Forwarding{Header: h, HideCredentials: ptr.Deref(a.Sanitize, false)}
	}
	if err := out.ValidateAll(); err != nil && len(x.Refused) == 0 {
		x.Bad("apiKeyAuth", "cannot be done: %v", err)
	}
	perFilter(x.route, build.APIKeyAuth, build.Any(out))
	x.filters[build.APIKeyAuth] = &apikeyauthv3.ApiKeyAuth{}
}

// secretOf returns the Secret that an object of a policy's refers to; nil if it cannot
// be had, which it says.
func secretOf(c *memo.Ctx, s *sheet.Sheet, at string, owner source.Key, ref gwapiv1.SecretObjectReference) *corev1.Secret {
	key := source.Key{Kind: source.Secret, Name: source.Name{Namespace: string(ptr.Deref(ref.Namespace, gwapiv1.Namespace(owner.Namespace))), Name: string(ref.Name)}}
	if ptr.Deref(ref.Kind, "Secret") != "Secret" || ptr.Deref(ref.Group, "") != "" {
		s.Bad(at, "%s cannot hold it: refer to a Secret", source.A(string(*ref.Kind)))
		return nil
	}
	if !attach.Granted(c, owner.Kind, owner.Namespace, key) {
		s.Bad(at, "%s is in another namespace, and no ReferenceGrant in %s allows %s of %s to refer to it", key, key.Namespace, source.A(owner.Kind.Kind), owner.Namespace)
		return nil
	}
	o, ok := source.Get[*corev1.Secret](c, source.Secret, key.Name)
	if !ok {
		s.Bad(at, "there is no %s", key)
		return nil
	}
	return o
}

// validHeader reports whether a text is the name of a header that is read or set here: what
// Host is says which host is asked.
func validHeader(text string) bool { return build.FieldName(text) && !strings.EqualFold(text, "host") }
