// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"fmt"
	"math"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/trace"
)

// defaultMaxPath is max_path_tag_length by default.
const defaultMaxPath = 256

// tracer compiles tracing. Without a provider of its own, or one of the bootstrap's,
// nothing is traced.
func (b *builder) tracer() error {
	p := b.proto.GetTracing()
	if p == nil {
		return nil
	}
	if err := p.ValidateAll(); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	provider, field := p.GetProvider(), "tracing.provider"
	if provider == nil {
		provider, field = b.in.Tracing, "tracing: the provider of the bootstrap: http"
	}
	if provider == nil {
		b.warn()("tracing", "nothing is traced: there is no provider, nor a tracing of the bootstrap")
		return nil
	}
	t, err := b.in.Tracer(provider)
	if err != nil {
		return fmt.Errorf("%s.%w", field, err)
	}
	o := format.Options{OmitEmpty: true, Hostname: b.in.Node.Hostname}
	ctx := route.Context{CompileFormat: func(s string) (route.Formatter, error) { return format.Compile(s, o) }}
	tags, err := route.CompileTags("tracing.custom_tags", p.GetCustomTags(), ctx)
	if err != nil {
		return err
	}
	c := &trace.Config{
		Tracer: t, Runtime: b.in.Runtime, Client: percent(p.GetClientSampling()), Random: percent(p.GetRandomSampling()), Overall: percent(p.GetOverallSampling()),
		Pack: b.cfg.packReason, Unsampled: !b.cfg.sampleByID, Verbose: p.GetVerbose(), MaxPath: int(orUint(p.GetMaxPathTagLength(), defaultMaxPath)),
		Custom: tags, Spawns: p.GetSpawnUpstreamSpan().GetValue(), NoPropagation: p.GetNoContextPropagation(),
		Node: b.in.Node.ID, Zone: b.in.Node.Zone,
	}
	if c.Operation, err = operation("operation", p.GetOperation(), o); err != nil {
		return err
	}
	if c.UpstreamOperation, err = operation("upstream_operation", p.GetUpstreamOperation(), o); err != nil {
		return err
	}
	b.tracing = c
	return nil
}

func operation(field, text string, o format.Options) (route.Formatter, error) {
	if text == "" {
		return nil, nil
	}
	f, err := format.Compile(text, o)
	if err != nil {
		return nil, fmt.Errorf("tracing.%s: %w", field, err)
	}
	return f, nil
}

// percent is a fraction in hundredths of a percent; nil is all.
func percent(p *typev3.Percent) match.Fraction {
	if p == nil {
		return match.All
	}
	return match.Fraction{N: uint32(math.Round(p.GetValue() * 100)), Of: 10_000}
}
