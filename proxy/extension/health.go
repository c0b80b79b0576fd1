// SPDX-License-Identifier: Apache-2.0

package extension

import "sync/atomic"

// Health is whether the proxy itself wants traffic: what a health_check filter
// answers, and what the admin's /healthcheck/fail and /healthcheck/ok set.
type Health struct {
	failed   atomic.Bool
	starting atomic.Bool
	draining atomic.Bool
}

// Fail makes health checks fail, or pass again.
func (h *Health) Fail(on bool) { h.failed.Store(on) }

// Failed reports whether health checks are to fail.
func (h *Health) Failed() bool { return h.failed.Load() || h.draining.Load() }

// Start tells that the proxy waits for its first configuration, or has it.
func (h *Health) Start(waits bool) { h.starting.Store(waits) }

// Starting reports whether the proxy waits for its first configuration: a health check
// is not to send anybody its way.
func (h *Health) Starting() bool { return h.starting.Load() }

// Drain tells that the proxy is ending.
func (h *Health) Drain() { h.draining.Store(true) }

// Draining reports whether the proxy is ending.
func (h *Health) Draining() bool { return h.draining.Load() }
