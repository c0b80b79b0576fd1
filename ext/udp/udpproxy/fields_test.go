// SPDX-License-Identifier: Apache-2.0

package udpproxy

import (
	"testing"

	udpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &udpproxyv3.UdpProxyConfig{}, &udpproxyv3.Route{})
}
