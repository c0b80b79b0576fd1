// SPDX-License-Identifier: Apache-2.0

package cpuutilization

import (
	"testing"

	cpuutilizationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/cpu_utilization/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &cpuutilizationv3.CpuUtilizationConfig{})
}
