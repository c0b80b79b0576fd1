// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/internal/logging"
	"weir.dev/weir/proxy/admin"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/xds"
)

// startAdmin starts the admin server, if the bootstrap asks for one.
func (p *Proxy) startAdmin() error {
	cfg, listens, err := admin.ParseConfig(p.opts.Bootstrap.GetAdmin())
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	if !listens {
		return nil
	}
	p.admin = admin.New(cfg, inspector{p})
	if err := p.admin.Start(context.Background()); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	return p.writeAdminAddress()
}

// inspector shows the proxy to the admin endpoints and changes it for them.
type inspector struct{ p *Proxy }

var _ admin.Server = inspector{}

// Info describes the process.
func (i inspector) Info() admin.Info {
	o := &i.p.opts
	node := i.p.node()
	n := proto.Clone(o.Bootstrap.GetNode()).(*corev3.Node)
	if n == nil {
		n = &corev3.Node{}
	}
	n.Id, n.Cluster = node.ID, node.Cluster
	return admin.Info{
		Version: o.Version, HotRestartVersion: "disabled", Started: i.p.started, Node: n,
		Options: &adminv3.CommandLineOptions{
			Concurrency: uint32(len(i.p.loops)), ServiceCluster: node.Cluster, ServiceNode: node.ID, ServiceZone: node.Zone,
			DrainTime: durationpb.New(o.DrainTime), AdminAddressPath: o.AdminAddressPath,
		},
	}
}

// State is what /ready answers by.
func (i inspector) State() admin.State {
	if i.p.health.Failed() {
		return admin.Draining
	}
	return admin.State(i.p.state.Load())
}

// Stats are all statistics.
func (i inspector) Stats() *stats.Store {
	i.p.measure()
	return i.p.store
}

// measure brings the gauges that are read rather than counted up to date.
func (p *Proxy) measure() {
	if p.server == nil {
		return
	}
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	st := p.server.At(0)
	st.Uptime.Set(int64(time.Since(p.started).Seconds()))
	st.Connections.Set(p.limits.Active())
	st.Memory.Set(int64(m.HeapAlloc))
	st.MemoryHeap.Set(int64(m.HeapSys))
	st.State.Set(int64(inspector{p}.State()))
	st.DaysUntilFirst.Set(p.secrets.DaysUntilFirstExpiry(time.Now()))
}

