// SPDX-License-Identifier: Apache-2.0

package wrrlocality

import (
	"testing"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Factory().Config)
}
