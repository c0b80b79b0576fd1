// SPDX-License-Identifier: Apache-2.0

package allowlistedroutes

import (
	"testing"

	allowlistedroutesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/allow_listed_routes/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &allowlistedroutesv3.AllowListedRoutesConfig{})
}
