// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"testing"

	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
