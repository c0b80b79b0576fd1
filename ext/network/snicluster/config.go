// SPDX-License-Identifier: Apache-2.0

// Package snicluster sends a TLS connection that is passed through to the cluster
// that has the name of the server it asks for (envoy.filters.network.sni_cluster).
// It chooses for the TCP proxy behind it.
package snicluster

import (
	sniclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/streaminfo"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.sni_cluster"

// clusterKey is where the TCP proxy looks for a cluster (PerConnectionCluster).
const clusterKey = "envoy.tcp_proxy.cluster"

// Extension describes the filter.
func Extension() extension.NetworkFilter {
	return extension.NetworkFilter{
		Name: Name, Config: &sniclusterv3.SniCluster{},
		New: func(proto.Message, *extension.Network) (conn.Filter, error) { return filter{}, nil },
	}
}

type filter struct{}

// Accept names the cluster; a connection that asks for no server keeps the one of
// the configuration.
func (filter) Accept(_ *engine.Task, c *conn.Conn) error {
	if n := c.Info.ServerName; n != "" {
		c.SetState(clusterKey, streaminfo.StateObject{Text: n})
	}
	return nil
}
