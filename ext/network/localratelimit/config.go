// SPDX-License-Identifier: Apache-2.0

package localratelimit

import (
	_ "embed"
	"errors"
	"time"

	localratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats"
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

// minInterval is the shortest fill_interval that Envoy takes.
const minInterval = 50 * time.Millisecond

func newFilter(m *localratelimitv3.LocalRateLimit, c *extension.Network, shared *sharedBuckets) (conn.Filter, error) {
	if err := supported.Apply(m, "", c.Warn("local rate limit filter", "listener", c.Listener)); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	tb := m.GetTokenBucket()
	r := rate{most: uint64(tb.GetMaxTokens()), fill: 1, every: tb.GetFillInterval().AsDuration()}
	if v := tb.GetTokensPerFill(); v != nil {
		r.fill = uint64(v.GetValue())
	}
	if r.every < minInterval {
		return nil, errors.New("token_bucket.fill_interval: is below 50ms: raise it, and tokens_per_fill with it")
	}
	f := &Filter{enabled: true, runtime: c.Runtime}
	if m.GetShareKey() == "" {
		f.bucket = newBucket(r)
	} else {
		var release func()
		f.bucket, release = shared.get(m.GetShareKey(), r)
		c.Own(release)
	}
	if e := m.GetRuntimeEnabled(); e != nil {
		f.enabled, f.key = e.GetDefaultValue().GetValue(), e.GetRuntimeKey()
	}
	f.stats = stats.Register[Stats](c.Stats.Scope("local_rate_limit."+stats.Sanitize(m.GetStatPrefix())), len(c.Loops))
	c.Own(f.stats.Close)
	return f, nil
}
