// SPDX-License-Identifier: Apache-2.0

// Package dns resolves the names of clusters and keeps looking.
//
// It has two resolvers. [net.Resolver] serves when a cluster asks for nothing special:
// it follows the system's rules as every other program of the machine does. It hides
// TTLs and takes no servers or options, so a cluster that respects TTLs or names
// servers gets one that speaks to the name servers itself.
//
// Both answer IP literals and localhost without a query. Neither keeps a cache: a
// [Watch] holds the last answer.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"weir.dev/weir/proxy/upstream"
)

// Errors of a lookup. Others are failures to ask.
var (
	// ErrNoSuchName: the name does not exist (NXDOMAIN).
	ErrNoSuchName = errors.New("no such name")
	// ErrEmpty: the name has no address of the wanted family.
	ErrEmpty = errors.New("no address")
)

// maxAddrs bounds how many addresses of one answer are used.
const maxAddrs = 4096

// An Answer is what a name resolved to.
type Answer struct {
	// Addrs has at least one address.
	Addrs []netip.Addr
	// TTL is the smallest of the records', 0 if unknown or not to be kept.
	TTL time.Duration
}

// A Resolver finds addresses of names. Lookup may be called from several goroutines.
type Resolver interface {
	Lookup(ctx context.Context, name string, family upstream.DNSFamily) (Answer, error)
}

// literal answers what needs no query.
func literal(name string, family upstream.DNSFamily) (Answer, bool, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		// A literal is what was configured: the family does not matter.
		return Answer{Addrs: []netip.Addr{a.Unmap()}}, true, nil
	}
	if n := strings.ToLower(strings.TrimSuffix(name, ".")); n == "localhost" || strings.HasSuffix(n, ".localhost") {
		// RFC 6761 §6.3: localhost is the loopback address and is never asked for.
		v4, v6 := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, []netip.Addr{netip.IPv6Loopback()}
		var addrs []netip.Addr
		switch family {
		case upstream.FamilyV6Only:
			addrs = v6
		case upstream.FamilyAll:
			addrs = append(v4, v6...)
		case upstream.FamilyAuto, upstream.FamilyV4Only, upstream.FamilyV4Preferred:
			// With AUTO, too: a machine without IPv6 still has this loopback.
			addrs = v4
		}
		return Answer{Addrs: addrs}, true, nil
	}
	return Answer{}, false, nil
}

// byFamily asks ask for one IP version after the other as the family wants it.
func byFamily(family upstream.DNSFamily, ask func(v6 bool) (Answer, error)) (Answer, error) {
	first, both, one := true, false, false
	switch family {
	case upstream.FamilyV4Only:
		first, one = false, true
	case upstream.FamilyV6Only:
		one = true
	case upstream.FamilyV4Preferred:
		first = false
	case upstream.FamilyAll:
		first, both = false, true
	case upstream.FamilyAuto:
	}
	a, err := ask(first)
	if one || err == nil && !both {
		return a, err
	}
	b, err2 := ask(!first)
	switch {
	case err == nil && err2 == nil:
		ttl := min(a.TTL, b.TTL)
		return Answer{Addrs: append(a.Addrs, b.Addrs...), TTL: ttl}, nil
	case err == nil:
		return a, nil
	case err2 == nil:
		return b, nil
	}
	// Of two failures the one to ask tells more than an empty answer.
	if errors.Is(err, ErrEmpty) {
		err = err2
	}
	return Answer{}, err
}

type system struct {
	source *Source
	net    net.Resolver
}

// Lookup implements Resolver.
func (s *system) Lookup(ctx context.Context, name string, family upstream.DNSFamily) (Answer, error) {
	if a, ok, err := literal(name, family); ok {
		return a, err
	}
	return s.source.run(ctx, func() (Answer, error) { return s.lookup(ctx, name, family) })
}

func (s *system) lookup(ctx context.Context, name string, family upstream.DNSFamily) (Answer, error) {
	return byFamily(family, func(v6 bool) (Answer, error) {
		network := "ip4"
		if v6 {
			network = "ip6"
		}
		addrs, err := s.net.LookupNetIP(ctx, network, name)
		var d *net.DNSError
		switch {
		case errors.As(err, &d) && d.IsNotFound:
			return Answer{}, fmt.Errorf("resolve %q: %w", name, ErrNoSuchName)
		case err != nil:
			return Answer{}, fmt.Errorf("resolve %q: %w", name, err)
		case len(addrs) == 0:
			return Answer{}, fmt.Errorf("resolve %q: %w", name, ErrEmpty)
		}
		for i, a := range addrs {
			addrs[i] = a.Unmap()
		}
		return Answer{Addrs: addrs[:min(len(addrs), maxAddrs)]}, nil
	})
}
