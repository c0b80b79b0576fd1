// SPDX-License-Identifier: Apache-2.0

package omitcanaryhosts

import (
	"testing"

	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

func TestPredicate(t *testing.T) {
	for _, canary := range []bool{false, true} {
		h := upstream.NewHost(upstream.Endpoint{Metadata: streaminfo.Metadata{"envoy.lb": {"canary": canary}}}, nil, 1)
		if got := predicate(h, nil); got != canary {
			t.Errorf("canary %v: refused is %v", canary, got)
		}
	}
}
