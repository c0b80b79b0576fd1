// SPDX-License-Identifier: Apache-2.0

package previoushosts

import (
	"slices"

	"weir.dev/weir/proxy/upstream"
)

func predicate(h *upstream.Host, attempted []*upstream.Host) bool {
	return slices.ContainsFunc(attempted, h.Same)
}
