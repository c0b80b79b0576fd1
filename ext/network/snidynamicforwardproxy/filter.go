// SPDX-License-Identifier: Apache-2.0

// Package snidynamicforwardproxy resolves the name of the server that a TLS client
// asks for, before the TCP proxy connects to it through a dynamic forward proxy
// cluster (envoy.filters.network.sni_dynamic_forward_proxy).
package snidynamicforwardproxy

import (
	"strconv"
	"time"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream/dnscache"
)

// Filter loads server names into a cache.
type Filter struct {
	cache   *dnscache.Cache
	port    uint16
	timeout time.Duration
}

// Accept waits until the name is resolved. A connection without a server name
// passes: it is for the TCP proxy to say what becomes of it.
func (f *Filter) Accept(t *engine.Task, c *conn.Conn) error {
	if c.Info.ServerName == "" {
		return nil
	}
	port := f.port
	if o, ok := c.Info.FilterState[dnscache.PortKey]; ok {
		if n, err := strconv.ParseUint(o.Text, 10, 16); err == nil && n > 0 {
			port = uint16(n)
		}
	}
	n, ok := dnscache.ParseName(c.Info.ServerName, port)
	if !ok {
		return c.Refuse("dns_cache_invalid_name")
	}
	e, err := f.cache.Load(n)
	if err != nil {
		return c.Refuse("dns_cache_overflow")
	}
	if !e.Await(t, f.timeout) || e.Err() != nil {
		return c.Refuse("dns_resolution_failure")
	}
	c.SetState(dnscache.HostKey, streaminfo.StateObject{Text: n.Host})
	c.SetState(dnscache.PortKey, streaminfo.StateObject{Text: strconv.Itoa(int(n.Port))})
	return nil
}
