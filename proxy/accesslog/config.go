// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	processratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/process_ratelimit/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// Context is what compilation needs of the rest of the proxy. What is nil is
// not there: a configuration that asks for it is refused.
type Context struct {
	// CompileHeader compiles the matcher of a header filter.
	CompileHeader func(*routev3.HeaderMatcher) (func(*header.Map) bool, error)
	// CompileValue compiles the value of a metadata filter; ok tells that
	// there is a value.
	CompileValue func(*matcherv3.ValueMatcher) (func(v any, ok bool) bool, error)
	// Runtime overrides values by runtime key; nil overrides nothing.
	Runtime Runtime
	// Extensions makes the filters of extension_filter by the full name of
	// their message, such as
	// "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter".
	Extensions map[string]func(config *anypb.Any) (Filter, error)
	// TokenBucket finds the resource of a process_ratelimit filter.
	TokenBucket func(resource string, source *corev3.ConfigSource) (*Bucket, error)
	// Allowed and Denied count what process_ratelimit decided (Envoy's
	// access_log.process_ratelimit.allowed and denied); they may be nil.
	Allowed, Denied Counter
	// Sinks makes sinks by the full name of their message, such as
	// "envoy.extensions.access_loggers.file.v3.FileAccessLog".
	Sinks map[string]func(config *anypb.Any) (Sink, error)
	// Random is the source of randomness of the runtime filter; nil is
	// math/rand. Now is the clock; nil is [time.Now].
	Random func() uint64
	Now    func() time.Time
}

// Load makes one configured access log.
func (c *Context) Load(m *accesslogv3.AccessLog) (*Log, error) {
	config := m.GetTypedConfig()
	if config == nil {
		return nil, fmt.Errorf("access log %q: typed_config is missing", m.GetName())
	}
	mk, ok := c.Sinks[string(config.MessageName())]
	if !ok {
		return nil, fmt.Errorf("access log %q: typed_config: there is no access logger %s here", m.GetName(), config.MessageName())
	}
	var filter Filter
	if m.GetFilter() != nil {
		var err error
		if filter, err = c.Compile(m.GetFilter()); err != nil {
			return nil, fmt.Errorf("access log %q: filter: %w", m.GetName(), err)
		}
	}
	sink, err := mk(config)
	if err != nil {
		return nil, fmt.Errorf("access log %q: %w", m.GetName(), err)
	}
	return New(sink, filter), nil
}

// maxDepth bounds how deep and_filter and or_filter nest.
const maxDepth = 32

// Compile compiles an access log filter. An error names the path of the field.
func (c *Context) Compile(m *accesslogv3.AccessLogFilter) (Filter, error) { return c.compile(m, 0) }

func (c *Context) compile(m *accesslogv3.AccessLogFilter, depth int) (Filter, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("filters are nested deeper than %d", maxDepth)
	}
	switch f := m.GetFilterSpecifier().(type) {
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		k, err := c.comparison(f.StatusCodeFilter.GetComparison())
		return statusCode(k), in("status_code_filter.comparison", err)
	case *accesslogv3.AccessLogFilter_DurationFilter:
		k, err := c.comparison(f.DurationFilter.GetComparison())
		now := c.Now
		if now == nil {
			now = time.Now
		}
		return duration(k, now), in("duration_filter.comparison", err)
	case *accesslogv3.AccessLogFilter_NotHealthCheckFilter:
		return notHealthCheck, nil
	case *accesslogv3.AccessLogFilter_TraceableFilter:
		return traceable, nil
	case *accesslogv3.AccessLogFilter_RuntimeFilter:
		r, err := c.runtime(f.RuntimeFilter)
		return r, in("runtime_filter", err)
	case *accesslogv3.AccessLogFilter_AndFilter:
		l, err := c.list(f.AndFilter.GetFilters(), depth)
		return all(l), in("and_filter", err)
	case *accesslogv3.AccessLogFilter_OrFilter:
		l, err := c.list(f.OrFilter.GetFilters(), depth)
		return some(l), in("or_filter", err)
	case *accesslogv3.AccessLogFilter_HeaderFilter:
		h, err := c.header(f.HeaderFilter)
		return h, in("header_filter.header", err)
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		r, err := flagFilter(f.ResponseFlagFilter)
		return r, in("response_flag_filter.flags", err)
	case *accesslogv3.AccessLogFilter_GrpcStatusFilter:
		g, err := grpcFilter(f.GrpcStatusFilter)
		return g, in("grpc_status_filter.statuses", err)
	case *accesslogv3.AccessLogFilter_ExtensionFilter:
		e, err := c.extension(f.ExtensionFilter)
		return e, in("extension_filter", err)
	case *accesslogv3.AccessLogFilter_MetadataFilter:
		d, err := c.metadata(f.MetadataFilter)
		return d, in("metadata_filter.matcher", err)
	case *accesslogv3.AccessLogFilter_LogTypeFilter:
		t, err := typeFilter(f.LogTypeFilter)
		return t, in("log_type_filter.types", err)
	}
	return nil, errors.New("filter_specifier: one of the filters is required")
}

