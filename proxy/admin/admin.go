// SPDX-License-Identifier: Apache-2.0

// Package admin serves Envoy's administration endpoints: /stats, /clusters, /config_dump, /ready and the rest.
//
// It is not the request path: it runs on net/http, with a listener of its own, and reads the proxy through the interfaces
// of this file. [New] makes an [Admin], which is an http.Handler; [Admin.Start] binds and serves it, [Admin.Close] ends that.
//
// Envoy's messages appear here outside config.go: in the files that render an answer Envoy defines as a message (dump.go,
// mask.go, redact.go, clusters.go, listeners.go, info.go). Elsewhere and in the interfaces there are plain types; only the
// configuration dump, node and command line come in as messages, as that is what they are.
//
// # Who may ask
//
// Whoever reaches the address may do everything, as in Envoy, so it should be loopback, which is the default. Against web
// pages open in a browser on the same machine there are two guards. What changes something needs POST and is refused if a
// browser says that it comes from another origin. And bound to loopback, a request is refused unless its Host is an IP
// address, localhost or a name the configuration allows, for otherwise a page could make a name of its own point here (DNS
// rebinding). allow_paths narrows what may be asked at all.
package admin

import (
	"crypto/x509"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/stats"
)

// A Server is what the endpoints show and change: the proxy. Its methods are called from many goroutines at once, and
// answer without waiting for traffic.
type Server interface {
	Inspector
	Controller
}

// An Inspector shows the proxy.
type Inspector interface {
	// Info describes the process, for /server_info.
	Info() Info
	// State is what /ready answers by.
	State() State
	// Stats are all statistics.
	Stats() *stats.Store
	// Clusters are the active clusters in the order to be shown.
	Clusters() []ClusterStatus
	// Listeners are the active listeners in the order to be shown.
	Listeners() []ListenerStatus
	// ConfigDump are the messages of /config_dump, each one of envoy.admin.v3's *ConfigDump, in Envoy's order: bootstrap,
	// clusters, ecds_filters, listeners, routes, scoped routes, secrets. It may hand out what it keeps: the messages are
	// copied before they are changed, and secrets in them are redacted here.
	ConfigDump() []proto.Message
	// Endpoints is what ?include_eds adds to it; nil if there is none.
	Endpoints() *adminv3.EndpointsConfigDump
	// Certs are the loaded certificates, one element a TLS context.
	Certs() []Certs
	// Runtime are the layers, the strongest last.
	Runtime() []RuntimeLayer
	// Loggers are all loggers with their levels, by name.
	Loggers() []Logger
	// Unready are the parts that are not initialized yet, for /init_dump.
	Unready() []Unready
}

// A Controller changes the proxy.
type Controller interface {
	// FlushStats has statistics sent to sinks if that is done when they are asked for. It does not wait.
	FlushStats()
	// FailHealthcheck makes the health check filter fail, or not any more.
	FailHealthcheck(fail bool)
	// DrainListeners begins to drain and does not wait for the end.
	DrainListeners(DrainOptions)
	// Quit begins an orderly end of the process and does not wait for it.
	Quit()
	// ReopenLogs makes access logs open their files anew.
	ReopenLogs()
	// SetLogLevel sets one logger's level, or that of all if name is empty. It is called only with names of Loggers and
	// levels of Levels.
	SetLogLevel(name, level string)
	// SetRuntime overrides runtime values; an empty value takes an override away. All or none are set.
	SetRuntime(values map[string]string) error
}

// A State is where the proxy is in its life, with Envoy's names and numbers (envoy.admin.v3.ServerInfo.State).
type State int32

// The states of a proxy.
const (
	Live            State = 0
	Draining        State = 1
	PreInitializing State = 2
	Initializing    State = 3
)

// String is the name Envoy prints.
func (s State) String() string { return adminv3.ServerInfo_State(s).String() }

// Info describes the process.
type Info struct {
	// Version is shown as it is; Envoy's form is commit/number/status/build/library.
	Version string
	// HotRestartVersion says which other processes this one could take over from; "disabled" if none.
	HotRestartVersion string
	// Started is when this process began, FirstStarted when the first of its chain of hot restarts did; zero if the same.
	Started, FirstStarted time.Time
	// Options is the command line; nil shows none.
	Options *adminv3.CommandLineOptions
	// Node is who the proxy says it is; nil shows none.
	Node *corev3.Node
}

