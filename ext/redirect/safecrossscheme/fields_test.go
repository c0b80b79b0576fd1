// SPDX-License-Identifier: Apache-2.0

package safecrossscheme

import (
	"testing"

	safecrossschemev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/safe_cross_scheme/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &safecrossschemev3.SafeCrossSchemeConfig{})
}
