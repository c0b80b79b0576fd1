// SPDX-License-Identifier: Apache-2.0

package extproc

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	ext "weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/match/cel"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.ext_proc"

// Time limits where the configuration has none: Envoy's.
const (
	defaultTimeout  = 200 * time.Millisecond
	defaultDeferred = 5 * time.Second
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension returns the filter's place in a registry.
func Extension() ext.HTTPFilter {
	return ext.HTTPFilter{
		Name: Name, Config: &extprocfilterv3.ExternalProcessor{}, New: newFilter,
		Route: &extprocfilterv3.ExtProcPerRoute{}, NewRoute: newRoute, Place: ext.Anywhere,
	}
}

func newFilter(cfg proto.Message, c *ext.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*extprocfilterv3.ExternalProcessor)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not an ExternalProcessor", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	k := compiler{c.Services, c.Warn("external processing filter", "filter", c.Name)}
	s, err := k.settings(m)
	if err != nil {
		return nil, err
	}
	scope := "ext_proc."
	if p := m.GetStatPrefix(); p != "" {
		scope += stats.Sanitize(p) + "."
	}
	f := &Filter{
		name: c.Name, slot: c.Slot, own: s, upstream: c.Place == ext.Upstream, log: c.Log("http"),
		stats: stats.Register[Stats](c.Scope.Scope(scope), len(c.Loops)),
	}
	c.Own(f.stats.Close)
	return f, nil
}

