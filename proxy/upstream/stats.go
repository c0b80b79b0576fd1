// SPDX-License-Identifier: Apache-2.0

package upstream

import "weir.dev/weir/proxy/stats"

// Stats are one loop's statistics of a cluster, under Envoy's names below
// "cluster.<name>.". The pool, the router and the cluster itself each count their part.
type Stats struct {
	// Connections, counted by the pools.
	CxTotal                        stats.Counter   `stat:"upstream_cx_total"`
	CxActive                       stats.Gauge     `stat:"upstream_cx_active"`
	CxHTTP1Total                   stats.Counter   `stat:"upstream_cx_http1_total"`
	CxHTTP2Total                   stats.Counter   `stat:"upstream_cx_http2_total"`
	CxHTTP3Total                   stats.Counter   `stat:"upstream_cx_http3_total"`
	CxConnectFail                  stats.Counter   `stat:"upstream_cx_connect_fail"`
	CxConnectTimeout               stats.Counter   `stat:"upstream_cx_connect_timeout"`
	CxConnectWithZeroRTT           stats.Counter   `stat:"upstream_cx_connect_with_0_rtt"`
	CxConnectAttemptsExceeded      stats.Counter   `stat:"upstream_cx_connect_attempts_exceeded"`
	CxIdleTimeout                  stats.Counter   `stat:"upstream_cx_idle_timeout"`
	CxMaxDurationReached           stats.Counter   `stat:"upstream_cx_max_duration_reached"`
	CxMaxRequests                  stats.Counter   `stat:"upstream_cx_max_requests"`
	CxNoneHealthy                  stats.Counter   `stat:"upstream_cx_none_healthy"`
	CxOverflow                     stats.Counter   `stat:"upstream_cx_overflow"`
	CxPoolOverflow                 stats.Counter   `stat:"upstream_cx_pool_overflow"`
	CxProtocolError                stats.Counter   `stat:"upstream_cx_protocol_error"`
	CxDestroy                      stats.Counter   `stat:"upstream_cx_destroy"`
	CxDestroyLocal                 stats.Counter   `stat:"upstream_cx_destroy_local"`
	CxDestroyRemote                stats.Counter   `stat:"upstream_cx_destroy_remote"`
	CxDestroyWithActiveRq          stats.Counter   `stat:"upstream_cx_destroy_with_active_rq"`
	CxDestroyLocalWithActiveRq     stats.Counter   `stat:"upstream_cx_destroy_local_with_active_rq"`
	CxDestroyRemoteWithActiveRq    stats.Counter   `stat:"upstream_cx_destroy_remote_with_active_rq"`
	CxCloseNotify                  stats.Counter   `stat:"upstream_cx_close_notify"`
	CxRxBytesTotal                 stats.Counter   `stat:"upstream_cx_rx_bytes_total"`
	CxTxBytesTotal                 stats.Counter   `stat:"upstream_cx_tx_bytes_total"`
	CxConnectTime                  stats.Histogram `stat:"upstream_cx_connect_ms,ms"`
	CxLength                       stats.Histogram `stat:"upstream_cx_length_ms,ms"`
	FlowControlPausedReadingTotal  stats.Counter   `stat:"upstream_flow_control_paused_reading_total"`
	FlowControlResumedReadingTotal stats.Counter   `stat:"upstream_flow_control_resumed_reading_total"`
	FlowControlBackedUpTotal       stats.Counter   `stat:"upstream_flow_control_backed_up_total"`
	FlowControlDrainedTotal        stats.Counter   `stat:"upstream_flow_control_drained_total"`
	InternalRedirectFailedTotal    stats.Counter   `stat:"upstream_internal_redirect_failed_total"`
	InternalRedirectSucceededTotal stats.Counter   `stat:"upstream_internal_redirect_succeeded_total"`
	OriginalDstHostInvalid         stats.Counter   `stat:"original_dst_host_invalid"`
	BindErrors                     stats.Counter   `stat:"bind_errors"`

	// Requests, counted by pools and router.
	RqTotal                   stats.Counter `stat:"upstream_rq_total"`
	RqActive                  stats.Gauge   `stat:"upstream_rq_active"`
	RqPendingTotal            stats.Counter `stat:"upstream_rq_pending_total"`
	RqPendingActive           stats.Gauge   `stat:"upstream_rq_pending_active"`
	RqPendingOverflow         stats.Counter `stat:"upstream_rq_pending_overflow"`
	RqPendingFailureEject     stats.Counter `stat:"upstream_rq_pending_failure_eject"`
	RqCancelled               stats.Counter `stat:"upstream_rq_cancelled"`
	RqMaintenanceMode         stats.Counter `stat:"upstream_rq_maintenance_mode"`
	RqDropOverload            stats.Counter `stat:"upstream_rq_drop_overload"`
	RqTimeout                 stats.Counter `stat:"upstream_rq_timeout"`
	RqMaxDurationReached      stats.Counter `stat:"upstream_rq_max_duration_reached"`
	RqPerTryTimeout           stats.Counter `stat:"upstream_rq_per_try_timeout"`
	RqPerTryIdleTimeout       stats.Counter `stat:"upstream_rq_per_try_idle_timeout"`
	RqRxReset                 stats.Counter `stat:"upstream_rq_rx_reset"`
	RqTxReset                 stats.Counter `stat:"upstream_rq_tx_reset"`
	RqZeroRTT                 stats.Counter `stat:"upstream_rq_0rtt"`
	RqRetry                   stats.Counter `stat:"upstream_rq_retry"`
	RqRetryLimitExceeded      stats.Counter `stat:"upstream_rq_retry_limit_exceeded"`
	RqRetryOverflow           stats.Counter `stat:"upstream_rq_retry_overflow"`
	RqRetrySuccess            stats.Counter `stat:"upstream_rq_retry_success"`
	RqRetryBackoffExponential stats.Counter `stat:"upstream_rq_retry_backoff_exponential"`
	RqRetryBackoffRatelimited stats.Counter `stat:"upstream_rq_retry_backoff_ratelimited"`

	// Responses, counted by the router.
	RqCompleted stats.Counter   `stat:"upstream_rq_completed"`
	Rq1xx       stats.Counter   `stat:"upstream_rq_1xx"`
	Rq2xx       stats.Counter   `stat:"upstream_rq_2xx"`
	Rq3xx       stats.Counter   `stat:"upstream_rq_3xx"`
	Rq4xx       stats.Counter   `stat:"upstream_rq_4xx"`
	Rq5xx       stats.Counter   `stat:"upstream_rq_5xx"`
	RqUnknown   stats.Counter   `stat:"upstream_rq_unknown"`
	RqCodes     stats.Codes     `stat:"upstream_rq_"`
	RqTime      stats.Histogram `stat:"upstream_rq_time,ms"`
	// Responses that were tried again after.
	Retried RetriedStats `stat:"retry."`
	// RetryOrShadowAbandoned counts requests too large to be kept for another try.
	RetryOrShadowAbandoned stats.Counter `stat:"retry_or_shadow_abandoned"`

	// Load balancing, counted by the balancers.
	LBHealthyPanic             stats.Counter `stat:"lb_healthy_panic"`
	LBConnectBackoff           stats.Counter `stat:"lb_connect_backoff"`
	LBRecalculateZones         stats.Counter `stat:"lb_recalculate_zone_structures"`
	LBLocalClusterNotOK        stats.Counter `stat:"lb_local_cluster_not_ok"`
	LBZoneClusterTooSmall      stats.Counter `stat:"lb_zone_cluster_too_small"`
	LBZoneNoCapacityLeft       stats.Counter `stat:"lb_zone_no_capacity_left"`
	LBZoneNumberDiffers        stats.Counter `stat:"lb_zone_number_differs"`
	LBZoneRoutingAllDirectly   stats.Counter `stat:"lb_zone_routing_all_directly"`
	LBZoneRoutingSampled       stats.Counter `stat:"lb_zone_routing_sampled"`
	LBZoneRoutingCrossZone     stats.Counter `stat:"lb_zone_routing_cross_zone"`
	LBSubsetsActive            stats.Gauge   `stat:"lb_subsets_active"`
	LBSubsetsCreated           stats.Counter `stat:"lb_subsets_created"`
	LBSubsetsRemoved           stats.Counter `stat:"lb_subsets_removed"`
	LBSubsetsSelected          stats.Counter `stat:"lb_subsets_selected"`
	LBSubsetsFallback          stats.Counter `stat:"lb_subsets_fallback"`
	LBSubsetsFallbackPanic     stats.Counter `stat:"lb_subsets_fallback_panic"`
	LBSubsetsSingleHostPerDupl stats.Gauge   `stat:"lb_subsets_single_host_per_subset_duplicate"`
}

