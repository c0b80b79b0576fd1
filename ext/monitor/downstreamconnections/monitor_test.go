// SPDX-License-Identifier: Apache-2.0

package downstreamconnections

import (
	"testing"

	downstreamconnectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"

	"weir.dev/weir/proxy/overload"
)

func TestMonitor(t *testing.T) {
	made, err := compile(&downstreamconnectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: 200})
	if err != nil {
		t.Fatal(err)
	}
	m, err := made(&overload.Sources{Connections: func() int64 { return 50 }})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := m.Pressure(); p != 0.25 || err != nil {
		t.Errorf("pressure %v (%v), want 0.25", p, err)
	}
	if l, ok := m.(overload.Limiter); !ok || l.MaxConnections() != 200 {
		t.Error("listeners are told no limit")
	}
	if _, err := compile(&downstreamconnectionsv3.DownstreamConnectionsConfig{}); err == nil {
		t.Error("no limit is taken")
	}
}
