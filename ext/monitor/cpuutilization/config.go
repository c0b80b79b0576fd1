// SPDX-License-Identifier: Apache-2.0

package cpuutilization

import (
	_ "embed"
	"fmt"
	"time"

	cpuutilizationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/cpu_utilization/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/overload/cgroup"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.resource_monitors.cpu_utilization"

//go:embed fields.txt
var fields string

// Extension describes the monitor.
func Extension() extension.Plugin[overload.Maker] {
	return extension.Plugin[overload.Maker]{Name: Name, Config: &cpuutilizationv3.CpuUtilizationConfig{}, Fields: ledger.MustParse(fields), New: compile}
}

func compile(cfg proto.Message) (overload.Maker, error) {
	m, ok := cfg.(*cpuutilizationv3.CpuUtilizationConfig)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	switch m.GetMode() {
	case cpuutilizationv3.CpuUtilizationConfig_HOST:
		return func(*overload.Sources) (overload.Monitor, error) {
			return &monitor{clock: &host{file: "/proc/stat"}}, nil
		}, nil
	case cpuutilizationv3.CpuUtilizationConfig_CONTAINER:
		return func(*overload.Sources) (overload.Monitor, error) {
			g, err := cgroup.Own(cgroup.Root)
			if err != nil {
				return nil, err
			}
			return &monitor{clock: &container{group: g, now: time.Now}}, nil
		}, nil
	}
	return nil, fmt.Errorf("mode: %s is not known: use HOST or CONTAINER", m.GetMode())
}
