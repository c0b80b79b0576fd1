// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// loadReports compiles lrs_server.
func (k *compiler) loadReports(cs *corev3.ConfigSource) {
	switch {
	case cs == nil:
	case cs.GetSelf() == nil:
		k.fail("lrs_server", "only self: {} is supported: load is reported to the management server of dynamic_resources.ads_config", "for another server, set cluster_manager.load_stats_config in the bootstrap")
	case k.cx.Resources == nil || !k.cx.Resources.Aggregated:
		k.fail("lrs_server.self", "there is no dynamic_resources.ads_config, whose server would be told", "add it, or set cluster_manager.load_stats_config in the bootstrap")
	default:
		k.out.ReportsLoad = true
	}
}

// loadMetrics compiles lrs_report_endpoint_metrics.
func (k *compiler) loadMetrics(names []string) {
	scalars := []string{"cpu_utilization", "mem_utilization", "application_utilization", "eps", "rps_fractional"}
	groups := []string{"named_metrics", "utilization", "request_cost"}
	for i, n := range names {
		group, key, _ := strings.Cut(n, ".")
		switch {
		case slices.Contains(scalars, n), key != "" && slices.Contains(groups, group):
			k.out.LoadMetrics = append(k.out.LoadMetrics, n)
		default:
			k.warn(fmt.Sprintf("lrs_report_endpoint_metrics[%d]", i), fmt.Sprintf("no load report has a metric called %q: nothing is told of it", n),
				"write one of "+strings.Join(scalars, ", ")+", or a key or * after one of "+strings.Join(groups, "., ")+".")
		}
	}
}
