// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"os"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	urimatchv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

func (c *compiler) route(rc *routev3.Route, in *inherited) *Route {
	r := &Route{
		Name:        rc.GetName(),
		VirtualHost: in.vh,
		Metadata:    c.metadata(rc.GetMetadata()),
		StatPrefix:  rc.GetStatPrefix(),
		BufferLimit: c.bufferLimit(rc.GetPerRequestBufferLimitBytes(), rc.GetRequestBodyBufferLimit(), in.buffer),
	}
	own := &level{
		request:  c.mutations("request", rc.GetRequestHeadersToAdd(), rc.GetRequestHeadersToRemove()),
		response: c.mutations("response", rc.GetResponseHeadersToAdd(), rc.GetResponseHeadersToRemove()),
		filters:  c.filters(rc.GetTypedPerFilterConfig()),
	}
	r.levels = below(in.levels, own)
	if d := rc.GetDecorator(); d != nil {
		r.Decorator = &Decorator{Operation: d.GetOperation(), Propagate: boolOr(d.GetPropagate(), true)}
	}
	if rc.GetTracing() != nil {
		r.Tracing = c.at("tracing").tracing(rc.Tracing)
	}
	c.rejectSpecifiers(rc.GetRouteSpecifiers())
	mc := c.at("match")
	tpl := mc.matchPath(rc.GetMatch(), &r.path)
	r.cond = mc.conditions(rc.GetMatch())
	switch a := rc.GetAction().(type) {
	case *routev3.Route_Route:
		c.at("route").forward(a.Route, r, in, tpl)
		c.share(r, a.Route, in)
	case *routev3.Route_Redirect:
		r.Redirect = c.at("redirect").redirect(a.Redirect)
	case *routev3.Route_DirectResponse:
		r.Direct = c.at("direct_response").direct(a.DirectResponse)
	case *routev3.Route_NonForwardingAction:
		r.NonForwarding = true
	case *routev3.Route_FilterAction:
		c.at("filter_action").reject("is not implemented by Envoy either: use non_forwarding_action")
	default:
		c.reject("has no action: set route, redirect, direct_response or non_forwarding_action")
	}
	return r
}

// matchPath compiles the path specifier, and returns its template if it is
// one.
func (c *compiler) matchPath(m *routev3.RouteMatch, p *pathMatcher) *uriTemplate {
	p.fold = !boolOr(m.GetCaseSensitive(), true)
	switch s := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		p.kind, p.text = pathPrefix, s.Prefix
	case *routev3.RouteMatch_Path:
		p.kind, p.text = pathExact, s.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		p.kind, p.text = pathSeparated, s.PathSeparatedPrefix
		if s.PathSeparatedPrefix == "" || strings.ContainsAny(s.PathSeparatedPrefix, "?#") || strings.HasSuffix(s.PathSeparatedPrefix, "/") {
			c.at("path_separated_prefix").reject("%q is empty, ends in /, or has ? or #", s.PathSeparatedPrefix)
		}
	case *routev3.RouteMatch_SafeRegex:
		re, err := match.CompileRegex(s.SafeRegex)
		c.at("safe_regex").fail(err)
		p.kind, p.re = pathRegex, re
	case *routev3.RouteMatch_ConnectMatcher_:
		p.kind = pathConnect
	case *routev3.RouteMatch_PathMatchPolicy:
		return c.at("path_match_policy").matchTemplate(s.PathMatchPolicy, p)
	default:
		c.reject("has no path specifier: set prefix, path, path_separated_prefix, safe_regex or another")
	}
	if p.fold {
		p.text = lowerASCII(p.text)
	}
	return nil
}

func (c *compiler) matchTemplate(e *corev3.TypedExtensionConfig, p *pathMatcher) *uriTemplate {
	p.kind = pathTemplate
	var cfg urimatchv3.UriTemplateMatchConfig
	if !c.unmarshal(e.GetTypedConfig(), &cfg) {
		return nil
	}
	at := c.at("typed_config.path_template")
	t, err := parseTemplate(cfg.PathTemplate)
	if !at.fail(err) {
		return nil
	}
	p.re, err = t.matcher()
	at.fail(err)
	return t
}

// conditions compiles what a match asks beyond the path; nil if nothing.
func (c *compiler) conditions(m *routev3.RouteMatch) *conditions {
	n := &conditions{
		grpc:    m.GetGrpc() != nil,
		headers: c.headers("headers", m.GetHeaders()),
	}
	some := n.grpc || len(n.headers) > 0
	if m.GetRuntimeFraction() != nil {
		f := match.CompileRuntimeFraction(m.RuntimeFraction)
		n.runtime, some = &f, true
	}
	for i, q := range m.GetQueryParameters() {
		cm, err := match.CompileQuery(q)
		if c.at("query_parameters[%d]", i).fail(err) {
			n.queries, some = append(n.queries, cm), true
		}
	}
	for i, k := range m.GetCookies() {
		cm, err := match.CompileCookie(k)
		if c.at("cookies[%d]", i).fail(err) {
			n.cookies, some = append(n.cookies, cm), true
		}
	}
	if t := m.GetTlsContext(); t != nil {
		n.presented, n.validated = toggle(t.GetPresented()), toggle(t.GetValidated())
		some = true
	}
	for i, d := range m.GetDynamicMetadata() {
		cm, err := match.CompileMetadata(d)
		if c.at("dynamic_metadata[%d]", i).fail(err) {
			n.metadata, some = append(n.metadata, cm), true
		}
	}
	for i, f := range m.GetFilterState() {
		cm, err := match.CompileFilterState(f)
		if c.at("filter_state[%d]", i).fail(err) {
			n.state, some = append(n.state, cm), true
		}
	}
	if !some {
		return nil
	}
	return n
}

