// SPDX-License-Identifier: Apache-2.0

package build

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// connectTimeout is how long a connection to a host may take to open.
const connectTimeout = 10 * time.Second

// Cluster returns a cluster whose hosts are discovered under the name endpoints,
// which takes as many requests as come: limits are for policies.
func Cluster(name, endpoints string) *clusterv3.Cluster {
	c := bare(name)
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
	c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ADS()}
	if endpoints != name {
		c.EdsClusterConfig.ServiceName = endpoints
	}
	return c
}

// NamedHosts returns a cluster whose hosts are looked up by name.
func NamedHosts(name string, hosts *endpointv3.ClusterLoadAssignment) *clusterv3.Cluster {
	c := bare(name)
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
	c.RespectDnsTtl = true
	c.LoadAssignment = hosts
	return c
}

func bare(name string) *clusterv3.Cluster {
	most := wrapperspb.UInt32(math.MaxUint32)
	return &clusterv3.Cluster{
		Name:           name,
		ConnectTimeout: duration(connectTimeout),
		LbPolicy:       clusterv3.Cluster_LEAST_REQUEST,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: most, MaxPendingRequests: most, MaxRequests: most, MaxRetries: most,
		}}},
		IgnoreHealthOnHostRemoval: true,
	}
}

// Failover returns a cluster that is the first of others that has a healthy host.
func Failover(name string, clusters []string) *clusterv3.Cluster {
	return provided(name, "envoy.clusters.aggregate", &aggregatev3.ClusterConfig{Clusters: clusters})
}

// provided returns a cluster of an extension that chooses hosts itself.
func provided(name, extension string, config proto.Message) *clusterv3.Cluster {
	c := bare(name)
	c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{Name: extension, TypedConfig: Any(config)}}
	return c
}

// HTTPOptions is where a cluster's version of HTTP is said.
const HTTPOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// HTTP2 has a cluster spoken to in HTTP/2.
func HTTP2(c *clusterv3.Cluster) { Protocol{Two: true}.On(c) }

// A Protocol is how a cluster is spoken to in HTTP. The zero Protocol is HTTP/1.1.
type Protocol struct {
	// Two is HTTP/2. Negotiated is it or HTTP/1.1, as the host chooses by ALPN.
	Two, Negotiated bool
	// RequestNames has TLS ask for the host that a request is for, and Verify it.
	RequestNames, Verify bool
}

// On sets how a cluster is spoken to.
func (p Protocol) On(c *clusterv3.Cluster) {
	out := &httpv3.HttpProtocolOptions{}
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{}
	out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit}
	switch {
	case p.Negotiated:
		out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{}}
	case p.Two:
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}}
	case p == Protocol{}:
		return
	default:
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}}
	}
	if p.RequestNames {
		out.UpstreamHttpProtocolOptions = &corev3.UpstreamHttpProtocolOptions{AutoSni: true, AutoSanValidation: p.Verify}
	}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{HTTPOptions: Any(out)}
}

// An Endpoint is one address of a cluster.
type Endpoint struct {
	Address *corev3.Address
	// Region, Zone and SubZone are where it is, as far as that is known.
	Region, Zone, SubZone string
	// Hostname is what the endpoint is called, where its address is not enough.
	Hostname string
	// Weight is its share of requests against others'; 0 is 1.
	Weight uint32
	// ForZones and ForNodes are the zones and nodes that it is meant for: see Near.
	ForZones, ForNodes []string
	// Labels are those that a Spread asks for.
	Labels map[string]string
}

// ByWeight has a cluster spread over its localities by their weights.
func ByWeight(c *clusterv3.Cluster) {
	if c.CommonLbConfig == nil {
		c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{}
	}
	c.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
		LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
	}
}

// Endpoints returns a cluster's endpoints, grouped by their zones.
func Endpoints(name string, endpoints []Endpoint) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	zones := map[Place]*endpointv3.LocalityLbEndpoints{}
	for _, e := range endpoints {
		at := Place{Region: e.Region, Zone: e.Zone, SubZone: e.SubZone}
		z := zones[at]
		if z == nil {
			z = &endpointv3.LocalityLbEndpoints{}
			if at != (Place{}) {
				z.Locality = at.locality()
			}
			zones[at] = z
			out.Endpoints = append(out.Endpoints, z)
		}
		end := &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: e.Address, Hostname: e.Hostname}},
			Metadata:       labelled(hints(e.ForZones, e.ForNodes), e.Labels),
		}
		if e.Weight > 0 {
			end.LoadBalancingWeight = wrapperspb.UInt32(e.Weight)
		}
		z.LbEndpoints = append(z.LbEndpoints, end)
	}
	return out
}

// Weighted returns the endpoints of several backends as localities with weights.
func Weighted(name string, parts []*endpointv3.ClusterLoadAssignment, weights []uint32) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for i, part := range parts {
		l := &endpointv3.LocalityLbEndpoints{
			Locality: &corev3.Locality{SubZone: part.GetClusterName()}, LoadBalancingWeight: wrapperspb.UInt32(weights[i]),
		}
		for _, zone := range part.GetEndpoints() {
			l.LbEndpoints = append(l.LbEndpoints, zone.GetLbEndpoints()...)
		}
		out.Endpoints = append(out.Endpoints, l)
	}
	return out
}

// discardPort is where RFC 863 has datagrams sent that nobody wants.
const discardPort = 9

// Discard returns endpoints that datagrams are lost at: the service "discard" of the
// proxy's own machine, which throws them away and, as a rule, is not even there.
func Discard() *endpointv3.ClusterLoadAssignment {
	out := Endpoints("discard", []Endpoint{{Address: Address("127.0.0.1", discardPort, true)}})
	out.Endpoints[0].LbEndpoints[0].GetEndpoint().HealthCheckConfig = &endpointv3.Endpoint_HealthCheckConfig{DisableActiveHealthCheck: true}
	return out
}
