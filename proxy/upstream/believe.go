// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"net/http"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// Believe takes what the head of a response says of its host. Of a gRPC call, a status
// in the head counts in place of HTTP's, as in Envoy; one in the trailers does not.
func (h *Host) Believe(loop, status int, head *header.Map, grpc bool) {
	if grpc {
		if code, ok := stream.ParseGRPCStatus(head.Get(header.GRPCStatus)); ok {
			status = stream.HTTPFromGRPC(code)
		}
	}
	h.Outlier.Response(loop, h.judged(status, head))
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
func (h *Host) judged(status int, head *header.Map) int {
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
