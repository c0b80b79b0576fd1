// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"testing"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &metricsv3.StatsConfig{}, &metricsv3.StatsMatcher{}, &metricsv3.TagSpecifier{},
		&metricsv3.HistogramBucketSettings{})
}
