// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
	"weir.dev/weir/xds/load"
)

// Context is what compiling a cluster needs to know.
type Context struct {
	// Policies and Discoveries are the extensions there are.
	Policies    []PolicyFactory
	Discoveries []DiscoveryFactory
	// Transport compiles a transport socket; raw_buffer never gets here. Nil knows none.
	Transport func(*corev3.TransportSocket) (Transport, error)
	// Filters compiles the filters that attempts pass (http_filters, at path), with the
	// statistics of the cluster that is called name in them. own takes what must be
	// closed with the cluster. Nil knows none.
	Filters func(list []*hcmv3.HttpFilter, path, name string, own func(close func())) (*stream.Chain, error)
	// HealthChecks compiles active health checks; paths of its problems are the cluster's.
	// Nil knows none.
	HealthChecks func(list []*corev3.HealthCheck, s *Settings) (NewHealthChecks, []xds.Problem)
	// Routes compiles what clusters say in place of routes.
	Routes route.Context
	// Bind is the bootstrap's cluster_manager.upstream_bind_config, for clusters without
	// one of their own.
	Bind *corev3.BindConfig
	// Stats is the proxy's; nil counts nothing that clusters share.
	Stats *stats.Store
	// Local is the node's locality.
	Local streaminfo.Locality
	// Caller asks other clusters, for discoveries that do.
	Caller Caller
	// Log is told what discoveries have to tell; nil is none.
	Log *slog.Logger
	// Resources are the endpoints that EDS brings.
	Resources *resource.Directory
}

// A PolicyFactory makes policies of one extension.
type PolicyFactory struct {
	// Name is Envoy's, such as envoy.load_balancing_policies.round_robin.
	Name string
	// Config is an empty message of the extension's configuration.
	Config proto.Message
	// Fields is the ledger of Config's fields; what it rejects or ignores is told to the
	// user before New is called.
	Fields *ledger.Ledger
	// New compiles a message of Config's type. An error may be an xds.Problem.
	New func(cfg proto.Message) (Policy, error)
	// Blind tells that picks do not look at the request, so that they can be made
	// ahead of it.
	Blind bool
	// Sticky tells that picks keep requests at hosts, by a hash or by what they name.
	Sticky bool
	// Nest is New for a policy that contains others.
	Nest func(cfg proto.Message, in *Nesting) (Policy, error)
}

// Nesting is what a policy compiles the policies within it with.
type Nesting struct {
	// Cluster is the cluster's name.
	Cluster string
	k       *compiler
	path    string
}

// ErrReported is what Nesting.Policy returns for a problem that has been told already.
var ErrReported = errors.New("the policy within cannot be used")

// Policy compiles the first of the policies in a field that is supported.
func (n *Nesting) Policy(field string, l *clusterv3.LoadBalancingPolicy) (Policy, error) {
	path := joinPath(n.path, field)
	if len(l.GetPolicies()) == 0 {
		return nil, xds.Problem{Path: field, Reason: "has no policy", Remedy: "give one, such as round_robin"}
	}
	_, p := n.k.choose(path, l)
	if p == nil {
		return nil, ErrReported
	}
	return p, nil
}

// A DiscoveryFactory makes discoveries of one kind.
type DiscoveryFactory struct {
	// Name is the kind's: the enum value of Cluster.type (STRICT_DNS), or the full name
	// of the message in cluster_type.typed_config.
	Name string
	// New checks the configuration. What it returns makes the discovery itself. An
	// error may be an xds.Problem.
	New func(in *DiscoveryConfig) (func() (Discovery, error), error)
	// Provided, if set, makes the only policy there is for clusters of this kind,
	// which must ask for it by CLUSTER_PROVIDED. It is called before New.
	Provided func(in *DiscoveryConfig) (Policy, error)
	// Sticky tells that requests say which host they are for.
	Sticky bool
	// Sleeps tells that New makes Sleepers.
	Sleeps bool
}

// DiscoveryConfig is what a DiscoveryFactory is given.
type DiscoveryConfig struct {
	Cluster string
	// Targets are the endpoints of the load assignment; those that name a host still
	// have to be resolved.
	Targets []Target
	DNS     DNSConfig
	// Typed is cluster_type's configuration, if any.
	Typed *anypb.Any
	// Caller asks other clusters.
	Caller Caller
	// Log is told of answers that are of no use.
	Log *slog.Logger
	// OriginalDst is original_dst_lb_config, if any; Cleanup is cleanup_interval, 5 s
	// by default.
	OriginalDst *clusterv3.Cluster_OriginalDstLbConfig
	Cleanup     time.Duration
	// Stats is where a discovery may count what all clusters share, and below "cluster."
	// and StatName what is its own; nil is nowhere.
	Stats    *stats.Store
	StatName string
	// EDS is eds_cluster_config, and Resources are where its endpoints are found.
	EDS       *clusterv3.Cluster_EdsClusterConfig
	Resources *resource.Directory
	// Policy is what Provided made.
	Policy Policy
	// Warn tells of a field without effect.
	Warn func(path, reason string)
}

