// SPDX-License-Identifier: Apache-2.0

package router

import (
	"net/http"

	"weir.dev/weir/proxy/upstream/outlier"
)

// blame tells outlier detection of a try that failed.
func (t *try) blame(out *outcome) {
	q := t.q
	if out.err == nil || t.host == nil {
		return
	}
	switch out.reset {
	case resetConnect, resetConnectTime, resetTermination, resetProtocol, resetRemote, resetRefused:
		t.host.Outlier.Outcome(q.up.Loop(), outlier.Failed, 0)
	case resetTry, resetStream:
		if q.failed == nil && t.cut != errTryTimeout && t.cut != errTryIdle {
			return // The client has gone, or the stream is too old.
		}
		t.blameLate()
	case noReset, resetNoHost, resetOverflow:
	}
}

// blameLate tells of a try that took too long, once.
func (t *try) blameLate() {
	if t.racer.blamed || t.host == nil {
		return
	}
	t.racer.blamed = true
	status := http.StatusGatewayTimeout
	if t.q.quiet {
		status = http.StatusNoContent // As in Envoy, what the client is told counts.
	}
	t.host.Outlier.Outcome(t.q.up.Loop(), outlier.TimedOut, status)
}