// in puts the path of a field before an error.
func in(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}

func (c *Context) comparison(m *accesslogv3.ComparisonFilter) (comparison, error) {
	if m == nil {
		return comparison{}, errors.New("the field is required")
	}
	if m.GetValue() == nil {
		return comparison{}, errors.New("value: the field is required")
	}
	k := comparison{value: uint64(m.GetValue().GetDefaultValue()), key: m.GetValue().GetRuntimeKey(), look: c.Runtime}
	switch m.GetOp() {
	case accesslogv3.ComparisonFilter_EQ:
		k.op = '='
	case accesslogv3.ComparisonFilter_GE:
		k.op = '>'
	case accesslogv3.ComparisonFilter_LE:
		k.op = '<'
	case accesslogv3.ComparisonFilter_NE:
		k.op = '!'
	default:
		return k, fmt.Errorf("op: %d is none of EQ, GE, LE, NE", m.GetOp())
	}
	return k, nil
}

func (c *Context) runtime(m *accesslogv3.RuntimeFilter) (Filter, error) {
	if m.GetRuntimeKey() == "" {
		return nil, errors.New("runtime_key: the field is required")
	}
	f := &sampled{
		key: m.GetRuntimeKey(), numerator: m.GetPercentSampled().GetNumerator(), independent: m.GetUseIndependentRandomness(),
		look: c.Runtime, random: c.Random,
	}
	if f.random == nil {
		f.random = rand.Uint64
	}
	switch d := m.GetPercentSampled().GetDenominator(); d {
	case typev3.FractionalPercent_HUNDRED:
		f.denominator = 100
	case typev3.FractionalPercent_TEN_THOUSAND:
		f.denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		f.denominator = 1_000_000
	default:
		return nil, fmt.Errorf("percent_sampled.denominator: %d is none of HUNDRED, TEN_THOUSAND, MILLION", d)
	}
	return f.log, nil
}

func (c *Context) list(ms []*accesslogv3.AccessLogFilter, depth int) ([]Filter, error) {
	if len(ms) < 2 {
		return nil, fmt.Errorf("filters: %d filters; at least 2 are required", len(ms))
	}
	out := make([]Filter, len(ms))
	for i, m := range ms {
		f, err := c.compile(m, depth+1)
		if err != nil {
			return nil, fmt.Errorf("filters[%d]: %w", i, err)
		}
		out[i] = f
	}
	return out, nil
}

func (c *Context) header(m *accesslogv3.HeaderFilter) (Filter, error) {
	if m.GetHeader() == nil {
		return nil, errors.New("the field is required")
	}
	if c.CompileHeader == nil {
		return nil, errors.New("header matchers are not available here")
	}
	match, err := c.CompileHeader(m.GetHeader())
	if err != nil {
		return nil, err
	}
	return headers(match), nil
}

