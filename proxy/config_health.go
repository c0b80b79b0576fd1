// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"

	"weir.dev/weir/proxy/admin"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/health"
	"weir.dev/weir/proxy/upstream/outlier"
)

// healthChecks compiles the active health checks of clusters.
func (p *Proxy) healthChecks() *health.Compiler {
	return &health.Compiler{
		Factories: p.opts.Extensions.HealthCheckers, Files: p.files,
		Options: &health.Options{Loops: p.loops, Runtime: p.runtime},
	}
}

// outlierEvents returns who is told of hosts that are ejected: the log that the
// bootstrap names, or nil.
func (p *Proxy) outlierEvents() (func(*outlier.Event), error) {
	path := p.opts.Bootstrap.GetClusterManager().GetOutlierDetection().GetEventLogPath()
	if path == "" {
		return nil, nil
	}
	w, err := p.files.Writer(path)
	if err != nil {
		return nil, fmt.Errorf("cluster_manager.outlier_detection.event_log_path: %w", err)
	}
	return func(e *outlier.Event) { w.Event(e.Append(nil)) }, nil
}

// outlierStatus is what /clusters tells of outlier detection; nil without it.
func outlierStatus(c *upstream.Cluster) *admin.OutlierStatus {
	d := c.OutlierDetector()
	if d == nil {
		return nil
	}
	s := &admin.OutlierStatus{}
	s.SuccessRateAverage, s.SuccessRateEjectionThreshold = d.Norm(false)
	s.LocalOriginSuccessRateAverage, s.LocalOriginSuccessRateEjectionThreshold = d.Norm(true)
	return s
}
