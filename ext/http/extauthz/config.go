// SPDX-License-Identifier: Apache-2.0

package extauthz

import (
	"cmp"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	ext "weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.ext_authz"

// defaultTimeout bounds a call where the configuration does not.
const defaultTimeout = 200 * time.Millisecond

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension returns the filter's place in a registry.
func Extension() ext.HTTPFilter {
	return ext.HTTPFilter{
		Name: Name, Config: &extauthzv3.ExtAuthz{}, New: newFilter,
		Route: &extauthzv3.ExtAuthzPerRoute{}, NewRoute: newRoute,
	}
}

func newFilter(cfg proto.Message, c *ext.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*extauthzv3.ExtAuthz)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not an ExtAuthz", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	k := compiler{c.Services, c.Warn("external authorization filter", "filter", c.Name)}
	s, err := k.settings(m)
	if err != nil {
		return nil, err
	}
	scope := "ext_authz."
	if p := m.GetStatPrefix(); p != "" {
		scope += stats.Sanitize(p) + "."
	}
	f := &Filter{
		name: c.Name, slot: c.Slot, own: s, runtime: c.Runtime, clusters: c.Clusters, log: c.Log("http"),
		stats: stats.Register[Stats](c.Scope.Scope(scope), len(c.Loops)),
	}
	c.Own(f.stats.Close)
	return f, nil
}