func newRoute(cfg proto.Message, s *ext.Services) (any, error) {
	m, ok := cfg.(*extprocfilterv3.ExtProcPerRoute)
	if !ok {
		return nil, fmt.Errorf("%s: per-route configuration is a %s, not an ExtProcPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	k := compiler{s, s.Warn("external processing of a route")}
	if err := supported.Apply(m, "", k.warn); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	out := &RouteSettings{disabled: m.GetDisabled()}
	o := m.GetOverrides()
	if o == nil {
		return out, nil
	}
	if o.GetProcessingMode() != nil {
		v := modesOf(o.GetProcessingMode())
		if err := v.check(); err != nil {
			return nil, fmt.Errorf("overrides.processing_mode.%w", err)
		}
		out.modes = &v
	}
	if g := o.GetGrpcService(); g != nil {
		var err error
		if out.client, err = k.grpc(g); err != nil {
			return nil, fmt.Errorf("overrides.grpc_service.%w", err)
		}
	}
	for i, h := range o.GetGrpcInitialMetadata() {
		v := cmp.Or(h.GetValue(), string(h.GetRawValue()))
		if st := (setting{name: h.GetKey(), value: v}); !validName(st.name) || st.name[0] == ':' {
			return nil, fmt.Errorf("overrides.grpc_initial_metadata[%d].key: %q is not the name of a field in lower case", i, h.GetKey())
		}
		out.metadata = append(out.metadata, [2]string{h.GetKey(), v})
	}
	if md := o.GetMetadataOptions(); md != nil {
		out.forward = namespaces(md.GetForwardingNamespaces())
		out.receive = namespaces(md.GetReceivingNamespaces())
		out.clusters = namespaces(md.GetClusterMetadataForwardingNamespaces())
	}
	if v := o.GetFailureModeAllow(); v != nil {
		out.failOpen = &v.Value
	}
	if v := o.GetEmitClientSpan(); v != nil {
		out.spans = &v.Value
	}
	return out, nil
}

func namespaces(m *extprocfilterv3.MetadataOptions_MetadataNamespaces) *[]string {
	if m == nil {
		return nil
	}
	list := m.GetUntyped()
	return &list
}

// compiler compiles one configuration.
type compiler struct {
	*ext.Services
	warn func(path, reason string)
}

func (k *compiler) settings(m *extprocfilterv3.ExternalProcessor) (*Settings, error) {
	if err := supported.Apply(m, "", k.warn); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	md := m.GetMetadataOptions()
	s := &Settings{
		failOpen: m.GetFailureModeAllow(), modes: modesOf(m.GetProcessingMode()),
		timeout: durationOr(m.GetMessageTimeout(), defaultTimeout), maxTimeout: m.GetMaxMessageTimeout().AsDuration(),
		override: m.GetAllowModeOverride(), noImmediate: m.GetDisableImmediateResponse(), observe: m.GetObservabilityMode(),
		forward: md.GetForwardingNamespaces().GetUntyped(), receive: md.GetReceivingNamespaces().GetUntyped(),
		forwardClusters: md.GetClusterMetadataForwardingNamespaces().GetUntyped(),
		deferred:        durationOr(m.GetDeferredCloseTimeout(), defaultDeferred), eager: m.GetSendBodyWithoutWaitingForHeaderResponse(),
		statusOnError: cmp.Or(int(m.GetStatusOnError().GetCode()), http.StatusInternalServerError),
		keepLength:    m.GetAllowContentLengthHeader(), spans: m.GetEmitClientSpan() == nil || m.GetEmitClientSpan().GetValue(),
	}
	if err := s.modes.check(); err != nil {
		return nil, fmt.Errorf("processing_mode.%w", err)
	}
	for i, o := range m.GetAllowedOverrideModes() {
		v := modesOf(o)
		if err := v.check(); err != nil {
			return nil, fmt.Errorf("allowed_override_modes[%d].%w", i, err)
		}
		s.overrides = append(s.overrides, v)
	}
	if m.GetFilterMetadata() != nil {
		s.filterMetadata = m.GetFilterMetadata().AsMap()
	}
	switch a := m.GetRouteCacheAction(); {
	case m.GetDisableClearRouteCache() && a != extprocfilterv3.ExternalProcessor_DEFAULT:
		return nil, errors.New("disable_clear_route_cache: route_cache_action is set, too: remove disable_clear_route_cache")
	case m.GetDisableClearRouteCache(), a == extprocfilterv3.ExternalProcessor_RETAIN:
		s.routeCache = routeRetained
	case a == extprocfilterv3.ExternalProcessor_CLEAR:
		s.routeCache = routeCleared
	}
	return s, k.rest(s, m)
}

// rest compiles what may err.
func (k *compiler) rest(s *Settings, m *extprocfilterv3.ExternalProcessor) (err error) {
	if err = k.service(s, m); err != nil {
		return err
	}
	if s.rules, err = match.CompileHeaderRules(m.GetMutationRules()); err != nil {
		return fmt.Errorf("mutation_rules.%w", err)
	}
	if s.allowed, err = names("forward_rules.allowed_headers", m.GetForwardRules().GetAllowedHeaders()); err != nil {
		return err
	}
	if s.disallowed, err = names("forward_rules.disallowed_headers", m.GetForwardRules().GetDisallowedHeaders()); err != nil {
		return err
	}
	if len(m.GetRequestAttributes())+len(m.GetResponseAttributes()) == 0 {
		return nil
	}
	c, err := cel.NewCompiler()
	if err != nil {
		return err
	}
	if s.requestAttributes, err = attributes(c, "request_attributes", m.GetRequestAttributes()); err != nil {
		return err
	}
	s.responseAttributes, err = attributes(c, "response_attributes", m.GetResponseAttributes())
	return err
}

// service compiles where the processor is.
func (k *compiler) service(s *Settings, m *extprocfilterv3.ExternalProcessor) (err error) {
	h := m.GetHttpService()
	switch {
	case h != nil && m.GetGrpcService() != nil:
		return errors.New("http_service: grpc_service is set, too: remove one")
	case h == nil && m.GetGrpcService() == nil:
		return errors.New("grpc_service: is missing: name the processor by it, or by http_service")
	case h == nil:
		if s.client, err = k.grpc(m.GetGrpcService()); err != nil {
			return fmt.Errorf("grpc_service.%w", err)
		}
		return nil
	case !s.modes.headersOnly():
		return errors.New("processing_mode: a processor of HTTP sees headers alone: have bodies be NONE and trailers SKIP, or use grpc_service")
	case s.observe:
		return errors.New("observability_mode: a processor of HTTP is always waited for: use grpc_service")
	}
	svc, err := call.CompileHTTP(h.GetHttpService(), call.Context{Warn: k.warn, Hostname: k.Node.Hostname})
	if err != nil {
		return fmt.Errorf("http_service.http_service.%w", err)
	}
	svc.Timeout = max(s.timeout, time.Millisecond)
	s.http = call.NewClient(svc, k.Clusters)
	return nil
}

func (k *compiler) grpc(g *corev3.GrpcService) (*call.Client, error) {
	s, err := call.Compile(g, call.Context{Warn: k.warn, Hostname: k.Node.Hostname})
	if err != nil {
		return nil, err
	}
	if g.GetTimeout() != nil {
		k.warn("grpc_service.timeout", "a stream lasts as long as its request: message_timeout bounds each message")
	}
	return call.NewClient(s, k.Clusters), nil
}

func attributes(c *cel.Compiler, field string, list []string) ([]attribute, error) {
	var out []attribute
	for i, text := range list {
		p, err := c.CompileText(text)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		out = append(out, attribute{text, p})
	}
	return out, nil
}

// names compiles a list of patterns of names. Names are in lower case here.
func names(field string, m *matcherv3.ListStringMatcher) (match.Strings, error) {
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

func durationOr(d *durationpb.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return d.AsDuration()
}

// modesOf reads a mode: by default headers are seen, and trailers are not.
func modesOf(m *extprocfilterv3.ProcessingMode) modes {
	return modes{
		request: mode{
			headers: sendModeOf(m.GetRequestHeaderMode()).or(true), trailers: sendModeOf(m.GetRequestTrailerMode()).or(false),
			body: bodyModeOf(m.GetRequestBodyMode()),
		},
		response: mode{
			headers: sendModeOf(m.GetResponseHeaderMode()).or(true), trailers: sendModeOf(m.GetResponseTrailerMode()).or(false),
			body: bodyModeOf(m.GetResponseBodyMode()),
		},
	}
}