// A Config is a compiled cluster, ready for Manager.Update.
type Config struct {
	Settings
	policy    Policy
	discovery func() (Discovery, error)
	checks    NewHealthChecks // nil without
	// Again compiles the same once more, nil if that has become impossible; it may be called
	// from any goroutine. Without it the cluster is not deferred.
	Again  func() *Config
	sleeps bool // the discovery is a Sleeper
	hash   [sha256.Size]byte
	owned  []func()
}

// Close lets go of what was made for a Config that no cluster is made of.
func (c *Config) Close() {
	for _, f := range c.owned {
		f()
	}
	c.owned = nil
}

// Same tells whether both were compiled of the same message.
func (c *Config) Same(o *Config) bool { return c.hash == o.hash }

//go:embed fields.txt
var fields string

// supported is the ledger of what this package reads: Cluster and the messages in
// its extension points.
var supported = ledger.MustParse(fields)

// Compile turns a cluster into a Config, or tells all that is wrong with it. The
// Config is nil if a problem is an error; warnings name fields that have no effect.
func Compile(c *clusterv3.Cluster, cx *Context) (*Config, []xds.Problem) {
	k := &compiler{cx: cx, cluster: c, out: &Config{}}
	k.check(supported, "", c)
	k.validate("", c)
	if k.failed() {
		return nil, k.problems
	}
	k.hash()
	k.basics()
	k.http()
	k.breakers()
	k.network()
	k.transport()
	k.health()
	k.policy()
	k.ahead()
	k.discovery()
	if k.failed() {
		k.out.Close()
		return nil, k.problems
	}
	return k.out, k.problems
}

type compiler struct {
	cx       *Context
	cluster  *clusterv3.Cluster
	out      *Config
	problems []xds.Problem
}

func (k *compiler) add(s xds.Severity, path, reason, remedy string) {
	k.problems = append(k.problems, xds.Problem{
		Severity: s, Kind: xds.KindCluster, Name: k.cluster.GetName(), Path: path, Reason: reason, Remedy: remedy,
	})
}

func (k *compiler) fail(path, reason, remedy string) { k.add(xds.Error, path, reason, remedy) }

func (k *compiler) warn(path, reason, remedy string) { k.add(xds.Warning, path, reason, remedy) }

// ignored is warn for what nothing can be done about, in the form of ledger.Apply.
func (k *compiler) ignored(path, reason string) { k.warn(path, reason, "") }

// failErr tells an error, which may be an xds.Problem with a path below path, or
// several.
func (k *compiler) failErr(path string, err error) {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		for _, err := range many.Unwrap() {
			k.failErr(path, err)
		}
		return
	}
	var p xds.Problem
	if !errors.As(err, &p) {
		k.fail(path, err.Error(), "")
		return
	}
	switch {
	case path == "":
		path = p.Path
	case p.Path != "":
		path += "." + p.Path
	}
	k.add(p.Severity, path, p.Reason, p.Remedy)
}

func (k *compiler) failed() bool { return xds.HasErrors(k.problems) }

// check tells what the ledger rejects and ignores of a message.
func (k *compiler) check(l *ledger.Ledger, path string, m proto.Message) {
	for _, p := range l.Check(m, path) {
		k.add(p.Severity, p.Path, p.Reason, p.Remedy)
	}
}

// validate tells what Envoy's own rules (the protos' annotations) refuse.
func (k *compiler) validate(path string, m proto.Message) {
	for _, p := range load.Validate(m, path) {
		k.fail(p.Path, p.Reason, p.Remedy)
	}
}

func joinPath(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "." + b
}

// hash lets Manager.Update tell an unchanged cluster.
func (k *compiler) hash() {
	h := sha256.New()
	for _, m := range []proto.Message{k.cluster, k.cx.Bind} {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			k.fail("", "marshal: "+err.Error(), "")
		}
		fmt.Fprintf(h, "%d:", len(b))
		h.Write(b)
	}
	h.Sum(k.out.hash[:0])
}

