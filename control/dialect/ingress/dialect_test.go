// SPDX-License-Identifier: Apache-2.0

package ingress_test

import (
	"testing"

	"weir.dev/weir/control/controltest"
)

func TestGoldens(t *testing.T) { controltest.Run(t, "testdata/*.txtar") }
