// SPDX-License-Identifier: Apache-2.0

package injectedresource

import (
	"testing"

	injectedresourcev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/injected_resource/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &injectedresourcev3.InjectedResourceConfig{})
}
