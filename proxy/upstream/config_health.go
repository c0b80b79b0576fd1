// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"weir.dev/weir/proxy/upstream/outlier"
)

// health compiles how hosts are watched.
func (k *compiler) health() {
	if m := k.cluster.GetOutlierDetection(); m != nil {
		c, problems := outlier.Compile(m)
		for _, p := range problems {
			k.failErr("outlier_detection", p)
		}
		k.out.Outlier = c
	}
}
