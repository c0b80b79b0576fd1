// SPDX-License-Identifier: Apache-2.0

package udpproxy

import "weir.dev/weir/proxy/stats"

// downstreamStats are one loop's statistics of the filter (udp.STAT_PREFIX.*).
type downstreamStats struct {
	NoRoute     stats.Counter `stat:"downstream_sess_no_route"`
	RxBytes     stats.Counter `stat:"downstream_sess_rx_bytes"`
	RxDatagrams stats.Counter `stat:"downstream_sess_rx_datagrams"`
	RxErrors    stats.Counter `stat:"downstream_sess_rx_errors"`
	Total       stats.Counter `stat:"downstream_sess_total"`
	TxBytes     stats.Counter `stat:"downstream_sess_tx_bytes"`
	TxDatagrams stats.Counter `stat:"downstream_sess_tx_datagrams"`
	TxErrors    stats.Counter `stat:"downstream_sess_tx_errors"`
	IdleTimeout stats.Counter `stat:"idle_timeout"`
	Active      stats.Gauge   `stat:"downstream_sess_active"`
}

// upstreamStats are one loop's statistics of a cluster (cluster.NAME.udp.*).
type upstreamStats struct {
	RxDatagrams stats.Counter `stat:"sess_rx_datagrams"`
	RxErrors    stats.Counter `stat:"sess_rx_errors"`
	TxDatagrams stats.Counter `stat:"sess_tx_datagrams"`
	TxErrors    stats.Counter `stat:"sess_tx_errors"`
}
