// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"testing"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &corev3.TransportSocket{}, &xdscorev3.TypedExtensionConfig{}, &corev3.ExtensionConfigSource{})
}
