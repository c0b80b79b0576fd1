// SPDX-License-Identifier: Apache-2.0

package filterstate

import (
	"strconv"

	"weir.dev/weir/proxy/route"
)

// decidedBy returns the predicate that agrees if the object under key is true. One that
// is neither true nor false is as absent.
func decidedBy(key string, absent bool) route.RedirectPredicate {
	return func(t *route.RedirectTarget) bool {
		o := t.State[key]
		if b, ok := o.Value.(bool); ok {
			return b
		}
		if b, err := strconv.ParseBool(o.Text); err == nil {
			return b
		}
		return absent
	}
}
