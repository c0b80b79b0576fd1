// SPDX-License-Identifier: Apache-2.0

// Package strictdns is the discovery of clusters whose endpoints are named: every
// address of every name is a host. Each name is resolved on its own schedule; what it
// last resolved to stays while resolving fails or gives nothing. It is Envoy's
// STRICT_DNS.
package strictdns

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
)

// Discovery resolves the names of some targets. Make it with New.
type Discovery struct {
	targets  []upstream.Target
	config   upstream.DNSConfig
	resolver dns.Resolver
	cancel   context.CancelFunc
	wait     sync.WaitGroup

	mu      sync.Mutex
	addrs   [][]netip.Addr // by target; nil before the first answer
	pending int            // targets with neither answer nor failure yet
	told    bool
}

// New returns the discovery of targets; those without a name are told as they are.
func New(targets []upstream.Target, c upstream.DNSConfig, r dns.Resolver) *Discovery {
	return &Discovery{
		targets: targets, config: c, resolver: r,
		addrs: make([][]netip.Addr, len(targets)), pending: len(targets),
	}
}

// Start implements upstream.Discovery. The first update comes when one name has
// resolved, or when all have failed.
func (d *Discovery) Start(update func([]upstream.Endpoint, error)) error {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	named := 0
	for i := range d.targets {
		if d.targets[i].Name != "" {
			named++
		}
	}
	d.mu.Lock()
	d.pending = named
	if named < len(d.targets) || named == 0 {
		d.told = true
		update(d.endpoints(), nil)
	}
	d.mu.Unlock()
	for i := range d.targets {
		if d.targets[i].Name == "" {
			continue
		}
		d.wait.Go(func() {
			first := true
			dns.Watch(ctx, d.resolver, d.targets[i].Name, d.config, func(a dns.Answer, err error) {
				d.answer(i, first, a, err, update)
				first = false
			})
		})
	}
	return nil
}

// answer takes what one name resolved to. The lock keeps updates in order.
func (d *Discovery) answer(i int, first bool, a dns.Answer, err error, update func([]upstream.Endpoint, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if first {
		d.pending--
	}
	if err != nil {
		// While other names may still answer, a failure does not end the warm-up.
		if d.told || d.pending == 0 {
			d.told = true
			update(nil, err)
		}
		return
	}
	addrs := slices.Clone(a.Addrs)
	// The order of an answer means nothing here: every address is a host.
	slices.SortFunc(addrs, netip.Addr.Compare)
	d.addrs[i] = slices.Compact(addrs)
	d.told = true
	update(d.endpoints(), nil)
}

func (d *Discovery) endpoints() []upstream.Endpoint {
	out := make([]upstream.Endpoint, 0, len(d.targets))
	for i := range d.targets {
		t := &d.targets[i]
		if t.Name == "" {
			out = append(out, t.Endpoint)
			continue
		}
		for _, a := range d.addrs[i] {
			out = append(out, t.At(a))
		}
	}
	return out
}

// Close implements upstream.Discovery.
func (d *Discovery) Close() {
	if d.cancel != nil {
		d.cancel()
	}
	d.wait.Wait()
}
