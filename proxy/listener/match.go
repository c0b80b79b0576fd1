// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir.dev/weir/proxy/streaminfo"
)

// SourceType is a filter chain match's source_type.
type SourceType uint8

// Source types, as Envoy's ConnectionSourceType.
const (
	AnySource SourceType = iota
	SameIPOrLoopback
	External
)

// A Match says which connections a filter chain takes: all that agree with
// every criterion it has. An empty criterion agrees with everything.
type Match struct {
	DestinationPort      uint16
	Prefixes             []netip.Prefix
	ServerNames          []string // lower case; "*.example.com" is a suffix wildcard
	TransportProtocol    string
	ApplicationProtocols []string
	DirectSourcePrefixes []netip.Prefix
	SourceType           SourceType
	SourcePrefixes       []netip.Prefix
	SourcePorts          []uint16
}

// The criteria are looked at in this order; at each, the most specific value
// that agrees decides and the others are out, without going back: as Envoy's
// FilterChainMatch documents it. The index is a tree with one level for each.
const (
	byDestinationPort = iota
	byDestination
	byServerName
	byTransport
	byApplication
	byDirectSource
	bySourceType
	bySource
	bySourcePort
	numLevels
)

// node is one level of the index. Its keys are ports, names or prefixes; the
// key "" is the criterion left out.
type node struct {
	exact    map[string]*node
	prefixes []prefixNode // longest first
	any      *node
	chain    *Chain // on the last level
}

type prefixNode struct {
	prefix netip.Prefix
	next   *node
}

// index finds the chain of a connection.
type index struct {
	root     *node
	fallback *Chain
	all      []*Chain
	known    map[*Chain]bool // all of them
}

// set tells which chains there are.
func (x *index) set(chains []*Chain, fallback *Chain) {
	x.fallback, x.all = fallback, slices.Clone(chains)
	if fallback != nil {
		x.all = append(x.all, fallback)
	}
	x.known = make(map[*Chain]bool, len(x.all))
	for _, c := range x.all {
		x.known[c] = true
	}
}

func (x *index) has(c *Chain) bool { return x.known[c] }

// add puts a chain in the index; it fails if another has the same match.
func (x *index) add(c *Chain) error {
	if x.root == nil {
		x.root = &node{}
	}
	return x.root.add(c, byDestinationPort)
}

func (n *node) add(c *Chain, level int) error {
	if level == numLevels {
		if n.chain != nil {
			return fmt.Errorf("filter chain %q has the same matching rules as %q: make them differ or remove one", c.Name, n.chain.Name)
		}
		n.chain = c
		return nil
	}
	for _, next := range n.children(c, level) {
		if err := next.add(c, level+1); err != nil {
			return err
		}
	}
	return nil
}

// children returns, making them, the nodes below n that c belongs to.
func (n *node) children(c *Chain, level int) []*node {
	if ps := c.Match.prefixes(level); len(ps) > 0 {
		nodes := make([]*node, len(ps))
		for i, p := range ps {
			nodes[i] = n.prefix(p)
		}
		return nodes
	}
	keys := c.Match.keys(level)
	if len(keys) == 0 {
		if n.any == nil {
			n.any = &node{}
		}
		return []*node{n.any}
	}
	nodes := make([]*node, len(keys))
	for i, k := range keys {
		nodes[i] = n.key(k)
	}
	return nodes
}

func (n *node) key(k string) *node {
	if n.exact == nil {
		n.exact = map[string]*node{}
	}
	if n.exact[k] == nil {
		n.exact[k] = &node{}
	}
	return n.exact[k]
}

func (n *node) prefix(p netip.Prefix) *node {
	for _, e := range n.prefixes {
		if e.prefix == p {
			return e.next
		}
	}
	next := &node{}
	n.prefixes = append(n.prefixes, prefixNode{p, next})
	slices.SortStableFunc(n.prefixes, func(a, b prefixNode) int { return b.prefix.Bits() - a.prefix.Bits() })
	return next
}

func (m *Match) prefixes(level int) []netip.Prefix {
	switch level {
	case byDestination:
		return m.Prefixes
	case byDirectSource:
		return m.DirectSourcePrefixes
	case bySource:
		return m.SourcePrefixes
	}
	return nil
}

func (m *Match) keys(level int) []string {
	switch level {
	case byDestinationPort:
		if m.DestinationPort != 0 {
			return []string{portKey(m.DestinationPort)}
		}
	case byServerName:
		return m.ServerNames
	case byTransport:
		if m.TransportProtocol != "" {
			return []string{m.TransportProtocol}
		}
	case byApplication:
		return m.ApplicationProtocols
	case bySourceType:
		if m.SourceType != AnySource {
			return []string{sourceKey(m.SourceType)}
		}
	case bySourcePort:
		keys := make([]string, len(m.SourcePorts))
		for i, p := range m.SourcePorts {
			keys[i] = portKey(p)
		}
		return keys
	}
	return nil
}

func portKey(p uint16) string { return string([]byte{byte(p >> 8), byte(p)}) }

func sourceKey(s SourceType) string { return string([]byte{byte(s)}) }

// find returns the chain for a connection, or nil.
func (x *index) find(c *streaminfo.Connection) *Chain {
	if x.root == nil {
		return x.fallback
	}
	n := x.root
	for level := range numLevels {
		if n = n.next(c, level); n == nil {
			return x.fallback
		}
	}
	return n.chain
}

func (n *node) next(c *streaminfo.Connection, level int) *node {
	switch level {
	case byDestinationPort:
		return n.lookup(portKey(c.Local.Port()))
	case byDestination:
		return n.contains(c.Local.Addr())
	case byServerName:
		return n.serverName(c.ServerName)
	case byTransport:
		return n.lookup(c.TransportProtocol)
	case byApplication:
		for _, p := range c.ALPNs {
			if e := n.exact[p]; e != nil {
				return e
			}
		}
		return n.any
	case byDirectSource:
		return n.contains(c.DirectRemote.Addr())
	case bySourceType:
		return n.sourceType(c)
	case bySource:
		return n.contains(c.Remote.Addr())
	default:
		return n.lookup(portKey(c.Remote.Port()))
	}
}

func (n *node) lookup(k string) *node {
	if e := n.exact[k]; e != nil {
		return e
	}
	return n.any
}

func (n *node) contains(a netip.Addr) *node {
	for i := range n.prefixes {
		if n.prefixes[i].prefix.Contains(a) {
			return n.prefixes[i].next
		}
	}
	return n.any
}

// serverName tries the name, then the wildcards over it, the longest first.
func (n *node) serverName(name string) *node {
	if n.exact == nil || name == "" {
		return n.any
	}
	name = strings.ToLower(name)
	if e := n.exact[name]; e != nil {
		return e
	}
	// Envoy: a wildcard stands for at least one character and its suffix is more
	// than a dot.
	for i := 1; i < len(name)-1; i++ {
		if name[i] == '.' {
			if e := n.exact["*"+name[i:]]; e != nil {
				return e
			}
		}
	}
	return n.any
}

func (n *node) sourceType(c *streaminfo.Connection) *node {
	kind := External
	if remote := c.Remote.Addr(); c.Remote.IsUnix() || remote.IsLoopback() || remote == c.Local.Addr() {
		kind = SameIPOrLoopback
	}
	return n.lookup(sourceKey(kind))
}
