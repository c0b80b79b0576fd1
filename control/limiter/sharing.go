// SPDX-License-Identifier: Apache-2.0

package limiter

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A Store has counters that limiters share. It may be asked from several goroutines.
type Store interface {
	// Add does all of ops, in any order, and returns an error if it could do none of
	// them. It returns soon after ctx has ended.
	Add(ctx context.Context, ops []Op) error
}

// An Op adds to one counter of a Store and asks what it is then. One that does not exist
// is 0, and ends TTL after it was last added to. To add 0 is only to ask.
type Op struct {
	Key string
	Add int64
	TTL time.Duration
	// Total is the answer, unless Err is set.
	Total int64
	Err   error
}

// lease is what a limiter holds of a shared counter: hits that the store has counted
// already and that have not come yet. All limiters together hold and have used no more
// than the limit; the design note says why.
type lease struct {
	// known tells that the store was asked in this window; total is what it has counted,
	// without what nobody holds.
	known bool
	total int64
	// tokens are the hits that may come; chunk is how many are taken at a time.
	tokens, chunk int64
	// excess was counted beyond the limit, and is given back.
	excess int64
	over   bool
	// asked, drawn and taken are when the store was asked, when tokens were last used
	// and when they were last taken.
	asked, drawn, taken time.Time

	waiters []waiter
	// flying is what the store is asked to add at present, flight for which window; asking
	// tells that it is, or soon will be.
	flying, flight int64
	giving         bool
	asking, held   bool
}

// waiter is a claim that waits for the store.
type waiter struct {
	r    *Request
	i    int
	hits int64
}

func (e *lease) renew() {
	// What was needed in one window tells something of the next.
	e.known, e.total, e.tokens, e.chunk, e.excess, e.over = false, 0, 0, max(1, e.chunk/4), 0, false
}

func (c *counter) busy() bool { return c.asking || len(c.waiters) > 0 }

// spent is what all have used, as far as is known here.
func (c *counter) spent() int64 { return max(0, c.total-c.tokens) }

const (
	// quick is how soon what was taken has to be used up for more to be taken next time;
	// idle is when what is not used is given back.
	quick = 250 * time.Millisecond
	idle  = time.Second
	// part of what is left is the most that is taken at a time.
	part = 16
	// again is how often a counter whose limit is used up, or that is only looked at, is
	// looked up anew while requests come.
	again = time.Second
	// most bounds what is taken at a time.
	most = 1 << 24
)

// sharing is a limiter's use of a store.
type sharing struct {
	l     *Limiter
	store Store

	mu    sync.Mutex
	more  *sync.Cond
	queue []*counter // that ask
	ended bool

	hold   sync.Mutex
	held   []holding // oldest first
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup

	open atomic.Bool
	// tripped wakes who tries whether the store is back.
	tripped chan struct{}
}

// holding is a counter with tokens that may have to be given back.
type holding struct {
	c   *counter
	due time.Time
}

// senders is how many calls of the store may be under way.
const senders = 2

func newSharing(l *Limiter) *sharing {
	s := &sharing{l: l, store: l.o.Store, tripped: make(chan struct{}, 1)}
	s.more = sync.NewCond(&s.mu)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for range senders {
		s.done.Go(s.send)
	}
	s.done.Go(s.giveBack)
	s.done.Go(s.mend)
	return s
}

func (s *sharing) close() {
	s.mu.Lock()
	s.ended = true
	s.more.Broadcast()
	s.mu.Unlock()
	s.cancel()
	s.done.Wait()
}

// draw takes hits from what is held of a counter.
func (s *sharing) draw(c *counter, hits int64, now time.Time) verdict {
	before := c.spent()
	switch {
	case c.limit == 0 && hits > 0:
		return verdict{over: true, local: true}
	case hits < 0:
		back := min(-hits, c.used)
		c.used -= back
		c.tokens += back
		c.over = c.over && back == 0
		s.keep(c, now)
		return verdict{before: before, after: c.spent()}
	case hits == 0:
		if c.known && now.Sub(c.asked) >= again {
			s.ask(c)
		}
		return verdict{wait: !c.known, over: c.known && (c.over || before >= c.limit), before: before, after: before}
	case c.tokens >= hits:
		c.tokens -= hits
		c.used += hits
		c.drawn = now
		if c.chunk >= 4 && c.tokens < c.chunk/2 && !c.over && c.total < c.limit {
			s.ask(c) // before it is needed
		}
		return verdict{before: before, after: c.spent()}
	case c.over:
		if now.Sub(c.asked) >= again {
			s.ask(c) // whether somebody has given some back
		}
		return verdict{over: true, local: true, before: before, after: before + hits}
	}
	return verdict{wait: true}
}

