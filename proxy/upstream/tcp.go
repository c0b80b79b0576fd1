// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"weir.dev/weir/proxy/engine"
)

// ConnectTCP returns a new connection to the host for one downstream connection. It
// counts against the cluster's circuit breakers; its user closes it.
func (w *Worker) ConnectTCP(t *engine.Task, h *Host, p ResourcePriority, o *TransportOptions) (*Conn, error) {
	st, res := w.Stats, w.cluster.Resources(p)
	if !res.Pending.TryAcquire() {
		st.RqPendingOverflow.Inc()
		return nil, ErrOverflow
	}
	defer res.Pending.Release()
	if !res.Connections.TryAcquire() {
		st.CxOverflow.Inc()
		return nil, ErrOverflow
	}
	return w.pools(t, h).dial(t, nil, &res.Connections, o)
}
