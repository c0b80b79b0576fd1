// SPDX-License-Identifier: Apache-2.0

package omithostmetadata

import (
	"reflect"

	"weir.dev/weir/proxy/upstream"
)

// namespace is where the metadata of hosts stands.
const namespace = "envoy.lb"

// refuse returns a predicate that refuses hosts which have all the given keys and
// values. Of a host's value that is a list, one element is enough.
func refuse(match map[string]any) upstream.HostPredicate {
	return func(h *upstream.Host, _ []*upstream.Host) bool {
		have := h.Metadata[namespace]
		for k, v := range match {
			if got, ok := have[k]; !ok || !equal(got, v) {
				return false
			}
		}
		return len(match) > 0
	}
}

func equal(have, want any) bool {
	if list, ok := have.([]any); ok {
		for _, v := range list {
			if reflect.DeepEqual(v, want) {
				return true
			}
		}
		return false
	}
	return reflect.DeepEqual(have, want)
}
