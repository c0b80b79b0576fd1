// SPDX-License-Identifier: Apache-2.0

package snidynamicforwardproxy

import (
	"testing"

	snidfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &snidfpv3.FilterConfig{})
}