// ask has the store asked about a counter, whose shard is locked; false means that it
// does not answer.
func (s *sharing) ask(c *counter) bool {
	switch {
	case c.asking:
		return true
	case s.open.Load():
		return false
	}
	c.asking, c.giving = true, false
	s.put(c)
	return true
}

func (s *sharing) put(c *counter) {
	s.mu.Lock()
	s.queue = append(s.queue, c)
	s.more.Signal()
	s.mu.Unlock()
}

// maxBatch is how many counters one call is about.
const maxBatch = 256

// send calls the store with whatever has come together since the last call.
func (s *sharing) send() {
	var batch []*counter
	var ops []Op
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.ended {
			s.more.Wait()
		}
		n := min(len(s.queue), maxBatch)
		batch = append(batch[:0], s.queue[:n]...)
		rest := copy(s.queue, s.queue[n:])
		clear(s.queue[rest:])
		s.queue = s.queue[:rest]
		ended := s.ended
		s.mu.Unlock()
		if n == 0 && ended {
			return
		}
		ops = ops[:0]
		now := s.l.o.Now()
		for _, c := range batch {
			c.shard.mu.Lock()
			ops = append(ops, s.prepare(c, now))
			c.shard.mu.Unlock()
		}
		err := ErrUnavailable
		if !s.open.Load() {
			err = s.call(ops)
		}
		now = s.l.o.Now()
		for i, c := range batch {
			c.shard.mu.Lock()
			if err == nil && ops[i].Err == nil {
				s.arrive(c, ops[i].Total, now)
			} else {
				s.miss(c)
			}
			c.shard.mu.Unlock()
		}
	}
}

// prepare says what the store is asked about a counter.
func (s *sharing) prepare(c *counter, now time.Time) Op {
	c.flight = c.window
	switch {
	case c.giving:
		c.flying = -(c.tokens + c.excess)
		c.tokens, c.excess = 0, 0
	case c.over && len(c.waiters) == 0:
		c.flying = 0
	default:
		c.flying = s.need(c, now)
	}
	// The window is in the key, so that nothing is left of it in the next; what is left in
	// the store is gone soon after.
	return Op{
		Key: s.l.o.Prefix + c.key + "@" + strconv.FormatInt(c.window, 10),
		Add: c.flying, TTL: time.Duration(c.seconds+1) * time.Second,
	}
}

// need is how many hits to take: what waits, and some in advance.
func (s *sharing) need(c *counter, now time.Time) int64 {
	waits, looks := int64(0), len(c.waiters) > 0
	for _, w := range c.waiters {
		waits += w.hits
		looks = looks && w.hits == 0
	}
	if looks {
		return 0 // All only ask how much has come.
	}
	rest := c.limit - c.total
	switch since := now.Sub(c.taken); {
	case !c.known:
		rest /= 4 // Who knows.
	case since < quick:
		c.chunk = min(2*c.chunk, most)
	case since > idle:
		c.chunk = max(1, c.chunk/2)
	}
	c.chunk = max(1, min(c.chunk, rest/part))
	c.taken = now
	return max(c.chunk, waits-c.tokens)
}

// errPanic is a store that did not return.
var errPanic = errors.New("BUG: the store panicked")

func (s *sharing) call(ops []Op) (err error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.l.o.Timeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = errPanic
		}
		if err == nil {
			return
		}
		s.l.stats.storeErrors.Add(1)
		if s.ctx.Err() == nil && s.open.CompareAndSwap(false, true) {
			s.l.stats.open.Store(1)
			s.l.o.Log.Warn("the store of rate limits does not answer: requests are not counted until it does", "error", err)
			s.tripped <- struct{}{}
		}
	}()
	s.l.stats.storeCalls.Add(1)
	return s.store.Add(ctx, ops)
}