// redirectStatus returns the status of a response code, 0 for one not known.
func redirectStatus(code routev3.RedirectAction_RedirectResponseCode) int {
	switch code {
	case routev3.RedirectAction_MOVED_PERMANENTLY:
		return 301
	case routev3.RedirectAction_FOUND:
		return 302
	case routev3.RedirectAction_SEE_OTHER:
		return 303
	case routev3.RedirectAction_TEMPORARY_REDIRECT:
		return 307
	case routev3.RedirectAction_PERMANENT_REDIRECT:
		return 308
	}
	return 0
}

func (c *compiler) redirect(a *routev3.RedirectAction) *Redirect {
	r := &Redirect{
		Status: redirectStatus(a.GetResponseCode()),
		host:   a.GetHostRedirect(),
		strip:  a.GetStripQuery(),
	}
	if r.Status == 0 {
		c.at("response_code").reject("value %d is not known", a.GetResponseCode())
	}
	if !cleanLocation(r.host) {
		c.at("host_redirect").reject("has a line break or NUL")
	}
	if p := a.GetPortRedirect(); p > 65535 {
		c.at("port_redirect").reject("%d is no port", p)
	} else if p != 0 {
		r.port = fmt.Sprintf(":%d", p)
	}
	switch s := a.GetSchemeRewriteSpecifier().(type) {
	case *routev3.RedirectAction_HttpsRedirect:
		if s.HttpsRedirect {
			r.scheme = "https"
		}
	case *routev3.RedirectAction_SchemeRedirect:
		r.scheme = s.SchemeRedirect
	}
	switch s := a.GetPathRewriteSpecifier().(type) {
	case *routev3.RedirectAction_PathRedirect:
		if !cleanLocation(s.PathRedirect) {
			c.at("path_redirect").reject("has a line break or NUL")
		}
		if s.PathRedirect != "" {
			r.path = &value{text: s.PathRedirect}
			r.hasQuery = strings.Contains(s.PathRedirect, "?")
		}
	case *routev3.RedirectAction_PrefixRewrite:
		r.prefix = s.PrefixRewrite
	case *routev3.RedirectAction_RegexRewrite:
		w, err := match.CompileRewrite(s.RegexRewrite)
		c.at("regex_rewrite").fail(err)
		r.regex = w
	case *routev3.RedirectAction_PathRewrite:
		r.path = c.at("path_rewrite").format(s.PathRewrite)
		if r.path != nil {
			r.hasQuery = strings.Contains(r.path.text, "?")
		}
	}
	return r
}

func (c *compiler) direct(a *routev3.DirectResponseAction) *DirectResponse {
	d := &DirectResponse{Status: int(a.GetStatus())}
	if d.Status < 200 || d.Status > 599 {
		c.at("status").reject("%d is no status of a response: use 200 to 599", d.Status)
	}
	if a.GetBody() != nil {
		d.Body = c.at("body").source(a.Body)
	}
	if f := a.GetBodyFormat(); f != nil {
		at := c.at("body_format")
		if c.ctx.CompileBodyFormat == nil {
			at.reject("is not supported here: use body")
			return d
		}
		var err error
		d.Format, d.ContentType, err = c.ctx.CompileBodyFormat(f)
		at.fail(err)
	}
	return d
}

// source reads a data source, at most max_direct_response_body_size_bytes.
func (c *compiler) source(s *corev3.DataSource) []byte {
	if s.GetWatchedDirectory() != nil {
		c.at("watched_directory").warn("is not supported: the file is read once")
	}
	var body []byte
	switch v := s.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		body = []byte(v.InlineString)
	case *corev3.DataSource_InlineBytes:
		body = v.InlineBytes
	case *corev3.DataSource_Filename:
		b, err := c.ctx.ReadFile(v.Filename)
		c.at("filename").fail(err)
		body = b
	case *corev3.DataSource_EnvironmentVariable:
		text, ok := os.LookupEnv(v.EnvironmentVariable)
		if !ok {
			c.at("environment_variable").reject("%s is not set", v.EnvironmentVariable)
		}
		body = []byte(text)
	default:
		c.reject("is empty: set inline_string, inline_bytes, filename or environment_variable")
	}
	if uint64(len(body)) > c.maxBody {
		c.reject("body of %d bytes is over %d: raise max_direct_response_body_size_bytes", len(body), c.maxBody)
	}
	return body
}

func boolOr(b *wrapperspb.BoolValue, def bool) bool {
	if b == nil {
		return def
	}
	return b.Value
}

func toggle(b *wrapperspb.BoolValue) Toggle {
	switch {
	case b == nil:
		return Unset
	case b.Value:
		return Enabled
	}
	return Disabled
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = lower(b[i])
	}
	return string(b)
}

// requestHeader resolves the name of a request's header. Host is held as
// :authority, whatever the protocol.
func requestHeader(name string) header.Name {
	n := header.NewName(name)
	if n == header.Host {
		return header.Authority
	}
	return n
}
