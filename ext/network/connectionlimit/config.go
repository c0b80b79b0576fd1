// SPDX-License-Identifier: Apache-2.0

package connectionlimit

import (
	_ "embed"

	connectionlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds/ledger"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.connection_limit"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the filter.
func Extension() extension.NetworkFilter {
	return extension.NetworkFilter{Name: Name, Config: &connectionlimitv3.ConnectionLimit{}, New: newFilter}
}

func newFilter(cfg proto.Message, c *extension.Network) (conn.Filter, error) {
	m := cfg.(*connectionlimitv3.ConnectionLimit)
	if err := supported.Apply(m, "", c.Warn("connection limit filter", "listener", c.Listener)); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	f := &Filter{limit: m.GetMaxConnections().GetValue(), delay: m.GetDelay().AsDuration(), enabled: match.CompileRuntimeFlag(m.GetRuntimeEnabled()), runtime: c.Runtime}
	f.stats = stats.Register[Stats](c.Stats.Scope("connection_limit."+stats.Sanitize(m.GetStatPrefix())), len(c.Loops))
	c.Own(f.stats.Close)
	return f, nil
}
