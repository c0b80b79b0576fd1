// SPDX-License-Identifier: Apache-2.0

package upstream

import "weir.dev/weir/proxy/upstream/outlier"

// judged is a host as outlier detection has to do with it.
type judged struct{ *Host }

// Eject takes the host out, or back.
func (h judged) Eject(on bool) { h.mark(FailedOutlierCheck, on) }

// Degrade marks the host as degraded, or not any more.
func (h judged) Degrade(on bool) { h.mark(DegradedOutlierDetection, on) }

func (h judged) mark(flag HealthFlags, on bool) {
	if on {
		h.Cluster.SetHealth(h.Host, flag, 0)
	} else {
		h.Cluster.SetHealth(h.Host, 0, flag)
	}
}

// URL is the host's address.
func (h judged) URL() string { return h.Address.String() }

// OutlierDetector returns the cluster's outlier detection; nil if it has none.
func (c *Cluster) OutlierDetector() *outlier.Detector { return c.outlier }

// watch tells those who watch hosts which ones there are now. It is called with mu held.
func (c *Cluster) watch(hosts []*Host) {
	if c.outlier == nil {
		return
	}
	monitors := make([]*outlier.Monitor, len(hosts))
	for i, h := range hosts {
		monitors[i] = h.Outlier
	}
	c.outlier.Update(monitors)
}
