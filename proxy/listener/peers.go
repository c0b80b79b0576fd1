// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"weir.dev/weir/proxy/address"
)

// peers are the running listeners of a process by the addresses they were
// configured with, bound or not. Loops read it without a lock.
type peers struct {
	mu  sync.Mutex
	all atomic.Pointer[map[address.Addr]*Listener]
}

func (p *peers) add(l *Listener) {
	p.change(func(m map[address.Addr]*Listener) {
		for _, a := range l.addresses() {
			m[a] = l
		}
	})
}

func (p *peers) remove(l *Listener) {
	p.change(func(m map[address.Addr]*Listener) {
		maps.DeleteFunc(m, func(_ address.Addr, v *Listener) bool { return v == l })
	})
}

func (p *peers) change(f func(map[address.Addr]*Listener)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := map[address.Addr]*Listener{}
	if m := p.all.Load(); m != nil {
		maps.Copy(next, *m)
	}
	f(next)
	p.all.Store(&next)
}

// find returns the listener for an address: that of the very address, otherwise
// one for every address with its port; nil if there is none.
func (p *peers) find(a address.Addr) *Listener {
	m := p.all.Load()
	if m == nil {
		return nil
	}
	if l := (*m)[a]; l != nil || a.IsUnix() {
		return l
	}
	if a.Addr().Is4() {
		if l := (*m)[address.IP(netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port()))]; l != nil {
			return l
		}
	}
	l := (*m)[address.IP(netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port()))]
	if l != nil && a.Addr().Is4() && l.opts.Socket.V6Only {
		return nil
	}
	return l
}

// addresses are where the listener is bound, or, without sockets, where it
// would be.
func (l *Listener) addresses() []address.Addr {
	if len(l.bound) > 0 {
		return l.bound
	}
	return l.opts.Addresses
}
