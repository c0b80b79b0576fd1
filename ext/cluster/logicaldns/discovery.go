// SPDX-License-Identifier: Apache-2.0

// Package logicaldns is the discovery of clusters with one name that stands for one
// host, however many addresses it has: a large service behind changing addresses. New
// connections go to the newest answer's first address; old ones stay. It is Envoy's
// LOGICAL_DNS.
package logicaldns

import (
	"context"
	"sync"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
)

// Discovery resolves one name. Make it with New.
type Discovery struct {
	target   upstream.Target
	config   upstream.DNSConfig
	resolver dns.Resolver
	cancel   context.CancelFunc
	wait     sync.WaitGroup
}

// New returns the discovery of a target with a name.
func New(t upstream.Target, c upstream.DNSConfig, r dns.Resolver) *Discovery {
	return &Discovery{target: t, config: c, resolver: r}
}

// Start implements upstream.Discovery.
func (d *Discovery) Start(update func([]upstream.Endpoint, error)) error {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.wait.Go(func() {
		dns.Watch(ctx, d.resolver, d.target.Name, d.config, func(a dns.Answer, err error) {
			if err != nil {
				update(nil, err)
				return
			}
			e := d.target.At(a.Addrs[0])
			e.Key = d.target.Name
			for _, ip := range a.Addrs[1:] {
				e.Addresses = append(e.Addresses, address.IP(d.target.AddrPort(ip)))
			}
			update([]upstream.Endpoint{e}, nil)
		})
	})
	return nil
}

// Close implements upstream.Discovery.
func (d *Discovery) Close() {
	if d.cancel != nil {
		d.cancel()
	}
	d.wait.Wait()
}