func flagFilter(m *accesslogv3.ResponseFlagFilter) (Filter, error) {
	var flags streaminfo.Flags
	for i, name := range m.GetFlags() {
		f, ok := streaminfo.ParseFlag(name)
		if !ok {
			return nil, fmt.Errorf("[%d]: %q is not a response flag; they are written short, such as UF", i, name)
		}
		flags |= f
	}
	return responseFlags(flags), nil
}

func grpcFilter(m *accesslogv3.GrpcStatusFilter) (Filter, error) {
	var codes uint32
	for i, s := range m.GetStatuses() {
		if s < 0 || s > accesslogv3.GrpcStatusFilter_UNAUTHENTICATED {
			return nil, fmt.Errorf("[%d]: %d is not a gRPC status", i, s)
		}
		codes |= 1 << s
	}
	return grpcStatus(codes, m.GetExclude()), nil
}

func typeFilter(m *accesslogv3.LogTypeFilter) (Filter, error) {
	var types uint32
	for i, t := range m.GetTypes() {
		if t < 0 || int(t) >= numTypes {
			return nil, fmt.Errorf("[%d]: %d is not an access log type", i, t)
		}
		types |= 1 << t
	}
	return logTypes(types, m.GetExclude()), nil
}

func (c *Context) metadata(m *accesslogv3.MetadataFilter) (Filter, error) {
	absent := true
	if v := m.GetMatchIfKeyNotFound(); v != nil {
		absent = v.GetValue()
	}
	var match func(any, bool) bool
	var path []string
	if k := m.GetMatcher(); k != nil {
		if k.GetInvert() {
			return nil, errors.New("invert: this filter does not honour the field; invert the value's matcher instead")
		}
		for i, s := range k.GetPath() {
			if s.GetKey() == "" {
				return nil, fmt.Errorf("path[%d].key: the field is required", i)
			}
			path = append(path, s.GetKey())
		}
		if c.CompileValue == nil {
			return nil, errors.New("value matchers are not available here")
		}
		var err error
		if match, err = c.CompileValue(k.GetValue()); err != nil {
			return nil, in("value", err)
		}
	}
	return dynamicMetadata(m.GetMatcher().GetFilter(), path, match, absent), nil
}

func (c *Context) extension(m *accesslogv3.ExtensionFilter) (Filter, error) {
	config := m.GetTypedConfig()
	if config == nil {
		return nil, fmt.Errorf("%q: typed_config is missing", m.GetName())
	}
	name := config.MessageName()
	if mk, ok := c.Extensions[string(name)]; ok {
		f, err := mk(config)
		return f, in(fmt.Sprintf("%q", m.GetName()), err)
	}
	limit := &processratelimitv3.ProcessRateLimitFilter{}
	if limit.ProtoReflect().Descriptor().FullName() == name {
		if err := anypb.UnmarshalTo(config, limit, proto.UnmarshalOptions{}); err != nil {
			return nil, in("typed_config", err)
		}
		return c.rateLimit(limit.GetDynamicConfig())
	}
	return nil, fmt.Errorf("%q: typed_config: there is no access log filter %s here", m.GetName(), name)
}

func (c *Context) rateLimit(m *processratelimitv3.DynamicTokenBucket) (Filter, error) {
	switch {
	case m == nil:
		return nil, errors.New("dynamic_config: the field is required")
	case m.GetResourceName() == "":
		return nil, errors.New("dynamic_config.resource_name: the field is required")
	case c.TokenBucket == nil:
		return nil, errors.New("dynamic_config: token buckets from xDS are not available here")
	}
	b, err := c.TokenBucket(m.GetResourceName(), m.GetConfigSource())
	if err != nil {
		return nil, in("dynamic_config", err)
	}
	return limited(b, c.Allowed, c.Denied), nil
}
