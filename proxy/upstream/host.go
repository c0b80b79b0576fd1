// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/orca"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream/outlier"
)

// HealthStatus is what discovery says of an endpoint's health (Envoy's HealthStatus).
type HealthStatus uint8

// Health statuses.
const (
	StatusUnknown HealthStatus = iota
	StatusHealthy
	StatusUnhealthy
	StatusDraining
	StatusTimeout
	StatusDegraded
)

// String is the status as Envoy's /clusters prints it.
func (s HealthStatus) String() string {
	return [...]string{"UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"}[s]
}

// HealthFlags are the reasons for which a host is not healthy, or not wholly so.
type HealthFlags uint32

// Health flags, each set and cleared by its own part.
const (
	// FailedActiveHC is set by active health checks.
	FailedActiveHC HealthFlags = 1 << iota
	// FailedOutlierCheck is set while outlier detection ejects the host.
	FailedOutlierCheck
	// FailedEDSHealth and DegradedEDSHealth follow the discovery's health status.
	FailedEDSHealth
	DegradedEDSHealth
	// DegradedActiveHC is set by active health checks.
	DegradedActiveHC
	// PendingActiveHC is set until the first active health check has ended.
	PendingActiveHC
	// ExcludedViaImmediateHCFail takes the host out of the panic computation.
	ExcludedViaImmediateHCFail
	// ActiveHCTimeout tells that the last failed active check timed out.
	ActiveHCTimeout
	// PendingDynamicRemoval marks a host that discovery dropped and that is kept only
	// while active checks find it healthy.
	PendingDynamicRemoval
	// DegradedOutlierDetection is set while outlier detection believes the host that it
	// is degraded.
	DegradedOutlierDetection
	// EDSStatusDraining follows the discovery's health status DRAINING: the host gets no
	// more requests, and is left out of the computation of load.
	EDSStatusDraining
)

const (
	unhealthyFlags = FailedActiveHC | FailedOutlierCheck | FailedEDSHealth | EDSStatusDraining
	degradedFlags  = DegradedActiveHC | DegradedEDSHealth | DegradedOutlierDetection
)

var healthFlagNames = [...]string{
	"/failed_active_hc", "/failed_outlier_check", "/failed_eds_health", "/degraded_eds_health",
	"/degraded_active_hc", "/pending_active_hc", "/excluded_via_immediate_hc_fail",
	"/active_hc_timeout", "/pending_dynamic_removal", "/degraded_outlier_detection",
	"/eds_status_draining",
}

// String prints the flags as Envoy's /clusters does: "healthy", or
// "/failed_active_hc/failed_eds_health" and the like.
func (f HealthFlags) String() string {
	if f == 0 {
		return "healthy"
	}
	s := ""
	for i, n := range healthFlagNames {
		if f&(1<<i) != 0 {
			s += n
		}
	}
	return s
}

// Health is a host's health as balancers see it.
type Health uint8

// Healths.
const (
	Healthy Health = iota
	Degraded
	Unhealthy
)

// Health reduces the flags.
func (f HealthFlags) Health() Health {
	switch {
	case f&unhealthyFlags != 0:
		return Unhealthy
	case f&degradedFlags != 0:
		return Degraded
	}
	return Healthy
}

// HealthCheckTarget is where active health checks ask for a host.
type HealthCheckTarget struct {
	// Address is the host's own unless the endpoint tells another port or address.
	Address address.Addr
	// Hostname is the host header of the checks; "" is the cluster's name.
	Hostname string
	// Disabled tells that the host is not checked and counts as healthy.
	Disabled bool
}

// An Endpoint is one host as discovery tells it.
type Endpoint struct {
	// Key is the host's identity from one host set to the next; "" is its Address. A
	// logical host, of which the address changes, has a key.
	Key     string
	Address address.Addr
	// Addresses are further addresses of the same host, for happy eyeballs; Address
	// is not among them.
	Addresses []address.Addr
	// Hostname is the name to use for auto_host_rewrite and the like.
	Hostname string
	// Weight is at least 1.
	Weight uint32
	// Locality, LocalityWeight (0 is none), LocalityMetadata and Priority are those of
	// the group that the endpoint belongs to.
	Locality         streaminfo.Locality
	LocalityWeight   uint32
	LocalityMetadata streaminfo.Metadata
	Priority         int
	// Metadata is the endpoint's, with "envoy.lb" for subsets and matches.
	Metadata streaminfo.Metadata
	Status   HealthStatus
	Check    HealthCheckTarget
}

// Canary tells whether the endpoint's metadata marks it as a canary
// (envoy.lb: canary: true).
func (e *Endpoint) Canary() bool {
	v, _ := e.Metadata.Lookup("envoy.lb", "canary")
	b, _ := v.(bool)
	return b
}

// A Host is one endpoint of a cluster as one host set tells it. It is immutable; what
// changes, and what lives on from set to set, is in its State.
type Host struct {
	Endpoint
	Cluster *Cluster
	// Canary is Endpoint.Canary, computed once.
	Canary bool
	// Transport is what connections to the host are wrapped in: that of the first of the
	// cluster's TransportMatches which the host's metadata matches, or the cluster's.
	Transport TransportConfig
	*HostState
}

// Same tells whether both are the same host, perhaps of different host sets.
func (h *Host) Same(o *Host) bool { return h.HostState == o.HostState }

