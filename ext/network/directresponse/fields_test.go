// SPDX-License-Identifier: Apache-2.0

package directresponse

import (
	"testing"

	directresponsev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/direct_response/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &directresponsev3.Config{})
}
