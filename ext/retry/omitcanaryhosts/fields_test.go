// SPDX-License-Identifier: Apache-2.0

package omitcanaryhosts

import (
	"testing"

	omitcanaryhostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_canary_hosts/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &omitcanaryhostsv3.OmitCanaryHostsPredicate{})
}
