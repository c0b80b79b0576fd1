// SPDX-License-Identifier: Apache-2.0

package localratelimit

import (
	"fmt"

	localratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/local_ratelimit/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/tokenbucket"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.listener.local_ratelimit"

// Extension returns the filter's place in a registry.
func Extension() extension.ListenerFilter {
	return extension.ListenerFilter{Name: Name, Config: &localratelimitv3.LocalRateLimit{}, New: newFilter}
}

func newFilter(cfg proto.Message, c *extension.Network) (listener.Filter, error) {
	m, ok := cfg.(*localratelimitv3.LocalRateLimit)
	if !ok {
		return nil, fmt.Errorf("configuration is a %s, not a LocalRateLimit", cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	rate, err := tokenbucket.Compile(m.GetTokenBucket())
	if err != nil {
		return nil, fmt.Errorf("token_bucket.%w", err)
	}
	f := &filter{
		enabled: match.CompileRuntimeFlag(m.GetRuntimeEnabled()),
		runtime: c.Runtime,
		bucket:  tokenbucket.New(rate, engine.Nano()),
	}
	f.stats = stats.Register[Stats](c.Stats.Scope("listener_local_ratelimit."+m.GetStatPrefix()+"."), len(c.Loops))
	c.Own(f.stats.Close)
	return f, nil
}