func newRoute(cfg proto.Message, s *ext.Services) (any, error) {
	m, ok := cfg.(*extauthzv3.ExtAuthzPerRoute)
	if !ok {
		return nil, fmt.Errorf("%s: per-route configuration is a %s, not an ExtAuthzPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	k := compiler{s, s.Warn("external authorization of a route")}
	if err := supported.Apply(m, "", k.warn); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	cs := m.GetCheckSettings()
	out := &RouteSettings{disabled: m.GetDisabled(), noBody: cs.GetDisableRequestBodyBuffering()}
	for key, v := range cs.GetContextExtensions() {
		out.extensions = append(out.extensions, extension{key, v})
	}
	slices.SortFunc(out.extensions, func(a, b extension) int { return cmp.Compare(a.key, b.key) })
	if b := cs.GetWithRequestBody(); b != nil {
		if out.noBody {
			return nil, errors.New("check_settings: disable_request_body_buffering and with_request_body say the opposite: remove one")
		}
		o := bufferingOf(b)
		out.buffering = &o
	}
	var err error
	if cs.GetServiceOverride() != nil {
		if out.service, err = k.service(cs.GetGrpcService(), cs.GetHttpService()); err != nil {
			return nil, fmt.Errorf("check_settings.%w", err)
		}
	}
	return out, nil
}

// compiler compiles one configuration.
type compiler struct {
	*ext.Services
	warn func(path, reason string)
}

func (k *compiler) settings(m *extauthzv3.ExtAuthz) (*Settings, error) {
	if err := supported.Apply(m, "", k.warn); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	if err := call.CheckVersion(m.GetTransportApiVersion()); err != nil {
		return nil, err
	}
	s := &Settings{
		failOpen: m.GetFailureModeAllow(), failOpenHeader: m.GetFailureModeAllowHeaderAdd(), buffering: bufferingOf(m.GetWithRequestBody()),
		clearRoute: m.GetClearRouteCache(), statusOnError: http.StatusForbidden, validate: m.GetValidateMutations(),
		ingest: trueUnless(m.GetEnableDynamicMetadataIngestion()), charge: trueUnless(m.GetChargeClusterResponseStats()),
		namespaces: m.GetMetadataContextNamespaces(), routeNamespaces: m.GetRouteMetadataContextNamespaces(),
		peerCertificate: m.GetIncludePeerCertificate(),
		tlsSession:      m.GetIncludeTlsSession(), raw: m.GetEncodeRawHeaders(), chosen: m.GetAllowedHeaders() != nil,
		maxBody: int(m.GetMaxDeniedResponseBodyBytes()), limits: m.GetEnforceResponseHeaderLimits(), emit: m.GetEmitFilterStateStats(),
		labels: k.labels(m.GetBootstrapMetadataLabelsKey()),
	}
	for _, h := range m.GetClearRouteCacheHeaders() {
		s.clearHeaders = append(s.clearHeaders, strings.ToLower(h))
	}
	if c := m.GetStatusOnError().GetCode(); c != 0 {
		s.statusOnError = int(c)
	}
	if m.GetFilterMetadata() != nil {
		s.filterMetadata = m.GetFilterMetadata().AsMap()
	}
	if d := m.GetDenyAtDisable(); d != nil {
		s.denyAtDisable = match.CompileRuntimeFlag(d)
	}
	if f := m.GetFilterEnabled(); f != nil {
		v := match.CompileRuntimeFraction(f)
		s.enabled = &v
	}
	return s, k.rest(s, m)
}

// rest compiles what may err.
func (k *compiler) rest(s *Settings, m *extauthzv3.ExtAuthz) (err error) {
	if s.service, err = k.service(m.GetGrpcService(), m.GetHttpService()); err != nil {
		return err
	}
	if e := m.GetFilterEnabledMetadata(); e != nil {
		if s.enabledMetadata, err = match.CompileMetadata(e); err != nil {
			return fmt.Errorf("filter_enabled_metadata: %w", err)
		}
	}
	if s.allowed, err = strs("allowed_headers", m.GetAllowedHeaders()); err != nil {
		return err
	}
	if s.disallowed, err = strs("disallowed_headers", m.GetDisallowedHeaders()); err != nil {
		return err
	}
	if r := m.GetDecoderHeaderMutationRules(); r != nil {
		if s.rules, err = match.CompileHeaderRules(r); err != nil {
			return fmt.Errorf("decoder_header_mutation_rules.%w", err)
		}
	}
	return nil
}

// trueUnless is a switch that is on by default.
func trueUnless(v interface{ GetValue() bool }) bool {
	m, ok := v.(proto.Message)
	return !ok || !m.ProtoReflect().IsValid() || v.GetValue()
}

func bufferingOf(m *extauthzv3.BufferSettings) buffering {
	return buffering{int(m.GetMaxRequestBytes()), m.GetAllowPartialMessage(), m.GetPackAsBytes()}
}

// labels are those of the node's metadata under a key.
func (k *compiler) labels(key string) [][2]string {
	all, _ := k.Node.Metadata[key].(map[string]any)
	var out [][2]string
	for name, v := range all {
		if text, ok := v.(string); ok {
			out = append(out, [2]string{name, text})
		}
	}
	slices.SortFunc(out, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	return out
}

func (k *compiler) service(g *corev3.GrpcService, h *extauthzv3.HttpService) (service, error) {
	if h != nil {
		s, err := k.http(h)
		if err != nil {
			return nil, fmt.Errorf("http_service.%w", err)
		}
		return s, nil
	}
	if g == nil {
		return nil, errors.New("grpc_service: is missing: name the service by it, or by http_service")
	}
	if g.GetTimeout() == nil {
		g = proto.CloneOf(g)
		g.Timeout = durationpb.New(defaultTimeout)
	}
	s, err := call.Compile(g, call.Context{Warn: k.warn, Hostname: k.Node.Hostname})
	if err != nil {
		return nil, fmt.Errorf("grpc_service.%w", err)
	}
	return grpcService{call.NewClient(s, k.Clusters)}, nil
}

func (k *compiler) http(m *extauthzv3.HttpService) (*httpService, error) {
	s, err := call.CompileURI(m.GetServerUri())
	if err != nil {
		return nil, fmt.Errorf("server_uri.%w", err)
	}
	if s.Retry, err = call.CompileRetry(m.GetRetryPolicy()); err != nil {
		return nil, fmt.Errorf("retry_policy.%w", err)
	}
	out := &httpService{client: call.NewClient(s, k.Clusters), prefix: m.GetPathPrefix(), override: m.GetPathOverride()}
	for field, p := range map[string]string{"path_prefix": out.prefix, "path_override": out.override} {
		if err := call.CheckPath(p); err != nil || p != "" && p[0] != '/' {
			return nil, fmt.Errorf("%s: %q is not a path: it begins with / and has no spaces", field, p)
		}
	}
	if out.prefix != "" && out.override != "" {
		return nil, errors.New("path_override: path_prefix is set, too: remove one")
	}
	return out, out.fields(m, k)
}

// fields compiles which fields go where.
func (g *httpService) fields(m *extauthzv3.HttpService, k *compiler) (err error) {
	q, a := m.GetAuthorizationRequest(), m.GetAuthorizationResponse()
	for _, x := range []struct {
		to    *match.Strings
		field string
		list  *matcherv3.ListStringMatcher
	}{
		{&g.requested, "authorization_request.allowed_headers", q.GetAllowedHeaders()}, //nolint:staticcheck // Deprecated, still found.
		{&g.toUpstream, "authorization_response.allowed_upstream_headers", a.GetAllowedUpstreamHeaders()},
		{&g.toUpstreamAppend, "authorization_response.allowed_upstream_headers_to_append", a.GetAllowedUpstreamHeadersToAppend()},
		{&g.toClient, "authorization_response.allowed_client_headers", a.GetAllowedClientHeaders()},
		{&g.toClientOnSuccess, "authorization_response.allowed_client_headers_on_success", a.GetAllowedClientHeadersOnSuccess()},
		{&g.toMetadata, "authorization_response.dynamic_metadata_from_headers", a.GetDynamicMetadataFromHeaders()},
	} {
		if *x.to, err = strs(x.field, x.list); err != nil {
			return err
		}
	}
	if g.clientAll = len(a.GetAllowedClientHeaders().GetPatterns()) == 0; !g.clientAll {
		// Without these a client cannot do what it is asked to.
		always, err := strs("", exactly("www-authenticate", "location", "proxy-authenticate"))
		if err != nil {
			return err
		}
		g.toClient = append(g.toClient, always...)
	}
	var list []*corev3.HeaderValueOption
	for _, h := range q.GetHeadersToAdd() {
		list = append(list, &corev3.HeaderValueOption{Header: h, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD})
	}
	o := format.Options{OmitEmpty: true, Hostname: k.Node.Hostname}
	g.add, err = route.CompileHeaders("authorization_request.headers_to_add", list, route.Context{
		CompileFormat: func(s string) (route.Formatter, error) { return format.Compile(s, o) },
	})
	return err
}

func exactly(names ...string) *matcherv3.ListStringMatcher {
	m := &matcherv3.ListStringMatcher{}
	for _, n := range names {
		m.Patterns = append(m.Patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: n}})
	}
	return m
}

// strs compiles a list of patterns of names. Names are in lower case here.
func strs(field string, m *matcherv3.ListStringMatcher) (match.Strings, error) {
	var list []*matcherv3.StringMatcher
	for _, p := range m.GetPatterns() {
		if _, regex := p.GetMatchPattern().(*matcherv3.StringMatcher_SafeRegex); !regex {
			p = proto.CloneOf(p)
			p.IgnoreCase = true
		}
		list = append(list, p)
	}
	out, err := match.CompileStrings(list)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return out, nil
}

// principal names the holder of a certificate as Envoy does: by a URI, by a DNS name, or
// by the subject.
func principal(c *x509.Certificate) string {
	switch {
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	}
	return string(format.AppendSubject(nil, c))
}
