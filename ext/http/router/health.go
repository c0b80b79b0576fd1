// SPDX-License-Identifier: Apache-2.0

package router

import (
	"net/http"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/outlier"
)

// believe takes what a response says of its host. Of a gRPC call, a status in the head
// counts in place of HTTP's, as in Envoy; one in the trailers does not.
func believe(loop int, h *upstream.Host, status int, head *header.Map, grpc bool) {
	if grpc {
		if code, ok := stream.ParseGRPCStatus(head.Get(header.GRPCStatus)); ok {
			status = stream.HTTPFromGRPC(code)
		}
	}
	h.Outlier.Response(loop, judged(h, status, head))
	h.Reached()
	if !head.HasEnvoy() {
		return
	}
	if head.Has(header.XEnvoyDegraded) {
		h.Outlier.Degraded()
	}
	if head.Has(header.XEnvoyImmediateHealthCheckFail) {
		h.FailHealth()
	}
}

// judged is the status that outlier detection is told: the response's own, unless the
// cluster says which responses are errors.
func judged(h *upstream.Host, status int, head *header.Map) int {
	if h.Cluster == nil || h.Cluster.HTTP.Errors == nil {
		return status
	}
	switch isError := h.Cluster.HTTP.Errors(head); {
	case !isError:
		return http.StatusOK
	case status < 500:
		return http.StatusInternalServerError
	}
	return status
}

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
