// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"math"
	"time"
)

// judge is what happens at the end of each interval.
func (d *Detector) judge(now time.Time) {
	for _, m := range d.hosts {
		if m.ejected.Load() && d.served(&m.ejection, now) {
			d.uneject(m, now)
		}
		if m.degraded.Load() && d.served(&m.demotion, now) {
			d.restore(m, now)
		}
		for o := range m.rates {
			m.rates[o].Store(math.Float64bits(-1))
		}
	}
	d.compare(external, SuccessRate, FailurePercentage, now)
	d.compare(local, SuccessRateLocalOrigin, FailurePercentageLocalOrigin, now)
	interval := d.interval()
	for _, m := range d.hosts {
		if !m.ejected.Load() {
			m.ejection.forgive(now, interval)
		}
		if !m.degraded.Load() {
			m.demotion.forgive(now, interval)
		}
	}
}

// rated is a host with its success rate of the last interval.
type rated struct {
	m    *Monitor
	rate float64
}

// compare finds the hosts whose success rate is far below the others', or below what
// is set.
func (d *Detector) compare(o origin, byRate, byPercentage Kind, now time.Time) {
	c := d.o.Config
	rateVolume := d.number(keyRateVolume, c.SuccessRate.Volume)
	percentageVolume := d.number(keyPercentageVolume, c.FailurePercentage.Volume)
	rateHosts := d.number(keyRateHosts, c.SuccessRate.MinHosts)
	percentageHosts := d.number(keyPercentageHosts, c.FailurePercentage.MinHosts)
	d.norms[o].set(-1, -1)
	var forRate, forPercentage []rated
	for _, m := range d.hosts {
		// Read whether or not it is used: the next interval begins now.
		t := m.read(o)
		if t.total == 0 || m.ejected.Load() {
			continue
		}
		h := rated{m, t.rate()}
		if t.total >= uint64(min(rateVolume, percentageVolume)) {
			m.rates[o].Store(math.Float64bits(h.rate))
		}
		if t.total >= uint64(rateVolume) {
			forRate = append(forRate, h)
		}
		if t.total >= uint64(percentageVolume) {
			forPercentage = append(forPercentage, h)
		}
	}
	if len(forRate) > 0 && len(forRate) >= int(rateHosts) {
		average, threshold := norms(forRate, float64(d.number(keyRateStdev, c.SuccessRate.StdevFactor))/1000)
		d.norms[o].set(average, threshold)
		for _, h := range forRate {
			if h.rate < threshold-rounding {
				d.stats.SuccessRate.Inc()
				d.outlier(h.m, byRate, now)
			}
		}
	}
	if len(forPercentage) > 0 && len(forPercentage) >= int(percentageHosts) {
		threshold := float64(d.number(keyPercentageThreshold, c.FailurePercentage.Threshold))
		for _, h := range forPercentage {
			if 100-h.rate >= threshold {
				d.outlier(h.m, byPercentage, now)
			}
		}
	}
}

// rounding keeps hosts that are all alike from being ejected for how numbers are rounded.
const rounding = 1e-9

// norms returns the average success rate, and the rate below which a host is an
// outlier: factor times the standard deviation less.
func norms(hosts []rated, factor float64) (average, threshold float64) {
	n := float64(len(hosts))
	for _, h := range hosts {
		average += h.rate / n
	}
	variance := 0.0
	for _, h := range hosts {
		variance += (h.rate - average) * (h.rate - average) / n
	}
	return average, average - factor*math.Sqrt(variance)
}

func (n *norm) set(average, threshold float64) {
	n.average.Store(math.Float64bits(average))
	n.threshold.Store(math.Float64bits(threshold))
}

func (n *norm) get() (average, threshold float64) {
	return math.Float64frombits(n.average.Load()), math.Float64frombits(n.threshold.Load())
}
