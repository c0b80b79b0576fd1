// SPDX-License-Identifier: Apache-2.0

package ratelimit

import (
	_ "embed"
	"fmt"
	"net/http"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/ratelimit"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.ratelimit"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:     Name,
		Config:   &ratelimitv3.RateLimit{},
		New:      compile,
		Route:    &ratelimitv3.RateLimitPerRoute{},
		NewRoute: compileRoute,
		Place:    extension.Anywhere,
	}
}

func compile(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*ratelimitv3.RateLimit)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a RateLimit", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	warn := c.Warn("rate limit filter")
	if err := supported.Apply(m, "", warn); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	f := &Filter{
		name: c.Name, slot: c.Slot, runtime: c.Runtime, domain: m.GetDomain(),
		kind:    kinds[m.GetRequestType()],
		enabled: fraction(m.GetFilterEnabled() != nil, match.CompileRuntimeFraction(m.GetFilterEnabled()), "ratelimit.http_filter_enabled"),
		enforced: fraction(m.GetFilterEnforced() != nil, match.CompileRuntimeFraction(m.GetFilterEnforced()),
			"ratelimit.http_filter_enforcing"),
		deny:       match.RuntimeFraction{Default: match.Fraction{N: 0, Of: 100}},
		status:     statusOr(m.GetRateLimitedStatus(), http.StatusTooManyRequests),
		onError:    statusOr(m.GetStatusOnError(), http.StatusInternalServerError),
		headers:    m.GetEnableXRatelimitHeaders() == ratelimitv3.RateLimit_DRAFT_VERSION_03,
		retryAfter: m.GetEnableRetryAfterHeader(),
		tell:       !m.GetDisableXEnvoyRatelimitedHeader(),
		namespace:  m.GetMetadataNamespace(),
		stats:      newCounts(c.Stats, m.GetStatPrefix()),
		clusters:   c.Clusters,
	}
	if c.Own != nil {
		c.Own(f.stats.close)
	}
	f.describer = ratelimit.Describer{
		Stage: m.GetStage(), Cluster: c.Node.Cluster,
		Enabled:         func(key string) bool { return f.runtimeEnabled("ratelimit." + key + ".http_filter_enabled") },
		ClusterMetadata: func(name string) streaminfo.Metadata { return c.Clusters.MetadataOf(name) },
	}
	if f.namespace == "" {
		f.namespace = Name
	}
	if m.GetRateLimitedAsResourceExhausted() {
		f.grpc = stream.GRPC(resourceExhausted)
	}
	if m.GetFailureModeDeny() {
		f.deny.Default.N = 100
	}
	if p := m.GetFailureModeDenyPercent(); p != nil {
		f.deny = match.CompileRuntimeFraction(p)
	}
	var err error
	if f.own, err = ratelimit.CompileOwn(m.GetRateLimits(), formats(c.Services)); err != nil {
		return nil, err
	}
	if f.onLimited, err = route.CompileHeaders("response_headers_to_add", m.GetResponseHeadersToAdd(), formats(c.Services)); err != nil {
		return nil, err
	}
	f.service, err = ratelimit.CompileService(m.GetRateLimitService(), m.GetTimeout(), ratelimit.Context{
		Limiter: c.Limiter, Clusters: c.Clusters, HasCluster: c.HasCluster, Hostname: c.Node.Hostname, Warn: warn,
	})
	return f, err
}

func compileRoute(cfg proto.Message, s *extension.Services) (any, error) {
	m, ok := cfg.(*ratelimitv3.RateLimitPerRoute)
	if !ok {
		return nil, fmt.Errorf("%s: configuration of a route is a %s, not a RateLimitPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := supported.Apply(m, "", s.Warn("rate limit of a route")); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	own, err := ratelimit.CompileOwn(m.GetRateLimits(), formats(s))
	if err != nil {
		return nil, err
	}
	o := &Override{domain: m.GetDomain(), layers: ratelimit.Layers{Own: own}}
	switch m.GetVhRateLimits() {
	case ratelimitv3.RateLimitPerRoute_INCLUDE:
		o.layers.Host = ratelimit.Include
	case ratelimitv3.RateLimitPerRoute_IGNORE:
		o.layers.Host = ratelimit.Ignore
	}
	return o, nil
}

func formats(s *extension.Services) route.Context {
	return route.Context{CompileFormat: func(text string) (route.Formatter, error) {
		return format.Compile(text, format.Options{OmitEmpty: true, Hostname: s.Node.Hostname})
	}}
}

// kinds are the request_types.
var kinds = map[string]kind{"": both, "both": both, "internal": internal, "external": external}

// fraction is what is configured or, if nothing is, all but for a runtime key.
func fraction(set bool, f match.RuntimeFraction, key string) match.RuntimeFraction {
	if set {
		return f
	}
	return match.RuntimeFraction{Default: match.Fraction{N: 100, Of: 100}, Key: key}
}

// resourceExhausted is gRPC's status code.
const resourceExhausted = 8

// statusOr is the status of a reply; one that is no error is the default.
func statusOr(s *typev3.HttpStatus, def int) int {
	if n := int(s.GetCode()); n >= http.StatusBadRequest {
		return n
	}
	return def
}

// newCounts are the statistics of all clusters.
func newCounts(store *stats.Store, prefix string) *counts {
	if prefix != "" {
		prefix = stats.Sanitize(prefix) + "."
	}
	return &counts{store: store, suffix: ".ratelimit." + prefix, known: map[string]*Stats{}}
}
