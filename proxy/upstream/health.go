// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream/outlier"
)

// HealthChecks are the active health checks of one cluster.
type HealthChecks interface {
	// Update tells which hosts there are, whenever they have changed. It does not wait,
	// and does not call the cluster.
	Update(hosts []*Host)
	// Fail tells that a response of the host asked to leave it out.
	Fail(h *Host)
	// Close ends the checks, after which they do not call the cluster any more.
	Close()
}

// NewHealthChecks makes the checks of a cluster, with statistics in its scope. They call
// SetHealth, and checked once, when the hosts of the first Update have been checked.
type NewHealthChecks func(c *Cluster, scope *stats.Scope, checked func()) HealthChecks

// activeFlags are those of active health checks.
const activeFlags = FailedActiveHC | DegradedActiveHC | PendingActiveHC | ExcludedViaImmediateHCFail | ActiveHCTimeout

// FailHealth tells that a response of a host asked to leave it out
// (x-envoy-immediate-health-check-fail). Only where hosts are checked, so that it can come
// back, it is believed. It may be called from any goroutine and does not wait.
func (h *Host) FailHealth() {
	const already = FailedActiveHC | ExcludedViaImmediateHCFail
	if c := h.Cluster; c != nil && c.checks != nil && h.Flags()&already != already {
		c.checks.Fail(h)
	}
}

// unchecked are the flags of a host that is to be checked and has not been yet: it is
// not used before.
func (c *Cluster) unchecked(e *Endpoint) HealthFlags {
	switch {
	case c.checks == nil || e.Check.Disabled:
		return 0
	case c.HostSets.IgnoreNewHosts:
		return FailedActiveHC | PendingActiveHC
	}
	return FailedActiveHC
}

// recheck sets the flags of a host whose endpoint has changed from old: one that is asked
// elsewhere from now on is as a new one.
func (c *Cluster) recheck(h *Host, old *Endpoint) {
	if c.checks != nil && (old.Check.Address != h.Check.Address || old.Check.Disabled != h.Check.Disabled) {
		set := c.unchecked(&h.Endpoint)
		h.SetFlags(set, activeFlags&^set)
	}
}

// stays reports whether a host that discovery does not tell of any more is kept: as long
// as checks find it healthy, unless the configuration says otherwise. What discovery says
// may be wrong; what the host itself says is not.
func (c *Cluster) stays(h *Host) bool {
	return c.checks != nil && c.KeepHealthy && !h.Check.Disabled && h.Flags()&(FailedActiveHC|FailedEDSHealth|EDSStatusDraining) == 0
}

// drop takes a host away that was kept only while it was healthy. It is called with mu
// held.
func (c *Cluster) drop(h *Host) {
	var hosts []*Host
	for _, x := range c.set.Hosts {
		if !x.Same(h) {
			hosts = append(hosts, x)
		}
	}
	if len(hosts) == len(c.set.Hosts) {
		return
	}
	h.leave()
	c.membership++
	c.members.Change.Inc()
	c.watch(hosts)
	c.publish(hosts)
}

// firstChecked ends the warm-up: balancers learn what the checks have found.
func (c *Cluster) firstChecked() {
	c.rebuild()
	c.setWarm()
}

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
	if c.checks != nil {
		c.checks.Update(hosts)
	}
	if c.outlier == nil {
		return
	}
	monitors := make([]*outlier.Monitor, len(hosts))
	for i, h := range hosts {
		monitors[i] = h.Outlier
	}
	c.outlier.Update(monitors)
}
