// SPDX-License-Identifier: Apache-2.0

package faultlab

import (
	"fmt"
	"testing"
	"time"
)

// What the configuration of a flip says of faults.
const (
	noBackOff = "upstream.base_connect_backoff_ms: 0"
	outlier   = "outlier_detection: {max_ejection_percent: 50, interval: %s, base_ejection_time: %s}"
	retried   = ", retry_policy: {retry_on: 5xx}"
	// impatient leaves a host that does not answer soon.
	impatient = ", retry_policy: {retry_on: 5xx, per_try_timeout: 0.5s}"
	// Envoy allows three retries at a time, which a burst of requests exceeds before the
	// host is ejected.
	manyRetries = "circuit_breakers: {thresholds: [{max_retries: 100}]}"
)

// TestFlip has one of four hosts fail for 22 s (here: two), be well for as long, and so on,
// under 200 requests a second, and counts the requests that are sent to it while it fails:
// beside those that round robin alone would send, and beside what clients notice. Run it with
// -full for the real times.
func TestFlip(t *testing.T) {
	phase, flips := 2200*time.Millisecond, 2
	if *full {
		phase, flips = 22*time.Second, 5
	}
	for _, c := range []struct {
		name, fault string
		route       string
		outlier     bool
		runtime     string
		breakers    string
		share       float64 // of round robin's, at most, in percent; 0 asks for nothing
		each        int     // requests at most in each failure; 0 asks for nothing
		perfect     bool    // no client notices
	}{
		{name: "refuses, round robin alone", fault: refuses, runtime: noBackOff},
		{name: "refuses, no policy", fault: refuses, share: 25},
		{name: "refuses, outlier detection", fault: refuses, outlier: true, each: 11},
		{name: "refuses, retries", fault: refuses, route: retried, share: 25, perfect: true},
		{name: "vanishes, no policy", fault: vanishes, each: 90},
		{name: "answers 503, no policy", fault: unavailable},
		{name: "answers 503, outlier detection", fault: unavailable, outlier: true, each: 11},
		{name: "answers 503, outlier detection and retries", fault: unavailable, outlier: true, route: retried, each: 11, perfect: true, breakers: manyRetries},
		{name: "resets, outlier detection and retries", fault: drops, outlier: true, route: retried, each: 11, perfect: true, breakers: manyRetries},
		{name: "hangs, outlier detection and short tries", fault: hangs, outlier: true, route: impatient, perfect: true, breakers: manyRetries},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hosts := []*host{newHost(t, "a"), newHost(t, "b"), newHost(t, "c"), newHost(t, "d")}
			var detection string
			if c.outlier {
				detection = fmt.Sprintf(outlier, seconds(phase*10/22), seconds(phase*30/22))
			}
			w := start(t, setup{routes: toC(c.route), clusters: cluster(endpoints(hosts), "connect_timeout: 2s", detection, c.breakers), runtime: c.runtime})
			l, bad, away := w.startLoad(200, "/"), hosts[1], c.fault == refuses || c.fault == vanishes
			reached, sent, most := 0, 0, 0
			for range flips {
				bad.tell(c.fault)
				from, begun := w.reached(bad, away), int(l.sent.Load())
				<-time.After(phase)
				n := w.reached(bad, away) - from
				reached, sent, most = reached+n, sent+int(l.sent.Load())-begun, max(most, n)
				bad.tell(serves)
				<-time.After(phase)
			}
			before := l.answers()["b"]
			<-time.After(phase / 2)
			if after := l.answers()["b"]; after == before && !c.outlier {
				t.Error("the host got nothing any more once it was well")
			}
			all, failed := l.end()
			share := 100 * float64(reached) / (float64(sent) / 4)
			t.Logf("%-44s %5d of %5d requests reached it while it failed (%6.2f %% of round robin's, at most %d in a row of %v); of %d clients %d noticed",
				c.name, reached, sent, share, most, phase, all, len(failed))
			if c.share > 0 && share > c.share {
				t.Errorf("%.1f %% of what round robin would send, want at most %v %%", share, c.share)
			}
			if c.each > 0 && most > c.each {
				t.Errorf("%d requests in one failure, want at most %d, one percent of what round robin would send in 22 s", most, c.each)
			}
			if c.perfect && len(failed) > 0 {
				t.Errorf("%d clients noticed; one got %s", len(failed), failed[0])
			}
		})
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3fs", d.Seconds()) }
