// SPDX-License-Identifier: Apache-2.0

package health

import (
	"cmp"
	"sync/atomic"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
)

// A Checker is one way of asking hosts, with its configuration; it is immutable.
type Checker interface {
	// Session returns what asks one host. It is called on the host's loop.
	Session(p *Probe) Session
}

// A Session asks one host. It belongs to one loop.
type Session interface {
	// Check asks once. Its task is interrupted when the time is over, or when the host is
	// not to be asked any more. An error tells that the host could not be asked, or
	// answered as the protocol does not allow.
	Check(t *engine.Task) (Result, error)
	// Close gives up what is kept between checks. It is not called during one.
	Close()
}

// A Result is what a host has answered.
type Result struct {
	Verdict Verdict
	// Status is the response's, of HTTP.
	Status int
	// Exclude tells that the host asks to be left out of the computation of panic
	// (x-envoy-immediate-health-check-fail).
	Exclude bool
}

// A Probe is what a Session may know of its host, and connects it.
type Probe struct {
	host     atomic.Pointer[upstream.Host]
	config   *Config
	runtime  match.Runtime
	counters *counters
	fallback []string // ALPN
}

// Host returns the host as the newest host set has it.
func (p *Probe) Host() *upstream.Host { return p.host.Load() }

// Config returns what all checkers have in common.
func (p *Probe) Config() *Config { return p.config }

// Runtime returns the values that an operator may change.
func (p *Probe) Runtime() match.Runtime { return p.runtime }

// Verifying counts that a host's name is compared with the one that is expected.
func (p *Probe) Verifying() { p.counters.VerifyCluster.Inc() }

// Name returns the name by which the host is asked: its own, or that of the checker, or
// the cluster's.
func (p *Probe) Name(configured string) string {
	h := p.Host()
	return cmp.Or(h.Check.Hostname, configured, h.Cluster.Name)
}

// Secure reports whether the host is asked by an encrypted connection.
func (p *Probe) Secure() bool {
	h := p.Host()
	tr := h.Transport.Transport
	if p.config.Match != nil {
		tr = h.Cluster.TransportFor(p.config.Match).Transport
	}
	return tr != nil && tr.Secure()
}

// counters are a checker's, under Envoy's names.
type counters struct {
	Attempt        stats.Counter `stat:"attempt"`
	Success        stats.Counter `stat:"success"`
	Failure        stats.Counter `stat:"failure"`
	PassiveFailure stats.Counter `stat:"passive_failure"`
	NetworkFailure stats.Counter `stat:"network_failure"`
	VerifyCluster  stats.Counter `stat:"verify_cluster"`
	Healthy        stats.Gauge   `stat:"healthy"`
	Degraded       stats.Gauge   `stat:"degraded"`
}