// A ClusterStatus is one cluster with its hosts.
type ClusterStatus struct {
	Name string
	// ObservabilityName is the cluster's alt_stat_name, or its name.
	ObservabilityName string
	// EDSServiceName is the name asked for by EDS; empty if it is not an EDS cluster or the cluster's own.
	EDSServiceName string
	AddedViaAPI    bool
	// Deferred tells that no request has come for the cluster, which is made for the first: what follows is not known.
	Deferred bool
	// Default and High are the circuit breakers of the two priorities.
	Default, High Thresholds
	// Outlier is nil without outlier detection.
	Outlier *OutlierStatus
	Hosts   []HostStatus
}

// Thresholds are the limits of a circuit breaker.
type Thresholds struct{ MaxConnections, MaxPendingRequests, MaxRequests, MaxRetries uint32 }

// OutlierStatus is what outlier detection knows of a cluster, in percent; -1 is unknown.
type OutlierStatus struct {
	SuccessRateAverage, SuccessRateEjectionThreshold                       float64
	LocalOriginSuccessRateAverage, LocalOriginSuccessRateEjectionThreshold float64
}

// A HostStatus is one endpoint of a cluster.
type HostStatus struct {
	// Address is ip:port, [ip]:port or the path of a unix socket.
	Address               string
	Hostname              string
	Health                HealthFlags
	Weight, Priority      uint32
	Region, Zone, SubZone string
	Canary                bool
	// SuccessRate and LocalOriginSuccessRate are percent; -1 is unknown.
	SuccessRate, LocalOriginSuccessRate float64
	// Stats are cx_active, cx_connect_fail, cx_total, rq_active, rq_error, rq_success, rq_timeout, rq_total.
	Stats []HostStat
}

// A HostStat is one statistic of a host.
type HostStat struct {
	Name  string
	Value uint64
	Gauge bool
}

// HealthFlags are the reasons why a host is not simply healthy.
type HealthFlags uint16

// The health flags of Envoy, in the order in which they are shown.
const (
	FailedActiveHC HealthFlags = 1 << iota
	FailedOutlierCheck
	FailedEDSHealth
	DegradedActiveHC
	DegradedEDSHealth
	PendingDynamicRemoval
	PendingActiveHC
	ExcludedViaImmediateHCFail
	ActiveHCTimeout
	EDSStatusDraining
	DegradedOutlierDetection
)

// A ListenerStatus is one listener.
type ListenerStatus struct {
	Name string
	// Addresses it is bound to, each ip:port, [ip]:port or the path of a unix socket; at least one.
	Addresses []string
}

// Certs are the certificates of one TLS context.
type Certs struct{ CA, Chain []Cert }

// A Cert is a loaded certificate.
type Cert struct {
	// Path is the file it came from, or "<inline>".
	Path string
	X509 *x509.Certificate
	// OCSPValidFrom and OCSPExpiration are those of the stapled response; zero without one.
	OCSPValidFrom, OCSPExpiration time.Time
}

// A RuntimeLayer is one layer of runtime values.
type RuntimeLayer struct {
	Name   string
	Values map[string]string
}

// A Logger is a named part of the log.
type Logger struct{ Name, Level string }

// Levels are the log levels, as Envoy names them.
func Levels() []string {
	return []string{"trace", "debug", "info", "warning", "error", "critical", "off"}
}

// Unready names targets that keep a part, for example a listener, from being initialized.
type Unready struct {
	Name    string
	Targets []string
}

// DrainOptions are the parameters of /drain_listeners.
type DrainOptions struct {
	// Graceful keeps listeners open for the drain time while connections are asked to end.
	Graceful bool
	// SkipExit, only with Graceful, leaves the listeners open after the drain time too.
	SkipExit bool
	// InboundOnly leaves out listeners whose traffic_direction is not INBOUND.
	InboundOnly bool
}
