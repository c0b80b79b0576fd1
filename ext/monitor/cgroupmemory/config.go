// SPDX-License-Identifier: Apache-2.0

package cgroupmemory

import (
	_ "embed"
	"fmt"

	cgroupmemoryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/cgroup_memory/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/overload/cgroup"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.resource_monitors.cgroup_memory"

//go:embed fields.txt
var fields string

// Extension describes the monitor.
func Extension() extension.Plugin[overload.Maker] {
	return extension.Plugin[overload.Maker]{Name: Name, Config: &cgroupmemoryv3.CgroupMemoryConfig{}, Fields: ledger.MustParse(fields), New: compile}
}

func compile(cfg proto.Message) (overload.Maker, error) {
	m, ok := cfg.(*cgroupmemoryv3.CgroupMemoryConfig)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	return func(*overload.Sources) (overload.Monitor, error) {
		g, err := cgroup.Own(cgroup.Root)
		if err != nil {
			return nil, err
		}
		return &monitor{group: g, most: m.GetMaxMemoryBytes()}, nil
	}, nil
}
