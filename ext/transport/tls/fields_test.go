// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Extension().Config, Upstream().Config)
}
