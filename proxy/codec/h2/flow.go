// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"weir.dev/weir/proxy/codec/h2/frame"
)

// waitList is a list of streams that wait to send, first come first served.
type waitList struct{ head, tail *exchange }

func (l *waitList) empty() bool { return l.head == nil }

func (l *waitList) pushBack(s *exchange) {
	s.list, s.prev, s.next = l, l.tail, nil
	if l.tail != nil {
		l.tail.next = s
	} else {
		l.head = s
	}
	l.tail = s
}

// pushAgain puts a stream back at its place, before those that came later.
func (l *waitList) pushAgain(s *exchange) {
	next := l.head
	for next != nil && int32(next.ticket-s.ticket) < 0 {
		next = next.next
	}
	if next == nil {
		l.pushBack(s)
		return
	}
	s.list, s.prev, s.next = l, next.prev, next
	if next.prev != nil {
		next.prev.next = s
	} else {
		l.head = s
	}
	next.prev = s
}

func (l *waitList) remove(s *exchange) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.head = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.tail = s.prev
	}
	s.list, s.prev, s.next = nil, nil, nil
}

// turn waits until the stream may append a frame, which for want > 0 is DATA, and
// returns how many bytes of content it may have. Streams that found no room take
// turns of one frame each.
func (s *exchange) turn(want int) (int, error) {
	c := s.c
	for {
		if err := s.sendErr(); err != nil {
			c.pass(s)
			return 0, err
		}
		if want > 0 && s.sendWindow <= 0 {
			c.pass(s)
			if err := s.waitSend(); err != nil {
				return 0, err
			}
			continue
		}
		l := c.blocked(want)
		// Nobody passes those who wait, nor those who were just woken.
		if l == nil && (s.granted || c.granted == 0 && c.room.empty() && (want == 0 || c.window.empty())) {
			if want == 0 {
				return 0, nil
			}
			return int(min(int64(want), s.sendWindow, c.sendWindow, frameMost)), nil
		}
		if l == nil {
			if l = &c.room; c.room.empty() && want > 0 && !c.window.empty() {
				l = &c.window
			}
		}
		if s.granted {
			s.granted = false
			c.granted--
			l.pushAgain(s)
		} else {
			c.tickets++
			s.ticket = c.tickets
			l.pushBack(s)
		}
		if err := s.waitSend(); err != nil {
			return 0, err
		}
	}
}

// mustWait reports whether turn would wait with DATA.
func (s *exchange) mustWait() bool {
	c := s.c
	return s.sendErr() == nil && (s.sendWindow <= 0 || c.blocked(1) != nil || c.granted > 0 || !c.room.empty() || !c.window.empty())
}

// blocked returns the list to wait in, nil if nothing is in the way.
func (c *conn) blocked(want int) *waitList {
	switch {
	case c.full():
		return &c.room
	case want > 0 && c.sendWindow <= 0:
		return &c.window
	}
	return nil
}

// pass gives the stream's turn to the next.
func (c *conn) pass(s *exchange) {
	if s.granted {
		s.granted = false
		c.granted--
	}
	c.grant()
}

// grantIf takes a stream that ended out of whatever it waits in.
func (c *conn) grantIf(s *exchange) {
	if s.list != nil {
		s.list.remove(s)
	}
	c.pass(s)
}

// grant wakes as many of those that wait as there is room for.
func (c *conn) grant() {
	if c.room.empty() && c.window.empty() {
		return
	}
	most := 1 + (outMost-c.out.n-c.out.flying)/frameMost
	for c.granted < most && !c.full() {
		// Each list in its turn, or one could starve the other.
		c.turns++
		open := c.sendWindow > 0 && !c.window.empty()
		switch {
		case open && (c.turns%2 == 0 || c.room.empty()):
			c.wake(&c.window)
		case !c.room.empty():
			c.wake(&c.room)
		default:
			return
		}
	}
}

func (c *conn) wake(l *waitList) {
	s := l.head
	l.remove(s)
	s.granted = true
	c.granted++
	if s.writer != nil {
		s.writer.Wake()
	}
}

// grantAll wakes everybody: the connection is lost.
func (c *conn) grantAll() {
	for _, l := range []*waitList{&c.room, &c.window} {
		for !l.empty() {
			c.wake(l)
		}
	}
}

// waitSend waits for a change of whatever the stream needs to send. In a list it
// waits for its turn.
func (s *exchange) waitSend() error {
	t := s.c.loop.Task()
	s.writer = t
	defer func() { s.writer = nil }()
	for {
		if err := t.Wait(); err != nil {
			if s.list != nil {
				s.list.remove(s)
			}
			s.c.pass(s)
			return err
		}
		if s.list == nil {
			return nil
		}
	}
}

// windowOpen lets a stream go on that waited for its own window.
func (s *exchange) windowOpen() {
	if s.sendWindow > 0 && s.writer != nil && s.list == nil {
		s.writer.Wake()
	}
}

// credit gives n bytes of the connection's receive window back, in batches of half
// a window.
func (c *conn) credit(n int) {
	c.recvDue += uint32(n)
	if c.recvDue < c.recvMax/2 || c.err != nil {
		return
	}
	add := c.recvDue
	// Those who read keep up: a sender further away needs more on its way.
	if c.recvMax < c.lim.mostConn && c.queued <= int64(c.recvMax/8) {
		grown := min(2*c.recvMax, c.lim.mostConn)
		add += grown - c.recvMax
		c.recvMax = grown
	}
	c.recvDue = 0
	c.recvWindow += int64(add)
	c.update(0, add)
}

// credit gives n bytes of the stream's receive window back. Nothing follows on a
// stream that has ended.
func (s *exchange) credit(n int) {
	s.recvDue += uint32(n)
	c := s.c
	if s.recvEnd || s.err != nil || c.err != nil || s.recvDue < s.recvMax/2 {
		return
	}
	add := s.recvDue
	if s.recvMax < c.lim.mostStream && s.queue.n == 0 {
		grown := min(2*s.recvMax, c.lim.mostStream)
		add += grown - s.recvMax
		s.recvMax = grown
	}
	s.recvDue = 0
	s.recvWindow += int64(add)
	c.update(s.id, add)
}

func (c *conn) update(id, n uint32) {
	b := c.out.reserve(frame.HeaderLen + 4)
	c.out.commit(frame.AppendWindowUpdate(b, id, n))
	c.kick()
}
