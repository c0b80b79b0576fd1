// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/proxy/streaminfo"
)

// Context is what compiling a cluster needs to know.
type Context struct {
	// Policies and Discoveries are the extensions there are.
	Policies    []PolicyFactory
	Discoveries []DiscoveryFactory
	// Transport compiles a transport socket; raw_buffer never gets here. Nil knows none.
	Transport func(*corev3.TransportSocket) (Transport, error)
	// Bind is the bootstrap's cluster_manager.upstream_bind_config, for clusters without
	// one of their own.
	Bind *corev3.BindConfig
	// Local is the node's locality.
	Local streaminfo.Locality
}

// A PolicyFactory makes policies of one extension.
type PolicyFactory struct {
	// Name is Envoy's, such as envoy.load_balancing_policies.round_robin.
	Name string
	// Config is an empty message of the extension's configuration.
	Config proto.Message
	// New compiles a message of Config's type.
	New func(cfg proto.Message) (Policy, error)
}

// A DiscoveryFactory makes discoveries of one kind.
type DiscoveryFactory struct {
	// Name is the kind's: the enum value of Cluster.type (STRICT_DNS), or the
	// type URL of cluster_type's configuration, without what precedes the slash.
	Name string
	// New checks the configuration. What it returns makes the discovery itself.
	New func(in *DiscoveryConfig) (func() (Discovery, error), error)
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
}

// A Config is a compiled cluster, ready for Manager.Update.
type Config struct {
	Settings
	policy    Policy
	discovery func() (Discovery, error)
	hash      [32]byte
}

// Same tells whether both were compiled of the same message.
func (c *Config) Same(o *Config) bool { return c.hash == o.hash }
