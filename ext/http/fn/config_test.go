// SPDX-License-Identifier: Apache-2.0

package fn

import (
	"testing"

	"weir.dev/weir/xds/ledger/ledgertest"
	"weir.dev/weir/xds/typedstruct"
)

func TestFields(t *testing.T) {
	ledgertest.RunStruct(t, "fields.txt", Type, typedstruct.Fields(settings{})...)
}
