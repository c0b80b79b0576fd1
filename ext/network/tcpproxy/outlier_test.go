// SPDX-License-Identifier: Apache-2.0

package tcpproxy_test

import (
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/reserve"
	"weir.dev/weir/proxy/proxytest"
)

// TestUnreachableHostsAreEjected: connections that fail make a host an outlier, and those
// that succeed end a run.
func TestUnreachableHostsAreEjected(t *testing.T) {
	for _, tt := range []struct{ name, detection, stat string }{
		{"as 5xx", "consecutive_5xx: 3", "consecutive_5xx"},
		{"as local errors", "split_external_local_origin_errors: true, consecutive_local_origin_failure: 3", "consecutive_local_origin_failure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := proxytest.NewUpstream(t, echo)
			gone := reserve.TCP(t)
			e := edge{target: "cluster: two", clusters: `, {name: two, connect_timeout: 1s, outlier_detection: {max_ejection_percent: 50, base_ejection_time: 600s, ` + tt.detection +
				`}, load_assignment: {cluster_name: two, endpoints: [{lb_endpoints: [{endpoint: {address: {{up}}}}, {endpoint: {address: {{gone}}}}]}]}}`}
			p := proxytest.Start(t, e.yaml(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr(), "gone": gone}})
			exchange := func() bool {
				c := p.Dial()
				defer c.Close()
				if c.TrySend("x") != nil {
					return false // The proxy was faster.
				}
				n, _ := c.Conn().Read(make([]byte, 1))
				return n == 1
			}
			for range 6 {
				exchange()
			}
			p.WaitCounter("cluster.two.outlier_detection.ejections_enforced_"+tt.stat, 1)
			p.WaitGauge("cluster.two.membership_healthy", 1)
			for range 6 {
				if !exchange() {
					t.Error("a connection went to the ejected host")
				}
			}
		})
	}
}
