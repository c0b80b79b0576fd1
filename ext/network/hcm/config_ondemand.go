// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"context"
	"strings"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds"
)

var _ stream.Seeker = (*active)(nil)

// Seek fetches what the request may have a route in: the routes of its scope, if the
// scope is on demand, or the virtual host of its host, if virtual hosts are delivered. It
// waits for the answer, or until ctx ends, and reports whether anything was fetched. It
// may be called from a goroutine while the stream waits.
func (a *active) Seek(ctx context.Context, s *stream.Stream) bool {
	if a.scope != nil && a.table == nil {
		w := a.conn.m.scoped.demand(a.scope)
		if w == nil {
			return false
		}
		select {
		case <-w.Ready():
		case <-ctx.Done():
		}
		return true
	}
	if a.table == nil || a.table.HostSource() == nil {
		return false
	}
	q := a.conn.m.askHost(a.table, s.Request.Header.Get(header.Authority))
	if q == nil {
		return false
	}
	defer q.Close()
	select {
	case <-q.Answered():
	case <-ctx.Done():
	}
	return true
}

// Rebind has a request be routed by the configuration that there is now.
func (a *active) Rebind() { a.bind() }

// maxHost bounds the hosts that are asked for, in bytes: a name and a port.
const maxHost = 253 + len(":65535")

// askHost asks for the virtual host of a host. It is nil if nobody can be asked.
func (m *Manager) askHost(t *route.Table, host []byte) *resource.Question {
	if t.IgnoresPort() {
		host, _ = splitPort(host)
	}
	name := strings.ToLower(string(host))
	if name == "" || len(name) > maxHost || strings.ContainsAny(name, "/*") {
		return nil
	}
	q, err := m.offers.Ask(t.HostSource(), xds.KindVirtualHost, t.Name+"/"+name)
	if err != nil {
		m.log.Error("a virtual host cannot be asked for", "route_config", t.Name, "error", err)
	}
	return q
}
