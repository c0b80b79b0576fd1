// SPDX-License-Identifier: Apache-2.0

package filterstate

import (
	"testing"

	filterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/filter_state/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &filterstatev3.FilterStateConfig{}) }
