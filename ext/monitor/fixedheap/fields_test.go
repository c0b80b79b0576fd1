// SPDX-License-Identifier: Apache-2.0

package fixedheap

import (
	"testing"

	fixedheapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &fixedheapv3.FixedHeapConfig{}) }
