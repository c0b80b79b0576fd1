// SPDX-License-Identifier: Apache-2.0

// Package originaldst is the cluster that connects to where a connection was going
// before it was redirected to the proxy (ORIGINAL_DST): to the address that a
// listener filter restored, or to the one that a filter, metadata or, if that is
// trusted, a header names. Its hosts come with the connections and go when nobody
// has used them for a while.
package originaldst

import (
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

// Discovery forgets the hosts that are not used.
type Discovery struct {
	policy *policy
	every  time.Duration
	stop   chan struct{}
	wait   sync.WaitGroup
}

// Start implements upstream.Discovery. There are no endpoints to wait for.
func (d *Discovery) Start(update func([]upstream.Endpoint, error)) error {
	update([]upstream.Endpoint{}, nil)
	d.stop = make(chan struct{})
	d.wait.Go(func() {
		tick := time.NewTicker(max(d.every, time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				d.policy.clean()
			case <-d.stop:
				return
			}
		}
	})
	return nil
}

// Close implements upstream.Discovery.
func (d *Discovery) Close() {
	if d.stop != nil {
		close(d.stop)
		d.stop = nil
	}
	d.wait.Wait()
}

// policy finds the host of an address, over all loops.
type policy struct {
	header    header.Name // zero if no header is trusted
	namespace string      // of the metadata; "" is none
	path      []string
	port      uint16   // 0 keeps the destination's
	hosts     sync.Map // of address.Addr to *entry
}

type entry struct {
	host *upstream.Host
	used atomic.Bool // since the last cleaning
}

// clean forgets the hosts that nobody has used since it last ran and to which
// there is no connection.
func (p *policy) clean() {
	p.hosts.Range(func(k, v any) bool {
		e := v.(*entry)
		if !e.used.Swap(false) && e.host.ActiveConnections() == 0 && e.host.ActiveRequests() == 0 {
			p.hosts.Delete(k)
		}
		return true
	})
}

// Build implements upstream.Policy.
func (p *policy) Build(*upstream.PrioritySet) upstream.Table { return p }

// Balancer implements upstream.Table.
func (p *policy) Balancer(env *upstream.Env) upstream.Balancer { return &balancer{p, env} }

type balancer struct {
	*policy
	env *upstream.Env
}

// Pick returns the host at the original destination, nil if there is none.
func (b *balancer) Pick(c *upstream.PickContext) *upstream.Host {
	a, ok := b.destination(c)
	if !ok {
		return nil
	}
	if b.port != 0 && !a.IsUnix() {
		a = a.WithPort(b.port)
	}
	v, ok := b.hosts.Load(a)
	if !ok {
		v, _ = b.hosts.LoadOrStore(a, &entry{host: upstream.NewHost(upstream.Endpoint{Address: a, Weight: 1}, b.env.Cluster, b.env.Loops)})
	}
	e := v.(*entry)
	e.used.Store(true)
	return e.host
}

// stateKey is where filters note the destination.
const stateKey = "envoy.network.transport_socket.original_dst_address"

// destination looks where Envoy looks, in its order.
func (b *balancer) destination(c *upstream.PickContext) (address.Addr, bool) {
	k := c.Connection
	if s, ok := state(c); ok {
		return b.parse(s)
	}
	if !b.header.IsZero() && c.Headers != nil {
		if v := c.Headers.Get(b.header); v != nil {
			return b.parse(string(v))
		}
	}
	if b.namespace != "" {
		var md streaminfo.Metadata
		switch {
		case c.Stream != nil:
			md = c.Stream.Metadata
		case k != nil:
			md = k.Metadata
		}
		if v, ok := md.Lookup(b.namespace, b.path...); ok {
			s, _ := v.(string)
			return b.parse(s)
		}
	}
	// Only an address that was restored: the listener's own would lead back here.
	if k == nil || !k.Local.IsValid() || k.Local == k.DirectLocal {
		return address.Addr{}, false
	}
	return k.Local, true
}

func state(c *upstream.PickContext) (string, bool) {
	if c.Stream != nil {
		if o, ok := c.Stream.FilterState[stateKey]; ok {
			return o.Text, true
		}
	}
	if c.Connection == nil {
		return "", false
	}
	o, ok := c.Connection.FilterState[stateKey]
	return o.Text, ok
}

// parse reads an IP address and port; what is none is counted.
func (b *balancer) parse(s string) (address.Addr, bool) {
	a, err := address.Parse(s)
	if err != nil || a.IsUnix() || a.Port() == 0 {
		b.env.Stats.OriginalDstHostInvalid.Inc()
		return address.Addr{}, false
	}
	return a, true
}
