// SPDX-License-Identifier: Apache-2.0

package hcm

import "weir.dev/weir/proxy/stats"

// Stats are a connection manager's statistics (http.STAT_PREFIX.*).
type Stats struct {
	CxTotal         stats.Counter   `stat:"downstream_cx_total"`
	CxActive        stats.Gauge     `stat:"downstream_cx_active"`
	CxHTTP1Total    stats.Counter   `stat:"downstream_cx_http1_total"`
	CxHTTP1Active   stats.Gauge     `stat:"downstream_cx_http1_active"`
	CxHTTP2Total    stats.Counter   `stat:"downstream_cx_http2_total"`
	CxHTTP2Active   stats.Gauge     `stat:"downstream_cx_http2_active"`
	CxUpgradesTotal stats.Counter   `stat:"downstream_cx_upgrades_total"`
	CxUpgrades      stats.Gauge     `stat:"downstream_cx_upgrades_active"`
	CxDestroy       stats.Counter   `stat:"downstream_cx_destroy"`
	CxDestroyRemote stats.Counter   `stat:"downstream_cx_destroy_remote"`
	CxDestroyLocal  stats.Counter   `stat:"downstream_cx_destroy_local"`
	CxDestroyActive stats.Counter   `stat:"downstream_cx_destroy_active_rq"`
	CxLength        stats.Histogram `stat:"downstream_cx_length_ms,ms"`
	CxRxBytes       stats.Counter   `stat:"downstream_cx_rx_bytes_total"`
	CxTxBytes       stats.Counter   `stat:"downstream_cx_tx_bytes_total"`
	CxDrainClose    stats.Counter   `stat:"downstream_cx_drain_close"`
	CxIdleTimeout   stats.Counter   `stat:"downstream_cx_idle_timeout"`
	CxMaxDuration   stats.Counter   `stat:"downstream_cx_max_duration_reached"`
	CxMaxRequests   stats.Counter   `stat:"downstream_cx_max_requests_reached"`
	CxNoKeepAlive   stats.Counter   `stat:"downstream_cx_overload_disable_keepalive"`
	CxDelayedClose  stats.Counter   `stat:"downstream_cx_delayed_close_timeout"`
	CxProtocolError stats.Counter   `stat:"downstream_cx_protocol_error"`

	RqTotal        stats.Counter   `stat:"downstream_rq_total"`
	RqHTTP1Total   stats.Counter   `stat:"downstream_rq_http1_total"`
	RqHTTP2Total   stats.Counter   `stat:"downstream_rq_http2_total"`
	RqActive       stats.Gauge     `stat:"downstream_rq_active"`
	RqCompleted    stats.Counter   `stat:"downstream_rq_completed"`
	Rq1xx          stats.Counter   `stat:"downstream_rq_1xx"`
	Rq2xx          stats.Counter   `stat:"downstream_rq_2xx"`
	Rq3xx          stats.Counter   `stat:"downstream_rq_3xx"`
	Rq4xx          stats.Counter   `stat:"downstream_rq_4xx"`
	Rq5xx          stats.Counter   `stat:"downstream_rq_5xx"`
	RqTime         stats.Histogram `stat:"downstream_rq_time,ms"`
	RqRxReset      stats.Counter   `stat:"downstream_rq_rx_reset"`
	RqTxReset      stats.Counter   `stat:"downstream_rq_tx_reset"`
	RqIdleTimeout  stats.Counter   `stat:"downstream_rq_idle_timeout"`
	RqMaxDuration  stats.Counter   `stat:"downstream_rq_max_duration_reached"`
	RqTimeout      stats.Counter   `stat:"downstream_rq_timeout"`
	RqHeadTimeout  stats.Counter   `stat:"downstream_rq_header_timeout"`
	RqOverload     stats.Counter   `stat:"downstream_rq_overload_close"`
	RqEarly        stats.Counter   `stat:"downstream_rq_response_before_rq_complete"`
	RqNonRelative  stats.Counter   `stat:"downstream_rq_non_relative_path"`
	RqPathFailed   stats.Counter   `stat:"downstream_rq_failed_path_normalization"`
	RqPathRedirect stats.Counter   `stat:"downstream_rq_redirected_with_normalized_path"`
	RqIPRejected   stats.Counter   `stat:"downstream_rq_rejected_via_ip_detection"`
	RqWrongUpgrade stats.Counter   `stat:"downstream_rq_ws_on_non_ws_route"`
	RqTooLarge     stats.Counter   `stat:"downstream_rq_too_large"`

	TracedSampling    stats.Counter `stat:"tracing.random_sampling"`
	TracedService     stats.Counter `stat:"tracing.service_forced"`
	TracedClient      stats.Counter `stat:"tracing.client_enabled"`
	TracedHealthCheck stats.Counter `stat:"tracing.health_check"`
	NotTraceable      stats.Counter `stat:"tracing.not_traceable"`

	UnderscoreDropped  stats.Counter `stat:"http1.dropped_headers_with_underscores"`
	UnderscoreRejected stats.Counter `stat:"http1.requests_rejected_with_underscores_in_headers"`
}

// count counts a finished response by its class.
func (s *Stats) count(status int) {
	s.RqCompleted.Inc()
	switch status / 100 {
	case 1:
		s.Rq1xx.Inc()
	case 2:
		s.Rq2xx.Inc()
	case 3:
		s.Rq3xx.Inc()
	case 4:
		s.Rq4xx.Inc()
	case 5:
		s.Rq5xx.Inc()
	}
}
