// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"weir.dev/weir/proxy/upstream/outlier"
)

// health compiles how hosts are watched.
func (k *compiler) health() {
	o := &k.out.Settings
	// A cluster that finds its hosts by itself knows when they are not needed any more.
	o.KeepHealthy = !k.cluster.GetIgnoreHealthOnHostRemoval() && !k.clusterProvided()
	if list := k.cluster.GetHealthChecks(); len(list) > 0 {
		if k.cx.HealthChecks == nil {
			k.fail("health_checks", "active health checks are not known", "remove them")
			return
		}
		checks, problems := k.cx.HealthChecks(list, o)
		for _, p := range problems {
			k.failErr("", p)
		}
		k.out.checks = checks
	}
	if m := k.cluster.GetOutlierDetection(); m != nil {
		c, problems := outlier.Compile(m)
		for _, p := range problems {
			k.failErr("outlier_detection", p)
		}
		o.Outlier = c
	}
}
