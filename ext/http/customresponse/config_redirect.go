// SPDX-License-Identifier: Apache-2.0

package customresponse

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	redirectpolicyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/redirect_policy/v3"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/route"
)

func newRedirect(m *redirectpolicyv3.RedirectPolicy, s *extension.Services) (*policy, error) {
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	if m.GetModifyRequestHeadersAction() != nil {
		return nil, errors.New("modify_request_headers_action: there are no such extensions: use request_headers_to_add")
	}
	out := &policy{status: int(m.GetStatusCode().GetValue())}
	var err error
	if a := m.GetRedirectAction(); a != nil {
		if out.to, err = actionTarget(a); err != nil {
			return nil, fmt.Errorf("redirect_action.%w", err)
		}
	} else if out.to, err = uriTarget(m.GetUri()); err != nil {
		return nil, fmt.Errorf("uri: %w", err)
	}
	if out.headers, err = route.CompileHeaders("response_headers_to_add", m.GetResponseHeadersToAdd(), formats(s)); err != nil {
		return nil, err
	}
	out.to.headers, err = route.CompileHeaders("request_headers_to_add", m.GetRequestHeadersToAdd(), formats(s))
	return out, err
}

func uriTarget(text string) (*target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not an absolute URL of http or https", text)
	}
	return &target{scheme: u.Scheme, host: u.Host, path: u.RequestURI(), strip: true}, nil
}

// maxPort is the highest there is.
const maxPort = 65535

func actionTarget(a *routev3.RedirectAction) (*target, error) {
	t := &target{host: a.GetHostRedirect(), path: a.GetPathRedirect(), strip: a.GetStripQuery()}
	switch x := a.GetSchemeRewriteSpecifier().(type) {
	case *routev3.RedirectAction_HttpsRedirect:
		if x.HttpsRedirect {
			t.scheme = "https"
		}
	case *routev3.RedirectAction_SchemeRedirect:
		if t.scheme = strings.ToLower(x.SchemeRedirect); t.scheme != "" && t.scheme != "http" && t.scheme != "https" {
			return nil, fmt.Errorf("scheme_redirect: %q is neither http nor https", x.SchemeRedirect)
		}
	}
	switch a.GetPathRewriteSpecifier().(type) {
	case nil, *routev3.RedirectAction_PathRedirect:
	default:
		return nil, errors.New("path_rewrite_specifier: only path_redirect is supported here")
	}
	switch {
	case t.host == "" && t.path == "":
		return nil, errors.New("host_redirect: is required, or path_redirect is: the response would be had from where it came from")
	case t.path != "" && !strings.HasPrefix(t.path, "/"):
		return nil, errors.New("path_redirect: does not begin with /")
	case strings.Contains(t.path, "#"):
		return nil, errors.New("path_redirect: has a fragment (#), which is for clients alone")
	case a.GetPortRedirect() > maxPort:
		return nil, fmt.Errorf("port_redirect: %d is no port", a.GetPortRedirect())
	case a.GetPortRedirect() > 0:
		t.port = fmt.Sprintf(":%d", a.GetPortRedirect())
	}
	return t, nil
}
