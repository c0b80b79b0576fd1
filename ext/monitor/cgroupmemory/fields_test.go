// SPDX-License-Identifier: Apache-2.0

package cgroupmemory

import (
	"testing"

	cgroupmemoryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/cgroup_memory/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &cgroupmemoryv3.CgroupMemoryConfig{}) }