// Clusters are the active clusters by name.
func (i inspector) Clusters() []admin.ClusterStatus {
	var out []admin.ClusterStatus
	for name, c := range i.p.clusters.All() {
		s := admin.ClusterStatus{
			Name: name, ObservabilityName: name, EDSServiceName: c.ServiceName, AddedViaAPI: i.p.isFetched(xds.KindCluster, name),
			Outlier: outlierStatus(c),
			Default: thresholds(&c.Thresholds[breaker.Default]), High: thresholds(&c.Thresholds[breaker.High]),
		}
		if c.AltStatName != "" {
			s.ObservabilityName = c.AltStatName
		}
		for _, h := range c.Set().Hosts {
			s.Hosts = append(s.Hosts, hostStatus(h))
		}
		out = append(out, s)
	}
	for _, name := range i.p.clusters.Deferred() {
		out = append(out, admin.ClusterStatus{Name: name, AddedViaAPI: i.p.isFetched(xds.KindCluster, name), Deferred: true})
	}
	slices.SortFunc(out, func(a, b admin.ClusterStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func thresholds(t *breaker.Thresholds) admin.Thresholds {
	small := func(n uint64) uint32 { return uint32(min(n, 1<<32-1)) }
	return admin.Thresholds{
		MaxConnections: small(t.MaxConnections), MaxPendingRequests: small(t.MaxPendingRequests),
		MaxRequests: small(t.MaxRequests), MaxRetries: small(t.MaxRetries),
	}
}

func hostStatus(h *upstream.Host) admin.HostStatus {
	c := h.Counts()
	return admin.HostStatus{
		Address: h.Address.String(), Hostname: h.Hostname, Health: healthFlags(h.Flags()),
		Weight: h.Weight, Priority: uint32(h.Priority),
		Region: h.Locality.Region, Zone: h.Locality.Zone, SubZone: h.Locality.SubZone,
		Canary: h.Canary, SuccessRate: h.Outlier.SuccessRate(false), LocalOriginSuccessRate: h.Outlier.SuccessRate(true),
		Stats: []admin.HostStat{
			{Name: "cx_active", Value: uint64(max(c.CxActive, 0)), Gauge: true},
			{Name: "cx_connect_fail", Value: c.CxConnectFail},
			{Name: "cx_total", Value: c.CxTotal},
			{Name: "rq_active", Value: uint64(max(c.RqActive, 0)), Gauge: true},
			{Name: "rq_error", Value: c.RqError},
			{Name: "rq_success", Value: c.RqSuccess},
			{Name: "rq_timeout", Value: c.RqTimeout},
			{Name: "rq_total", Value: c.RqTotal},
		},
	}
}

// healthFlags translates the flags, whose order differs.
func healthFlags(f upstream.HealthFlags) admin.HealthFlags {
	pairs := [...]struct {
		from upstream.HealthFlags
		to   admin.HealthFlags
	}{
		{upstream.FailedActiveHC, admin.FailedActiveHC},
		{upstream.FailedOutlierCheck, admin.FailedOutlierCheck},
		{upstream.FailedEDSHealth, admin.FailedEDSHealth},
		{upstream.DegradedActiveHC, admin.DegradedActiveHC},
		{upstream.DegradedEDSHealth, admin.DegradedEDSHealth},
		{upstream.PendingDynamicRemoval, admin.PendingDynamicRemoval},
		{upstream.PendingActiveHC, admin.PendingActiveHC},
		{upstream.ExcludedViaImmediateHCFail, admin.ExcludedViaImmediateHCFail},
		{upstream.ActiveHCTimeout, admin.ActiveHCTimeout},
		{upstream.DegradedOutlierDetection, admin.DegradedOutlierDetection},
		{upstream.EDSStatusDraining, admin.EDSStatusDraining},
	}
	var out admin.HealthFlags
	for _, p := range pairs {
		if f&p.from != 0 {
			out |= p.to
		}
	}
	return out
}

// Listeners are the active listeners.
func (i inspector) Listeners() []admin.ListenerStatus {
	var out []admin.ListenerStatus
	for _, r := range i.p.all() {
		s := admin.ListenerStatus{Name: r.l.Name()}
		for _, a := range r.l.Addresses() {
			s.Addresses = append(s.Addresses, a.String())
		}
		if len(s.Addresses) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// Certs are the loaded certificates.
func (i inspector) Certs() []admin.Certs {
	var out []admin.Certs
	for _, g := range i.p.secrets.Groups() {
		var c admin.Certs
		for _, s := range g.Certificates {
			if v := s.Load(); v != nil {
				k := v.Certificate
				c.Chain = append(c.Chain, admin.Cert{Path: k.Path, X509: k.Chain[0], OCSPValidFrom: k.OCSPFrom, OCSPExpiration: k.OCSPUntil})
			}
		}
		if g.Validation != nil {
			if v := g.Validation.Load(); v != nil {
				for _, x := range v.Validation.CAs {
					c.CA = append(c.CA, admin.Cert{Path: v.Validation.Path, X509: x})
				}
			}
		}
		out = append(out, c)
	}
	return out
}

// Runtime are the layers, the strongest last.
func (i inspector) Runtime() []admin.RuntimeLayer {
	var out []admin.RuntimeLayer
	for _, l := range i.p.runtime.Snapshot().Layers() {
		r := admin.RuntimeLayer{Name: l.Name, Values: map[string]string{}}
		for k, v := range l.Values {
			r.Values[k] = v.Text()
		}
		out = append(out, r)
	}
	return out
}

// Loggers are all components with their levels.
func (i inspector) Loggers() []admin.Logger {
	logs, ok := logging.Of(i.p.opts.Log)
	if !ok {
		return nil
	}
	var out []admin.Logger
	for _, l := range logs.Levels() {
		out = append(out, admin.Logger{Name: l.Component, Level: logging.LevelName(l.Level)})
	}
	return out
}

// FailHealthcheck makes the health check filter fail, or not any more.
func (i inspector) FailHealthcheck(fail bool) { i.p.health.Fail(fail) }

// DrainListeners begins to drain and does not wait.
func (i inspector) DrainListeners(o admin.DrainOptions) {
	p := i.p
	p.wg.Go(func() {
		if o.Graceful {
			p.drainStart.CompareAndSwap(0, time.Now().UnixNano()-p.started.UnixNano())
			select {
			case <-time.After(p.opts.DrainTime):
			case <-p.flushStop:
				return
			}
			if o.SkipExit {
				return
			}
		}
		for _, r := range p.all() {
			if !o.InboundOnly || r.proto.GetTrafficDirection() == corev3.TrafficDirection_INBOUND {
				r.l.StopAccepting()
				r.l.Drain()
			}
		}
	})
}

// FlushStats sends statistics if the bootstrap has them sent when they are asked for.
func (i inspector) FlushStats() { i.p.askFlusher() }

// Quit begins an orderly end.
func (i inspector) Quit() { i.p.quitOnce.Do(func() { close(i.p.quit) }) }

// ReopenLogs opens log files anew.
func (i inspector) ReopenLogs() { i.p.files.Reopen() }

// SetLogLevel sets one component's level, or all.
func (i inspector) SetLogLevel(name, level string) {
	logs, ok := logging.Of(i.p.opts.Log)
	if !ok {
		return
	}
	l, err := logging.ParseLevel(level)
	if err != nil {
		return // The endpoint has checked it.
	}
	if name == "" {
		logs.SetAll(l)
		return
	}
	logs.SetLevel(name, l)
}

// SetRuntime overrides runtime values.
func (i inspector) SetRuntime(values map[string]string) error { return i.p.runtime.Modify(values) }
