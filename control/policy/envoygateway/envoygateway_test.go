// SPDX-License-Identifier: Apache-2.0

package envoygateway_test

import (
	"testing"

	"weir.dev/weir/control/controltest"
)

func TestPolicies(t *testing.T) { controltest.Run(t, "testdata/*.txtar") }
