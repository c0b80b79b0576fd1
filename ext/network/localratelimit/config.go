// SPDX-License-Identifier: Apache-2.0

package localratelimit

import (
	_ "embed"
	"fmt"

	localratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/tokenbucket"
	"weir.dev/weir/xds/ledger"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.local_ratelimit"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the filter. Buckets with a share_key are shared by all
// filters that one Extension makes.
func Extension() extension.NetworkFilter {
	shared := &sharedBuckets{}
	return extension.NetworkFilter{
		Name: Name, Config: &localratelimitv3.LocalRateLimit{},
		New: func(cfg proto.Message, c *extension.Network) (conn.Filter, error) {
			return newFilter(cfg.(*localratelimitv3.LocalRateLimit), c, shared)
		},
	}
}

func newFilter(m *localratelimitv3.LocalRateLimit, c *extension.Network, shared *sharedBuckets) (conn.Filter, error) {
	if err := supported.Apply(m, "", c.Warn("local rate limit filter", "listener", c.Listener)); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	r, err := tokenbucket.Compile(m.GetTokenBucket())
	if err != nil {
		return nil, fmt.Errorf("token_bucket.%w", err)
	}
	f := &Filter{enabled: match.CompileRuntimeFlag(m.GetRuntimeEnabled()), runtime: c.Runtime}
	if m.GetShareKey() == "" {
		f.bucket = tokenbucket.New(r, engine.Nano())
	} else {
		var release func()
		f.bucket, release = shared.get(m.GetShareKey(), r)
		c.Own(release)
	}
	f.stats = stats.Register[Stats](c.Stats.Scope("local_rate_limit."+stats.Sanitize(m.GetStatPrefix())), len(c.Loops))
	c.Own(f.stats.Close)
	return f, nil
}
