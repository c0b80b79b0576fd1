// SPDX-License-Identifier: Apache-2.0

package conn

// A Group is a set of connections of one loop, such as those of one listener.
// The zero Group is empty.
type Group struct {
	head *Conn
	n    int
}

// Len returns the number of open connections.
func (g *Group) Len() int { return g.n }

// Add puts an open connection in the group; it leaves by itself when closed.
func (g *Group) Add(c *Conn) {
	c.group = g
	c.next = g.head
	if g.head != nil {
		g.head.prev = c
	}
	g.head = c
	g.n++
}

func (g *Group) remove(c *Conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		g.head = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.next, c.prev, c.group = nil, nil, nil
	g.n--
}

// Each calls f for every connection; f may close it.
func (g *Group) Each(f func(*Conn)) {
	for c := g.head; c != nil; {
		next := c.next
		f(c)
		c = next
	}
}
