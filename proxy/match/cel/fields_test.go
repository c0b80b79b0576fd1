// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"testing"

	exprv1 "google.golang.org/genproto/googleapis/api/expr/v1alpha1"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &exprv1.CheckedExpr{})
}
