// SPDX-License-Identifier: Apache-2.0

package downstreamconnections

import (
	_ "embed"
	"fmt"

	downstreamconnectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/overload"

	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.resource_monitors.downstream_connections"

//go:embed fields.txt
var fields string

// Extension describes the monitor.
func Extension() extension.Plugin[overload.Maker] {
	return extension.Plugin[overload.Maker]{Name: Name, Config: &downstreamconnectionsv3.DownstreamConnectionsConfig{}, Fields: ledger.MustParse(fields), New: compile}
}

func compile(cfg proto.Message) (overload.Maker, error) {
	m, ok := cfg.(*downstreamconnectionsv3.DownstreamConnectionsConfig)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	most := m.GetMaxActiveDownstreamConnections()
	if most <= 0 {
		return nil, fmt.Errorf("max_active_downstream_connections: %d is not above 0: set how many connections the process may have", most)
	}
	return func(s *overload.Sources) (overload.Monitor, error) {
		return &monitor{open: s.Connections, most: most}, nil
	}, nil
}