func (k *compiler) basics() {
	c, o := k.cluster, &k.out.Settings
	o.Name, o.AltStatName, o.ServiceName = c.GetName(), c.GetAltStatName(), c.GetEdsClusterConfig().GetServiceName()
	k.loadReports(c.GetLrsServer())
	k.loadMetrics(c.GetLrsReportEndpointMetrics())
	o.ConnectTimeout = duration(c.GetConnectTimeout(), 5*time.Second)
	o.PerConnectionBufferLimit = 1 << 20
	if v := c.GetPerConnectionBufferLimitBytes(); v != nil {
		o.PerConnectionBufferLimit = v.GetValue()
	}
	o.Metadata = metadata(c.GetMetadata())
	o.CloseOnHealthFailure = c.GetCloseConnectionsOnHostHealthFailure()
	o.WaitForWarm = c.GetWaitForWarmOnInit() == nil || c.GetWaitForWarmOnInit().GetValue()
	o.PoolPerDownstream = c.GetConnectionPoolPerDownstreamConnection()
	o.Preconnect = Preconnect{PerUpstreamRatio: 1, PredictiveRatio: 1}
	if p := c.GetPreconnectPolicy(); p != nil {
		if v := p.GetPerUpstreamPreconnectRatio(); v != nil {
			o.Preconnect.PerUpstreamRatio = v.GetValue()
		}
		if v := p.GetPredictivePreconnectRatio(); v != nil {
			o.Preconnect.PredictiveRatio = v.GetValue()
		}
	}
	t := c.GetTrackClusterStats()
	o.TrackBudgets = t.GetTimeoutBudgets() || c.GetTrackTimeoutBudgets() //nolint:staticcheck // deprecated, still read
	o.TrackSizes = t.GetRequestResponseSizes()
	k.commonLB()
}

func (k *compiler) commonLB() {
	o, l := &k.out.Settings, k.cluster.GetCommonLbConfig()
	o.HostSets.PanicThreshold = 50
	if v := l.GetHealthyPanicThreshold(); v != nil {
		// Envoy rounds the percentage to an integer.
		o.HostSets.PanicThreshold = math.Round(v.GetValue())
	}
	o.HostSets.IgnoreNewHosts = l.GetIgnoreNewHostsUntilFirstHc()
	o.HostSets.Local = k.cx.Local
	o.CloseOnHostSetChange = l.GetCloseConnectionsOnHostSetChange()
	// Envoy merges within a second by default.
	o.MergeWindow = duration(l.GetUpdateMergeWindow(), time.Second)
	o.OverrideStatuses = 1<<StatusUnknown | 1<<StatusHealthy | 1<<StatusDegraded
	if s := l.GetOverrideHostStatus(); s != nil {
		o.OverrideStatuses = 0
		for _, v := range s.GetStatuses() {
			o.OverrideStatuses |= 1 << healthStatus(v)
		}
	}
	o.HostSets.AssignmentPolicy = k.assignmentPolicy("load_assignment", k.cluster.GetLoadAssignment())
}

// assignmentPolicy compiles the policy of a load assignment.
func (k *compiler) assignmentPolicy(path string, a *endpointv3.ClusterLoadAssignment) AssignmentPolicy {
	p := a.GetPolicy()
	o := AssignmentPolicy{OverprovisioningFactor: cmp.Or(p.GetOverprovisioningFactor().GetValue(), 140), WeightedPriorityHealth: p.GetWeightedPriorityHealth()}
	for i, d := range p.GetDropOverloads() {
		of := map[string]float64{"HUNDRED": 100, "TEN_THOUSAND": 1e4, "MILLION": 1e6}[d.GetDropPercentage().GetDenominator().String()]
		share := float64(d.GetDropPercentage().GetNumerator()) / of
		if share > 1 {
			k.fail(fmt.Sprintf("%s.policy.drop_overloads[%d].drop_percentage", path, i), "is above 100 %", "")
		}
		if i > 0 {
			k.fail(fmt.Sprintf("%s.policy.drop_overloads[%d]", path, i), "there is more than one category", "add the percentages up in one")
		}
		o.Drops = append(o.Drops, Drop{Category: d.GetCategory(), Share: share})
	}
	return o
}

