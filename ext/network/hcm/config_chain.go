// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	customheaderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/custom_header/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
)

func newChain() *stream.Chain { return new(stream.Chain) }

// filters compiles a chain of HTTP filters.
func (b *builder) filters(chain *stream.Chain, list []*hcmv3.HttpFilter, path string) error {
	return extension.AddFilters(chain, extension.Downstream, list, path, extension.HTTP{Services: b.in.Services, Scope: b.scope, Overload: b.in.Overload, Own: b.in.Own, Await: b.in.Await})
}

// compileRoutes compiles a route configuration for a connection manager. Its
// warnings are logged. Static is one that stands in the connection manager; before is
// what was compiled of the configuration before this one, or nil.
func compileRoutes(rc *routev3.RouteConfiguration, before *route.Table, s *extension.Services, log *slog.Logger, static bool) (*route.Table, error) {
	ctx := routeContext(s, static)
	ctx.Before = before
	return settled(rc.GetName(), log)(route.Compile(rc, ctx))
}

// routeContext is what route configurations are compiled with.
func routeContext(s *extension.Services, static bool) route.Context {
	loader := format.Loader{Options: format.Options{Hostname: s.Node.Hostname, Operators: s.Operators}}
	return route.Context{
		Runtime: s.Runtime,
		Static:  static,
		CompileFormat: func(text string) (route.Formatter, error) {
			o := loader.Options
			o.OmitEmpty = true
			return format.Compile(text, o)
		},
		CompileBodyFormat: func(f *corev3.SubstitutionFormatString) (route.Formatter, string, error) {
			l := loader
			l.Options.Multiline = true
			c, err := l.Load(f)
			if err != nil {
				return nil, "", err
			}
			return c, c.ContentType(), nil
		},
		RetryHostPredicate:  s.Registry.RetryHosts.CompileAny,
		RetryPriority:       s.Registry.RetryPriorities.CompileAny,
		RedirectPredicate:   s.Registry.RedirectPredicates.Compile,
		CompileFilterConfig: func(_ string, cfg *anypb.Any) (any, error) { return perRoute(cfg, s) },
		HasCluster:          s.HasCluster,
		ReadFile:            os.ReadFile,
	}
}

// perRoute compiles a filter's per-route configuration, found by its type.
func perRoute(cfg *anypb.Any, s *extension.Services) (any, error) {
	for i := range s.Registry.HTTP {
		e := &s.Registry.HTTP[i]
		if e.Route == nil {
			continue
		}
		m, ok, err := extension.Decode(cfg, e.Route)
		if err != nil {
			return nil, err
		}
		if ok {
			return e.NewRoute(m, s)
		}
	}
	return nil, fmt.Errorf("%s: %w", extension.Name(cfg), route.ErrUnknownFilter)
}

func newDetector(e *corev3.TypedExtensionConfig) (detector, error) {
	m, err := e.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return nil, err
	}
	switch c := m.(type) {
	case *xffv3.XffConfig:
		d := &xffDetector{hops: int(c.GetXffNumTrustedHops())}
		for i, r := range c.GetXffTrustedCidrs().GetCidrs() {
			p, err := match.CompilePrefix(r)
			if err != nil {
				return nil, fmt.Errorf("xff_trusted_cidrs.cidrs[%d]: %w", i, err)
			}
			d.trusted = append(d.trusted, p)
		}
		d.recurse = len(d.trusted) > 0
		if d.recurse && d.hops > 0 {
			return nil, errors.New("xff_num_trusted_hops and xff_trusted_cidrs cannot both be set: remove one")
		}
		if s := c.GetSkipXffAppend(); s != nil {
			d.append = !s.GetValue()
		}
		return d, nil
	case *customheaderv3.CustomHeaderConfig:
		d := &headerDetector{name: header.NewName(c.GetHeaderName()), trusted: c.GetAllowExtensionToSetAddressAsTrusted()}
		if r := c.GetRejectWithStatus(); r != nil {
			d.reject = int(r.GetCode())
			if d.reject < 400 {
				d.reject = 403
			}
		}
		return d, nil
	}
	return nil, fmt.Errorf("%s is not supported: use envoy.http.original_ip_detection.xff or custom_header", e.GetTypedConfig().MessageName())
}

