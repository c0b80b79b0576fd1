// SPDX-License-Identifier: Apache-2.0

package upstreamcodec

import (
	"testing"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	e := Extension()
	ledgertest.Run(t, "fields.txt", e.Config)
	if !e.Terminal || e.Place != extension.Upstream {
		t.Errorf("%+v", e)
	}
}