func (k *compiler) breakers() {
	o := &k.out.Settings
	for i := range o.Thresholds {
		o.Thresholds[i] = breaker.Thresholds{
			MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3, MaxConnectionPools: math.MaxUint64,
		}
	}
	b := k.cluster.GetCircuitBreakers()
	var seen [2]bool
	for _, t := range b.GetThresholds() {
		p := breaker.Default
		if t.GetPriority() == corev3.RoutingPriority_HIGH {
			p = breaker.High
		}
		if seen[p] {
			continue // Envoy takes the first of a priority.
		}
		seen[p] = true
		out := &o.Thresholds[p]
		if v := t.GetMaxConnections(); v != nil {
			out.MaxConnections = uint64(v.GetValue())
		}
		if v := t.GetMaxPendingRequests(); v != nil {
			out.MaxPendingRequests = uint64(v.GetValue())
		}
		if v := t.GetMaxRequests(); v != nil {
			out.MaxRequests = uint64(v.GetValue())
		}
		if v := t.GetMaxRetries(); v != nil {
			out.MaxRetries = uint64(v.GetValue())
		}
		if v := t.GetMaxConnectionPools(); v != nil {
			out.MaxConnectionPools = uint64(v.GetValue())
		}
		out.TrackRemaining = t.GetTrackRemaining()
		if rb := t.GetRetryBudget(); rb != nil {
			out.Budget = &breaker.Budget{Percent: breaker.DefaultPercent, MinConcurrency: breaker.DefaultMinConcurrency, Interval: rb.GetBudgetInterval().AsDuration()}
			if v := rb.GetBudgetPercent(); v != nil {
				out.Budget.Percent = v.GetValue()
			}
			if v := rb.GetMinRetryConcurrency(); v != nil {
				out.Budget.MinConcurrency = uint64(v.GetValue())
			}
		}
	}
	for i, t := range b.GetPerHostThresholds() {
		path := fmt.Sprintf("circuit_breakers.per_host_thresholds[%d]", i)
		if t.GetPriority() != corev3.RoutingPriority_DEFAULT {
			k.fail(path+".priority", "per-host limits are of the DEFAULT priority only", "remove it")
		}
		if i == 0 {
			o.MaxConnectionsPerHost = int64(t.GetMaxConnections().GetValue())
		}
	}
}

func (k *compiler) transport() {
	o := &k.out.Settings
	o.Transport = k.transportSocket("transport_socket", k.cluster.GetTransportSocket())
	names := map[string]bool{}
	for i, m := range k.cluster.GetTransportSocketMatches() {
		path := fmt.Sprintf("transport_socket_matches[%d]", i)
		if names[m.GetName()] {
			k.fail(path+".name", fmt.Sprintf("%q is there twice", m.GetName()), "choose another name")
		}
		names[m.GetName()] = true
		o.TransportMatches = append(o.TransportMatches, TransportMatch{
			Name: m.GetName(), Match: m.GetMatch().AsMap(),
			Transport: k.transportSocket(path+".transport_socket", m.GetTransportSocket()),
		})
	}
}

const rawBuffer = "envoy.transport_sockets.raw_buffer"

func (k *compiler) transportSocket(path string, s *corev3.TransportSocket) TransportConfig {
	url := s.GetTypedConfig().GetTypeUrl()
	raw := strings.HasSuffix(url, "/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer")
	if s == nil || raw || url == "" && s.GetName() == rawBuffer {
		return TransportConfig{Name: rawBuffer}
	}
	if k.cx.Transport == nil {
		k.fail(path, fmt.Sprintf("transport socket %q is not known", s.GetName()), "use "+rawBuffer)
		return TransportConfig{}
	}
	t, err := k.cx.Transport(s)
	if err != nil {
		k.failErr(path, err)
	}
	if t == nil && !k.failed() {
		// Whatever was wrong: what asks for a transport socket never goes in cleartext.
		k.fail(path, fmt.Sprintf("transport socket %q could not be made", s.GetName()), "")
	}
	return TransportConfig{Name: s.GetName(), Transport: t}
}

func healthStatus(s corev3.HealthStatus) HealthStatus {
	switch s {
	case corev3.HealthStatus_HEALTHY:
		return StatusHealthy
	case corev3.HealthStatus_UNHEALTHY:
		return StatusUnhealthy
	case corev3.HealthStatus_DRAINING:
		return StatusDraining
	case corev3.HealthStatus_TIMEOUT:
		return StatusTimeout
	case corev3.HealthStatus_DEGRADED:
		return StatusDegraded
	}
	return StatusUnknown
}

func duration(d *durationpb.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return d.AsDuration()
}

func metadata(m *corev3.Metadata) streaminfo.Metadata {
	if len(m.GetFilterMetadata()) == 0 {
		return nil
	}
	out := streaminfo.Metadata{}
	for ns, s := range m.GetFilterMetadata() {
		out[ns] = s.AsMap()
	}
	return out
}

// CompileAssignment compiles a load assignment on its own, as EDS brings it. The path
// of each problem begins at the message.
func CompileAssignment(a *endpointv3.ClusterLoadAssignment) ([]Target, AssignmentPolicy, []xds.Problem) {
	k := &compiler{cluster: &clusterv3.Cluster{}, cx: &Context{}}
	k.check(supported, "", a)
	k.validate("", a)
	if k.failed() {
		return nil, AssignmentPolicy{}, k.problems
	}
	return slices.Clip(k.targets("", a)), k.assignmentPolicy("", a), k.problems
}