// RetriedStats count the responses that were not passed on because the request was
// tried again.
type RetriedStats struct {
	RqCompleted stats.Counter `stat:"upstream_rq_completed"`
	Rq2xx       stats.Counter `stat:"upstream_rq_2xx"`
	Rq3xx       stats.Counter `stat:"upstream_rq_3xx"`
	Rq4xx       stats.Counter `stat:"upstream_rq_4xx"`
	Rq5xx       stats.Counter `stat:"upstream_rq_5xx"`
	RqUnknown   stats.Counter `stat:"upstream_rq_unknown"`
	RqCodes     stats.Codes   `stat:"upstream_rq_"`
}

// Inc counts one response.
func (r *RetriedStats) Inc(status int) {
	r.RqCompleted.Inc()
	r.RqCodes.Inc(status)
	classOf(status, &r.Rq2xx, &r.Rq3xx, &r.Rq4xx, &r.Rq5xx, &r.RqUnknown).Inc()
}

// Response counts a response that was passed on, or made here for a request that
// failed upstream.
func (s *Stats) Response(status int) {
	s.RqCompleted.Inc()
	s.RqCodes.Inc(status)
	classOf(status, &s.Rq2xx, &s.Rq3xx, &s.Rq4xx, &s.Rq5xx, &s.RqUnknown).Inc()
}

func classOf(status int, c2, c3, c4, c5, other *stats.Counter) *stats.Counter {
	switch status / 100 {
	case 2:
		return c2
	case 3:
		return c3
	case 4:
		return c4
	case 5:
		return c5
	}
	return other
}

// memberStats are counted by the cluster, off the loops.
type memberStats struct {
	Change          stats.Counter `stat:"membership_change"`
	Total           stats.Gauge   `stat:"membership_total"`
	Healthy         stats.Gauge   `stat:"membership_healthy"`
	Degraded        stats.Gauge   `stat:"membership_degraded"`
	Excluded        stats.Gauge   `stat:"membership_excluded"`
	UpdateAttempt   stats.Counter `stat:"update_attempt"`
	UpdateSuccess   stats.Counter `stat:"update_success"`
	UpdateFailure   stats.Counter `stat:"update_failure"`
	UpdateEmpty     stats.Counter `stat:"update_empty"`
	UpdateNoRebuild stats.Counter `stat:"update_no_rebuild"`
	Version         stats.Gauge   `stat:"version"`
	MaxHostWeight   stats.Gauge   `stat:"max_host_weight"`
}
