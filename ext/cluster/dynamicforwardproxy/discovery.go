// SPDX-License-Identifier: Apache-2.0

// Package dynamicforwardproxy is the cluster whose hosts are the names that clients
// ask for (envoy.clusters.dynamic_forward_proxy): a filter in front of it loads the
// name into a DNS cache, and the connection goes to the host of that name.
package dynamicforwardproxy

import (
	"strconv"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dnscache"
)

// Discovery tells the names of a cache.
type Discovery struct {
	cache   *dnscache.Cache
	cancel  func()
	release func()
}

// Start implements upstream.Discovery.
func (d *Discovery) Start(update func([]upstream.Endpoint, error)) error {
	d.cancel = d.cache.Subscribe(func(e []upstream.Endpoint) { update(e, nil) })
	return nil
}

// Close implements upstream.Discovery.
func (d *Discovery) Close() {
	if d.cancel != nil {
		d.cancel()
	}
	d.release()
}

// policy finds the host of a name.
type policy struct{}

// Build implements upstream.Policy.
func (policy) Build(set *upstream.PrioritySet) upstream.Table { return table{set} }

type table struct{ set *upstream.PrioritySet }

// Balancer implements upstream.Table.
func (t table) Balancer(*upstream.Env) upstream.Balancer { return t }

// Pick returns the host of the name that a filter noted, or of the authority, or
// of the server that the client asked for by SNI.
func (t table) Pick(c *upstream.PickContext) *upstream.Host {
	n, ok := name(c)
	if !ok {
		return nil
	}
	h := t.set.ByKey(n.String())
	if h == nil || h.Health() == upstream.Unhealthy {
		return nil
	}
	return h
}

func name(c *upstream.PickContext) (dnscache.Name, bool) {
	var states []streaminfo.FilterState
	if c.Stream != nil {
		states = append(states, c.Stream.FilterState)
	}
	if c.Connection != nil {
		states = append(states, c.Connection.FilterState)
	}
	port := uint16(80)
	if c.Headers == nil {
		port = 443
	}
	host := ""
	for i := len(states) - 1; i >= 0; i-- {
		if o, ok := states[i][dnscache.HostKey]; ok {
			host = o.Text
		}
		if o, ok := states[i][dnscache.PortKey]; ok {
			if n, err := strconv.ParseUint(o.Text, 10, 16); err == nil {
				port = uint16(n)
			}
		}
	}
	switch {
	case host != "":
	case c.Headers != nil:
		host = string(c.Headers.Get(header.Authority))
	case c.Connection != nil:
		host = c.Connection.ServerName
	}
	return dnscache.ParseName(host, port)
}