// A HostState is what a host keeps while it is in the cluster: health, statistics and
// pools. All methods may be called from any goroutine unless they say otherwise.
type HostState struct {
	flags   atomic.Uint32
	backOff backOff
	// since is when the host appeared or last became healthy, in Unix nanoseconds.
	since   atomic.Int64
	present atomic.Bool
	// Active counts are shared by all loops, because breakers and balancers need their
	// sum at each pick.
	connections atomic.Int64
	requests    atomic.Int64
	local       []atomic.Pointer[HostLocal]
	// Outlier is told what becomes of requests to the host; nil without outlier detection.
	Outlier *outlier.Monitor
	// Load is the weight that the host's own reports amount to.
	Load orca.Weight
}

// HostLocal is what one loop keeps of a host.
type HostLocal struct {
	// Pool is the loop's connections to the host, made by whoever connects; nil until
	// then. Only the loop itself may touch it. Whoever makes it asks InCluster after the
	// pool was used: the pool of a host that left is not drained a second time.
	Pool Pool
	// Stats counts what this loop does.
	Stats HostStats
	// metrics are what the host tells of its load, where somebody wants to know.
	metrics atomic.Pointer[orca.Sums]
}

// A Pool holds one loop's connections to one host. Its methods are called on its loop.
type Pool interface {
	// Drain lets what runs finish and closes idle connections; it is called when the
	// host left the cluster, the cluster is replaced, or the host becomes unhealthy; with
	// close_connections_on_host_set_change also when another host came or left. Requests
	// to come get new connections.
	Drain()
	// Close closes all connections at once; it is called when the host fails its health
	// check and close_connections_on_host_health_failure is set, and at the end.
	Close()
}

// HostStats are a host's counters as in Envoy's /clusters.
type HostStats struct {
	CxConnectFail, CxTotal                 stats.Counter
	RqError, RqSuccess, RqTimeout, RqTotal stats.Counter
}

// HostCounts is a reading of a host's statistics, summed over the loops.
type HostCounts struct {
	CxActive, RqActive                     int64
	CxConnectFail, CxTotal                 uint64
	RqError, RqSuccess, RqTimeout, RqTotal uint64
}

// NewHost returns a host that is not yet known to a cluster, with a state of its own
// for a number of loops. Clusters make theirs so; others do in tests and for hosts that
// no discovery tells of.
func NewHost(e Endpoint, c *Cluster, loops int) *Host {
	e.Weight = max(1, e.Weight)
	h := hostOf(e, c, newHostState(loops, time.Now()))
	set, _ := edsFlags(e.Status)
	h.present.Store(true)
	if c != nil {
		set |= c.unchecked(&e)
		if c.outlier != nil {
			h.Outlier = c.outlier.Monitor(judged{h})
		}
	}
	h.flags.Store(uint32(set))
	return h
}

func hostOf(e Endpoint, c *Cluster, s *HostState) *Host {
	h := &Host{Endpoint: e, Cluster: c, Canary: e.Canary(), HostState: s}
	if c != nil {
		h.Transport = c.transportFor(&e)
	}
	return h
}

func newHostState(loops int, now time.Time) *HostState {
	s := &HostState{local: make([]atomic.Pointer[HostLocal], loops)}
	s.since.Store(now.UnixNano())
	return s
}

// Local returns the host's part of one loop; it is made at first use.
func (s *HostState) Local(loop int) *HostLocal {
	if l := s.local[loop].Load(); l != nil {
		return l
	}
	s.local[loop].CompareAndSwap(nil, new(HostLocal))
	return s.local[loop].Load()
}

// Flags returns the health flags.
func (s *HostState) Flags() HealthFlags { return HealthFlags(s.flags.Load()) }

// Health returns the health that the flags amount to.
func (s *HostState) Health() Health { return s.Flags().Health() }

// HealthySince is when the host appeared or last became healthy: where slow start
// begins.
func (s *HostState) HealthySince() time.Time { return time.Unix(0, s.since.Load()) }

// InCluster tells whether the newest host set still has the host.
func (s *HostState) InCluster() bool { return s.present.Load() }

// ActiveRequests is the number of requests that wait for this host's answer.
func (s *HostState) ActiveRequests() int64 { return s.requests.Load() }

// ActiveConnections is the number of open connections to the host.
func (s *HostState) ActiveConnections() int64 { return s.connections.Load() }

// AddRequests adds d (which may be negative) to the active requests.
func (s *HostState) AddRequests(d int64) { s.requests.Add(d) }

// AddConnections adds d (which may be negative) to the open connections.
func (s *HostState) AddConnections(d int64) { s.connections.Add(d) }

// Counts sums the host's statistics.
func (s *HostState) Counts() HostCounts {
	c := HostCounts{CxActive: s.connections.Load(), RqActive: s.requests.Load()}
	for i := range s.local {
		l := s.local[i].Load()
		if l == nil {
			continue
		}
		c.CxConnectFail += l.Stats.CxConnectFail.Value()
		c.CxTotal += l.Stats.CxTotal.Value()
		c.RqError += l.Stats.RqError.Value()
		c.RqSuccess += l.Stats.RqSuccess.Value()
		c.RqTimeout += l.Stats.RqTimeout.Value()
		c.RqTotal += l.Stats.RqTotal.Value()
	}
	return c
}

// SetFlags sets and clears flags and tells them before and after. Balancers hear of it
// with the next host set: use Cluster.SetHealth for a cluster's hosts.
func (s *HostState) SetFlags(set, unset HealthFlags) (before, after HealthFlags) {
	for {
		old := s.flags.Load()
		next := old&^uint32(unset) | uint32(set)
		if !s.flags.CompareAndSwap(old, next) {
			continue
		}
		before, after = HealthFlags(old), HealthFlags(next)
		if before.Health() == Unhealthy && after.Health() != Unhealthy {
			s.since.Store(time.Now().UnixNano())
		}
		return before, after
	}
}
