// SPDX-License-Identifier: Apache-2.0

package eds

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/wire"
)

// Name is the value of Cluster.type.
const Name = "EDS"

// Factory makes the extension known.
func Factory() upstream.DiscoveryFactory {
	return upstream.DiscoveryFactory{Name: Name, New: compile, Sleeps: true}
}

func compile(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
	const path = "eds_cluster_config.eds_config"
	source, name := in.EDS.GetEdsConfig(), cmp.Or(in.EDS.GetServiceName(), in.Cluster)
	if in.Resources == nil {
		return nil, xds.Problem{Path: path, Reason: "nothing brings endpoints here"}
	}
	source, name, err := in.Resources.Locate(source, xds.KindEndpoints, name)
	if err != nil {
		return nil, xds.Problem{Path: "eds_cluster_config.service_name", Reason: err.Error()}
	}
	if source == nil {
		return nil, xds.Problem{Path: path, Reason: "is missing", Remedy: "say where endpoints are found, such as ads: {}"}
	}
	if _, err := in.Resources.Key(source); err != nil {
		return nil, xds.Problem{Path: path, Reason: err.Error()}
	}
	if len(in.Targets) > 0 {
		return nil, xds.Problem{Path: "load_assignment", Reason: "an EDS cluster has no endpoints of its own", Remedy: "use type STATIC, or remove it"}
	}
	at := &place{resources: in.Resources, source: source, name: name, store: in.Stats, scope: "cluster." + in.StatName}
	return func() (upstream.Discovery, error) { return &Discovery{at: at}, nil }, nil
}

// place is where an assignment is found, and what becomes of it counted.
type place struct {
	resources *resource.Directory
	source    *corev3.ConfigSource
	name      string
	store     *stats.Store // nil is none
	scope     string
}

// watch begins to watch for a cluster that is used.
func (p *place) watch(d *Discovery) (*resource.Watch, error) {
	if p.store != nil {
		d.stats = resource.NewStats(p.store.Scope(p.scope))
	}
	return p.resources.Watch(p.source, xds.KindEndpoints, p.name, resource.Options{
		Decode:  func(m proto.Message) (any, error) { return decode(m, p.name) },
		Share:   Name,
		Changed: func(v any) { d.take(v.(*assignment)) },
		Refused: func(err error) { d.update(nil, err) },
		Stats:   d.stats,
	})
}

// keep begins to watch for one that is not used yet: the assignment is looked at, and left as it was sent.
func (p *place) keep(d *Discovery) (*resource.Watch, error) {
	return p.resources.Watch(p.source, xds.KindEndpoints, p.name, resource.Options{
		Decode: func(m proto.Message) (any, error) {
			_, err := decode(m, p.name)
			return nil, err
		},
		Changed: func(any) { d.noted() },
	})
}

// decode compiles what EDS brought for a cluster.
func decode(m proto.Message, name string) (*assignment, error) {
	a, ok := m.(*endpointv3.ClusterLoadAssignment)
	if !ok {
		return nil, fmt.Errorf("is a %s and not a ClusterLoadAssignment", m.ProtoReflect().Descriptor().FullName())
	}
	if of, err := wire.Canonical(a.GetClusterName()); err != nil || of != name {
		return nil, fmt.Errorf("cluster_name: is %q: want %q", a.GetClusterName(), name)
	}
	targets, policy, problems := upstream.CompileAssignment(a)
	if err := xds.Err(problems); err != nil {
		return nil, err
	}
	out := &assignment{policy: policy}
	var errs []error
	for i := range targets {
		t := &targets[i]
		if t.Name != "" {
			errs = append(errs, fmt.Errorf("%s: %q is not an IP address: EDS gives addresses; use a STRICT_DNS cluster to resolve names", t.Path, t.Name))
		}
		out.endpoints = append(out.endpoints, t.Endpoint)
	}
	if d := a.GetPolicy().GetEndpointStaleAfter(); d != nil {
		out.staleAfter = max(d.AsDuration(), time.Millisecond)
	}
	return out, errors.Join(errs...)
}