// arrive takes the store's answer, and lets those go that waited for it.
func (s *sharing) arrive(c *counter, total int64, now time.Time) {
	c.asking = false
	added := c.flying
	if total < max(0, added) || total > maxCount {
		s.l.stats.storeWrong.Add(1)
		s.miss(c)
		return
	}
	if c.flight == c.window {
		c.known, c.asked = true, now
		granted := added
		if added > 0 {
			granted = min(max(0, c.limit-(total-added)), added)
		}
		c.tokens += max(0, granted)
		c.excess += added - granted
		c.total = total - (added - granted)
		c.over = added > 0 && granted < added || added <= 0 && total >= c.limit && c.over
	}
	s.serve(c, now)
	s.keep(c, now)
}

// serve lets waiters go, as far as there is something for them.
func (s *sharing) serve(c *counter, now time.Time) {
	left := c.waiters[:0]
	for _, w := range c.waiters {
		// What has begun in one window is counted in the next if that has come.
		v := s.draw(c, w.hits, now)
		if v.wait && c.over {
			v = s.exhaust(c, w.hits)
		}
		if v.wait {
			left = append(left, w)
			continue
		}
		s.l.settle(w.r, w.i, c, v, w.hits, now)
		w.r.answered()
	}
	clear(c.waiters[len(left):])
	if c.waiters = left; len(left) > 0 && !s.ask(c) {
		s.miss(c)
	}
}

// exhaust is the answer for hits that are more than what is left, which they use up.
func (s *sharing) exhaust(c *counter, hits int64) verdict {
	before := c.spent()
	c.tokens = 0
	return verdict{over: true, before: before, after: before + hits}
}

// miss lets those go that waited for an answer that did not come. What the store was
// asked to add is lost: it may have done so.
func (s *sharing) miss(c *counter) {
	c.asking = false
	for _, w := range c.waiters {
		s.l.fail(w.r, w.i)
		w.r.answered()
	}
	clear(c.waiters)
	c.waiters = c.waiters[:0]
}

// keep remembers a counter with something to give back; its shard is locked.
func (s *sharing) keep(c *counter, now time.Time) {
	// A window of a second is over before anybody could use what comes back.
	if c.held || c.tokens+c.excess == 0 || c.seconds <= 1 {
		return
	}
	c.held = true
	s.hold.Lock()
	s.held = append(s.held, holding{c, now.Add(idle)})
	s.hold.Unlock()
}

// giveBack gives back what is not used.
func (s *sharing) giveBack() {
	t := time.NewTicker(idle / 8)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
		}
		now := s.l.o.Now()
		s.hold.Lock()
		n := 0
		for n < len(s.held) && !s.held[n].due.After(now) {
			n++
		}
		due := append([]holding(nil), s.held[:n]...)
		rest := copy(s.held, s.held[n:])
		clear(s.held[rest:])
		s.held = s.held[:rest]
		s.hold.Unlock()
		for _, h := range due {
			s.giveBackOf(h.c, now)
		}
	}
}

func (s *sharing) giveBackOf(c *counter, now time.Time) {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	c.held = false
	if now.Unix() >= c.window+c.seconds || s.open.Load() {
		return
	}
	if c.asking || now.Sub(c.drawn) < idle && c.excess == 0 {
		s.keep(c, now)
		return
	}
	if c.tokens+c.excess > 0 {
		c.asking, c.giving = true, true
		s.put(c)
	}
}

// mend asks a store that did not answer, less and less often, until it does.
func (s *sharing) mend() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.tripped:
		}
		for wait := firstTry; s.open.Load(); wait = min(2*wait, lastTry) {
			t := time.NewTimer(wait)
			select {
			case <-s.ctx.Done():
				t.Stop()
				return
			case <-t.C:
			}
			if s.call([]Op{{Key: s.l.o.Prefix + "alive"}}) == nil {
				s.open.Store(false)
				s.l.stats.open.Store(0)
				s.l.o.Log.Info("the store of rate limits answers again")
			}
		}
	}
}

// How long a store is left alone.
const (
	firstTry = 50 * time.Millisecond
	lastTry  = 2 * time.Second
)