// early compiles what is done to a request's head before anything is made of it.
func (b *builder) early() error {
	for i, e := range b.proto.GetEarlyHeaderMutationExtensions() {
		m := &earlyv3.HeaderMutation{}
		if !e.GetTypedConfig().MessageIs(m) {
			return fmt.Errorf("early_header_mutation_extensions[%d]: %s is not supported: use envoy.http.early_header_mutation.header_mutation", i, e.GetTypedConfig().MessageName())
		}
		if err := e.GetTypedConfig().UnmarshalTo(m); err != nil {
			return fmt.Errorf("early_header_mutation_extensions[%d].typed_config: %w", i, err)
		}
		l, err := route.CompileMutations("mutations", m.GetMutations(), routeContext(b.in.Services, true))
		if err != nil {
			return fmt.Errorf("early_header_mutation_extensions[%d].typed_config.%w", i, err)
		}
		b.cfg.early = append(b.cfg.early, l)
	}
	return nil
}

func (b *builder) replies() error {
	p := b.proto.GetLocalReplyConfig()
	if p == nil {
		return nil
	}
	r := &localReplies{}
	var err error
	if r.format, err = b.bodyFormat(p.GetBodyFormat()); err != nil {
		return fmt.Errorf("local_reply_config.body_format: %w", err)
	}
	for i, m := range p.GetMappers() {
		c, err := b.mapper(m)
		if err != nil {
			return fmt.Errorf("local_reply_config.mappers[%d]: %w", i, err)
		}
		r.mappers = append(r.mappers, *c)
	}
	b.cfg.replies = r
	return nil
}

func (b *builder) bodyFormat(f *corev3.SubstitutionFormatString) (*format.Format, error) {
	if f == nil {
		return nil, nil
	}
	l := format.Loader{Options: format.Options{Hostname: b.in.Node.Hostname, Operators: b.in.Operators, Multiline: true}}
	return l.Load(f)
}

func (b *builder) mapper(m *hcmv3.ResponseMapper) (*replyMapper, error) {
	c := &replyMapper{status: int(m.GetStatusCode().GetValue())}
	var err error
	if c.filter, err = b.replyFilter(m.GetFilter()); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	if d := m.GetBody(); d != nil {
		text, err := readSource(d)
		if err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
		c.body = &text
	}
	if c.format, err = b.bodyFormat(m.GetBodyFormatOverride()); err != nil {
		return nil, fmt.Errorf("body_format_override: %w", err)
	}
	o := format.Options{OmitEmpty: true, Hostname: b.in.Node.Hostname, Operators: b.in.Operators}
	c.headers, err = route.CompileHeaders("headers_to_add", m.GetHeadersToAdd(), route.Context{
		CompileFormat: func(s string) (route.Formatter, error) { return format.Compile(s, o) },
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (b *builder) replyFilter(f *accesslogv3.AccessLogFilter) (accesslog.Filter, error) {
	if f == nil {
		return nil, nil
	}
	return b.in.AccessLogs.Compile(f)
}

// readSource reads a data source when the configuration is compiled.
func readSource(d *corev3.DataSource) (string, error) {
	switch s := d.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		return s.InlineString, nil
	case *corev3.DataSource_InlineBytes:
		return string(s.InlineBytes), nil
	case *corev3.DataSource_Filename:
		b, err := os.ReadFile(s.Filename)
		return string(b), err
	case *corev3.DataSource_EnvironmentVariable:
		v, ok := os.LookupEnv(s.EnvironmentVariable)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", s.EnvironmentVariable)
		}
		return v, nil
	}
	return "", errors.New("no source is given: use inline_string, filename or environment_variable")
}
