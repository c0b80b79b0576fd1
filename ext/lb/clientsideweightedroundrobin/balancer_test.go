// SPDX-License-Identifier: Apache-2.0

package clientsideweightedroundrobin

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/orca"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/balancertest"
)

func TestConformance(t *testing.T) {
	balancertest.Run(t, New(Config{}), balancertest.Options{})
}

func TestWeightOfReports(t *testing.T) {
	for _, tt := range []struct {
		config Config
		report orca.Report
		want   uint32
		ok     bool
	}{
		{Config{}, orca.Report{RPS: 100, Application: 0.5, CPU: 0.1}, 200, true},
		{Config{}, orca.Report{RPS: 100, CPU: 0.25}, 400, true},
		{Config{Metrics: []string{"named_metrics.q"}}, orca.Report{RPS: 100, CPU: 0.25, Metrics: []orca.Metric{{Name: "named_metrics.q", Value: 0.8}}}, 125, true},
		{Config{Penalty: 1}, orca.Report{RPS: 100, CPU: 0.25, EPS: 25}, 200, true},
		{Config{}, orca.Report{CPU: 0.5}, 0, false},
		{Config{}, orca.Report{RPS: 10}, 0, false},
		{Config{}, orca.Report{RPS: 1e12, CPU: 1e-6}, math.MaxUint32, true},
	} {
		if w, ok := tt.config.weigh(&tt.report); w != tt.want || ok != tt.ok {
			t.Errorf("%+v weighs %d (%v), want %d (%v)", tt.report, w, ok, tt.want, tt.ok)
		}
	}
}

func TestSharesFollowReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := balancertest.Hosts(1, 1, 1)
		b := balancertest.Balancer(New(Config{}), 1, hosts...)
		c := &upstream.PickContext{}
		report := func(h *upstream.Host, cpu float64) {
			if b.Pick(c); c.Reports == nil {
				t.Fatal("no reports are wanted")
			}
			var f header.Map
			f.Add(header.NewName("endpoint-load-metrics"), fmt.Sprintf("TEXT cpu_utilization=%g,rps_fractional=100", cpu))
			c.Reports.Report(h, &f)
		}
		share := func(h *upstream.Host) float64 {
			time.Sleep(time.Second)
			balancertest.Count(b, 30) // Hosts are scheduled by the weight they had.
			return float64(balancertest.Count(b, 6000)[h]) / 6000
		}
		check := func(what string, h *upstream.Host, want float64) {
			t.Helper()
			if got := share(h); math.Abs(got-want) > 0.025 {
				t.Errorf("%s: the share is %.3f, want %.3f", what, got, want)
			}
		}
		report(hosts[0], 0.5) // 200
		report(hosts[1], 0.25)
		check("in the blackout", hosts[0], 1.0/3)
		time.Sleep(10 * time.Second)
		// The third weighs as the median of 200 and 400: the upper one.
		check("after it", hosts[0], 0.2)
		check("without a report", hosts[2], 0.4)
		report(hosts[2], 1)
		time.Sleep(11 * time.Second)
		check("with all reports", hosts[2], 1.0/7)
		time.Sleep(4 * time.Minute)
		check("when they are old", hosts[2], 1.0/3)
	})
}
