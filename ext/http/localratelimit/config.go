// SPDX-License-Identifier: Apache-2.0

package localratelimit

import (
	_ "embed"
	"errors"
	"fmt"
	"net/http"

	commonratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/ratelimit"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/tokenbucket"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.local_ratelimit"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:   Name,
		Config: &localratelimitv3.LocalRateLimit{},
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			s, err := compile(cfg, c.Services, c.Warn("local rate limit filter"))
			if err != nil {
				return nil, err
			}
			return &Filter{name: c.Name, slot: c.Slot, own: s, runtime: c.Runtime}, nil
		},
		Route: &localratelimitv3.LocalRateLimit{},
		NewRoute: func(cfg proto.Message, s *extension.Services) (any, error) {
			set, err := compile(cfg, s, s.Warn("local rate limit of a route"))
			if err == nil && set.limits.rest == nil {
				err = errors.New("token_bucket is missing: say how many requests may pass, or disable the filter for the route")
			}
			return set, err
		},
		Place: extension.Anywhere,
	}
}

func compile(cfg proto.Message, s *extension.Services, warn func(path, reason string)) (*Settings, error) {
	m, ok := cfg.(*localratelimitv3.LocalRateLimit)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a LocalRateLimit", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := supported.Apply(m, "", warn); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	out := &Settings{
		status:        rejectWith(m.GetStatus()),
		enabled:       match.CompileRuntimeFraction(m.GetFilterEnabled()),
		enforced:      match.CompileRuntimeFraction(m.GetFilterEnforced()),
		headers:       m.GetEnableXRatelimitHeaders() == commonratelimitv3.XRateLimitHeadersRFCVersion_DRAFT_VERSION_03,
		retryAfter:    m.GetEnableRetryAfterHeader(),
		perConnection: m.GetLocalRateLimitPerDownstreamConnection(),
		describer: ratelimit.Describer{
			Stage: m.GetStage(), Cluster: s.Node.Cluster,
			ClusterMetadata: func(name string) streaminfo.Metadata { return s.Clusters.MetadataOf(name) },
		},
		layers: ratelimit.Layers{Host: hostLimits(m.GetVhRateLimits())},
		stats:  newStats(s.Stats.Scope(stats.Sanitize(m.GetStatPrefix()) + ".http_local_rate_limit")),
	}
	if m.GetRateLimitedAsResourceExhausted() {
		out.grpc = stream.GRPC(resourceExhausted)
	}
	var err error
	if out.limits, err = compileLimits(m); err != nil {
		return nil, err
	}
	if !out.perConnection {
		out.limits = out.limits.fresh(engine.Nano())
	}
	if m.GetLocalClusterRateLimit() != nil {
		if err := share(out, s); err != nil {
			return nil, fmt.Errorf("local_cluster_rate_limit: %w", err)
		}
	}
	ctx := route.Context{CompileFormat: func(text string) (route.Formatter, error) {
		return format.Compile(text, format.Options{OmitEmpty: true, Hostname: s.Node.Hostname})
	}}
	if out.onResponse, err = route.CompileHeaders("response_headers_to_add", m.GetResponseHeadersToAdd(), ctx); err != nil {
		return nil, err
	}
	if out.onRequest, err = route.CompileHeaders("request_headers_to_add_when_not_enforced", m.GetRequestHeadersToAddWhenNotEnforced(), ctx); err != nil {
		return nil, err
	}
	out.layers.Own, err = ratelimit.CompileOwn(m.GetRateLimits(), ctx)
	if err == nil && len(m.GetDescriptors()) == 0 && len(m.GetRateLimits()) > 0 {
		warn("rate_limits", "there are no descriptors that could limit what it makes: add descriptors")
	}
	return out, err
}

// resourceExhausted is gRPC's status code.
const resourceExhausted = 8

// rejectWith is the status of requests beyond the limit; one that is no error is 429.
func rejectWith(s *typev3.HttpStatus) int {
	if n := int(s.GetCode()); n >= http.StatusBadRequest {
		return n
	}
	return http.StatusTooManyRequests
}

func hostLimits(o commonratelimitv3.VhRateLimitsOptions) ratelimit.HostLimits {
	switch o {
	case commonratelimitv3.VhRateLimitsOptions_INCLUDE:
		return ratelimit.Include
	case commonratelimitv3.VhRateLimitsOptions_IGNORE:
		return ratelimit.Ignore
	}
	return ratelimit.Override
}

// share has the tokens divided among the proxies of the local cluster.
func share(out *Settings, s *extension.Services) error {
	switch {
	case out.perConnection:
		return errors.New("local_rate_limit_per_downstream_connection is set too: a bucket of one connection is not shared")
	case !s.Clusters.HasPeers():
		return errors.New("there is no local cluster: set cluster_manager.local_cluster_name in the bootstrap")
	}
	out.peers = s.Clusters.Peers
	return nil
}

func compileLimits(m *localratelimitv3.LocalRateLimit) (*Limits, error) {
	out := &Limits{always: true}
	if v := m.GetAlwaysConsumeDefaultTokenBucket(); v != nil {
		out.always = v.GetValue()
	}
	dynamic := defaultDynamic
	if v := m.GetMaxDynamicDescriptors(); v != nil {
		dynamic = int(v.GetValue())
	}
	if b := m.GetTokenBucket(); b != nil {
		r, err := rate(b)
		if err != nil {
			return nil, fmt.Errorf("token_bucket.%w", err)
		}
		out.rest = &r
	}
	for i, d := range m.GetDescriptors() {
		r, err := rate(d.GetTokenBucket())
		if err != nil {
			return nil, fmt.Errorf("descriptors[%d].token_bucket.%w", i, err)
		}
		rule := Rule{rate: r, shadow: d.GetShadowMode()}
		for _, e := range d.GetEntries() {
			if e.GetValue() == "" {
				if m.GetLocalRateLimitPerDownstreamConnection() {
					return nil, fmt.Errorf("descriptors[%d]: the value of %s is empty, which has a bucket for each value, not for a connection: give a value, or leave out local_rate_limit_per_downstream_connection", i, e.GetKey())
				}
				rule.most = dynamic
			}
			rule.entries = append(rule.entries, ratelimit.Entry{Key: e.GetKey(), Value: []byte(e.GetValue())})
		}
		for j := range out.rules {
			if same(out.rules[j].entries, rule.entries) {
				return nil, fmt.Errorf("descriptors[%d]: has the same entries as descriptors[%d]: remove one", i, j)
			}
		}
		out.rules = append(out.rules, rule)
	}
	return out, nil
}

// defaultDynamic is how many values of a descriptor without a value have buckets.
const defaultDynamic = 20

// rate compiles a bucket; one without room refuses all, whatever its interval.
func rate(m *typev3.TokenBucket) (tokenbucket.Rate, error) {
	if m.GetMaxTokens() == 0 {
		return tokenbucket.Rate{Every: 1}, nil
	}
	return tokenbucket.Compile(m)
}

// newStats are the statistics of all configurations of one prefix.
func newStats(scope *stats.Scope) *Stats {
	return &Stats{
		enabled: scope.Counter("enabled"), enforced: scope.Counter("enforced"),
		limited: scope.Counter("rate_limited"), ok: scope.Counter("ok"),
	}
}
