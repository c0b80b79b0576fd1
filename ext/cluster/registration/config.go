// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"fmt"
	"net/url"
	"time"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/typedstruct"
)

// Name is what cluster_type usually calls the extension. Envoy has no such extension any
// more.
const Name = "weir.clusters.registration"

// Type is the type that a TypedStruct names to configure the extension.
const Type = "weir.dev.clusters.Registration"

// settings are the fields of the configuration.
type settings struct {
	// Cluster is asked.
	Cluster string `field:"cluster"`
	// ServiceName is what it is asked for; the default is the name of the cluster that
	// is discovered.
	ServiceName string `field:"service_name"`
	// RefreshDelay is the time between two answers: it and up to as much again, by
	// chance. The default is 30 s.
	RefreshDelay time.Duration `field:"refresh_delay"`
	// RequestTimeout bounds one request. The default is 1 s.
	RequestTimeout time.Duration `field:"request_timeout"`
}

// Factory makes the extension known.
func Factory() upstream.DiscoveryFactory {
	return upstream.DiscoveryFactory{Name: Type, New: compile}
}

func compile(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
	const path = "cluster_type.typed_config"
	s, err := typedstruct.From(in.Typed)
	if err != nil {
		return nil, xds.Problem{Path: path, Reason: err.Error()}
	}
	p := settings{ServiceName: in.Cluster, RefreshDelay: 30 * time.Second, RequestTimeout: time.Second}
	if err := typedstruct.Decode(s, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case p.Cluster == "":
		return nil, xds.Problem{Path: path, Reason: "names no cluster to ask", Remedy: "add cluster"}
	case p.Cluster == in.Cluster:
		return nil, xds.Problem{Path: path, Reason: "the cluster asks itself for its hosts", Remedy: "name the cluster of the discovery service"}
	case p.ServiceName == "":
		return nil, xds.Problem{Path: path, Reason: "names no service", Remedy: "add service_name"}
	case p.RefreshDelay < time.Millisecond:
		return nil, xds.Problem{Path: path, Reason: "refresh_delay is not at least 1 ms", Remedy: `write refresh_delay: "30s"`}
	case p.RequestTimeout < time.Millisecond:
		return nil, xds.Problem{Path: path, Reason: "request_timeout is not at least 1 ms", Remedy: `write request_timeout: "1s"`}
	case len(in.Targets) > 0:
		return nil, xds.Problem{Path: "load_assignment", Reason: "the hosts are discovered", Remedy: "remove it"}
	}
	o := Options{
		Cluster: p.Cluster, Path: "/v1/registration/" + url.PathEscape(p.ServiceName),
		Delay: p.RefreshDelay, Timeout: p.RequestTimeout,
	}
	caller, log := in.Caller, in.Log
	return func() (upstream.Discovery, error) { return New(o, caller, log), nil }, nil
}
