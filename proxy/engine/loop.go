// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Loop serves its connections, timers and tasks on one goroutine.
type Loop struct {
	id      int
	ep, efd int
	gen     uint32
	sources []*[pageSize]source // by file descriptor, in pages
	now     int64
	wheel   wheel

	cur   *Task
	runq  []*Task
	spare []*Task
	free  []*Task
	spent []*Task // finished, to be ended outside their coroutine
	all   []*Task // every task there is, busy or free
	tasks int     // busy ones

	bufs  [][]byte
	pipes []pipe

	incoming            *packetBatch // nil until a datagram comes
	outgoing            *packetQueue // nil until one is sent
	receiving           bool         // datagrams are being handled: what is sent waits for the rest
	unread, unreadSpare []*PacketSocket

	raw     bool
	idle    int // empty waits in a row
	closing bool

	mu     sync.Mutex
	posted []func()
	taken  []func()
	closed bool // under mu: Post no longer accepts

	// beat is odd while the loop handles a batch, so that the watchdog sees one
	// that does not end.
	beat    atomic.Uint64
	running atomic.Pointer[Task]

	goroutines sync.WaitGroup // of Foreign
	done       chan struct{}
	onPanic    func(v any, stack []byte)
}

// pageSize is how many descriptors a page of sources is for: pages, because a
// table that grew as a whole would leave its old self behind.
const pageSize = 1024

// source is what a descriptor's events go to: a connection, a listener or a
// datagram socket.
type source struct {
	conn     *Conn
	listener *Listener
	packet   *PacketSocket
	gen      uint32
}

func newLoop(id int, onPanic func(any, []byte)) (*Loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	efd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		closeFD(ep)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	l := &Loop{id: id, ep: ep, efd: efd, raw: canWaitRaw(), done: make(chan struct{}), onPanic: onPanic, now: Nano()}
	l.wheel.elapsed = uint64(l.now) / tickSize
	if err := epollAdd(ep, efd, epollIn|unix.EPOLLET, 0); err != nil {
		closeFD(ep)
		closeFD(efd)
		return nil, fmt.Errorf("watch eventfd: %w", err)
	}
	return l, nil
}

// canWaitRaw reports whether the runtime can interrupt a raw wait: it does so
// by the signal that preempts, unless that is switched off.
func canWaitRaw() bool {
	return !strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1")
}

// ID returns the loop's number, from 0.
func (l *Loop) ID() int { return l.id }

// Now returns the loop's time: monotonic nanoseconds, read from the clock once
// for every few tasks that ran, so that it costs nothing to ask and is late by
// some tens of microseconds at most while no task computes.
func (l *Loop) Now() int64 { return l.now }

// tasksPerClock is how many tasks run between two looks at the clock.
const tasksPerClock = 4

// Task returns the task that runs now, nil between tasks; on the loop only.
func (l *Loop) Task() *Task { return l.cur }

// Post runs f on the loop, soon and in order; from any goroutine. After the
// loop has closed it does nothing and returns false.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, f)
	first := len(l.posted) == 1
	l.mu.Unlock()
	if first {
		one := uint64(1)
		syscall.RawSyscall(syscall.SYS_WRITE, uintptr(l.efd), uintptr(unsafe.Pointer(&one)), 8)
	}
	return true
}

// Go starts a task; on the loop only.
func (l *Loop) Go(r Runner) {
	var t *Task
	if n := len(l.free); n > 0 {
		t = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		t = l.newTask()
	}
	t.job = r
	l.tasks++
	l.ready(t)
}

// RunnerFunc makes a Runner of a function.
type RunnerFunc func(t *Task)

// Run calls f.
func (f RunnerFunc) Run(t *Task) { f(t) }

// Do runs f on a task of the loop and waits for it; from any goroutine that is
// not a loop's.
func (l *Loop) Do(f func(t *Task)) error {
	done := make(chan struct{})
	ok := l.Post(func() {
		l.Go(RunnerFunc(func(t *Task) {
			defer close(done)
			f(t)
		}))
	})
	if !ok {
		return ErrClosed
	}
	<-done
	return nil
}

// Buffer returns a buffer of BufferSize bytes from the loop's pool.
func (l *Loop) Buffer() []byte {
	if n := len(l.bufs); n > 0 {
		b := l.bufs[n-1]
		l.bufs = l.bufs[:n-1]
		return b
	}
	slab := make([]byte, slabBuffers*(BufferSize+bufferColor))
	for i := 1; i < slabBuffers; i++ {
		at := i * (BufferSize + bufferColor)
		l.bufs = append(l.bufs, slab[at:at+BufferSize:at+BufferSize])
	}
	return slab[:BufferSize:BufferSize]
}

const (
	// slabBuffers is how many buffers are made at a time.
	slabBuffers = 8
	// bufferColor sets the buffers of a slab apart by some cache lines more than
	// their size. Were they all aligned alike, the first lines of each, which
	// every message uses, would crowd into the same few sets of the caches.
	bufferColor = 9 * 64
)

// PutBuffer gives a buffer back; one of another size is left to the collector.
func (l *Loop) PutBuffer(b []byte) {
	if cap(b) == BufferSize && len(l.bufs) < maxFreeBuffers {
		l.bufs = append(l.bufs, b[:BufferSize])
	}
}

// BufferSize is the size of pooled buffers in bytes.
const BufferSize = 32 << 10

// maxFreeBuffers bounds what the pool keeps to 16 MiB.
const maxFreeBuffers = 512

func (l *Loop) ready(t *Task) {
	if !t.queued {
		t.queued = true
		l.runq = append(l.runq, t)
	}
}

func (l *Loop) panicked(v any, stack []byte) {
	if l.onPanic != nil {
		l.onPanic(v, stack)
	}
}

// run serves until the loop is closed and its last task has ended.
func (l *Loop) run() {
	defer close(l.done)
	evs := make([]event, 256)
	next := int64(-1)
	for {
		n := l.wait(evs, next)
		l.beat.Add(1)
		l.now = Nano()
		l.handle(evs[:n])
		l.readOn()
		l.wheel.advance(l.now)
		l.runTasks()
		next = 0
		if len(l.runq) == 0 && len(l.unread) == 0 {
			next = l.wheel.until(l.now)
		}
		l.beat.Add(1)
		if l.closing && l.tasks == 0 {
			l.shut()
			return
		}
	}
}

// wait waits for events for at most ns nanoseconds, or without limit if ns is
// negative.
func (l *Loop) wait(evs []event, ns int64) int {
	ms := -1
	if ns >= 0 {
		ms = int((ns + tickSize - 1) / tickSize)
		ms = min(ms, 1<<30)
	}
	if l.raw && l.idle < idleWaits {
		n, _ := rawWait(l.ep, evs, ms)
		if n == 0 && ms != 0 {
			if l.idle == idleWaits-1 {
				l.trim()
			}
			l.idle++ // A time-out, or the runtime's monitor calling every 10 ms.
		} else {
			l.idle = 0
		}
		return n
	}
	n, _ := wait(l.ep, evs, ms)
	if n > 0 {
		l.idle = 0
	}
	return n
}

// Trim gives most of what is kept for reuse to the collector; on the loop only.
func (l *Loop) Trim() { l.trim() }

// trim gives most of what is kept for reuse to the collector, once a burst is
// over.
func (l *Loop) trim() {
	for len(l.free) > keptTasks {
		last := len(l.free) - 1
		l.end(l.free[last])
		l.free[last] = nil
		l.free = l.free[:last]
	}
	if len(l.bufs) > keptBuffers {
		clear(l.bufs[keptBuffers:])
		l.bufs = l.bufs[:keptBuffers]
	}
}

// What a loop keeps when it is idle.
const (
	keptTasks   = 64
	keptBuffers = 64
)

// idleWaits is after how many empty waits in a row a loop stops holding its
// processor: about 50 ms.
const idleWaits = 5

func (l *Loop) handle(evs []event) {
	for i := range evs {
		ev := &evs[i]
		if int(ev.fd) == l.efd {
			l.takePosted()
			continue
		}
		s := &l.sources[ev.fd/pageSize][ev.fd%pageSize]
		if s.gen != ev.gen {
			continue // Closed meanwhile.
		}
		if s.conn != nil {
			s.conn.event(ev.events)
		} else if s.listener != nil {
			s.listener.accept()
		} else if s.packet != nil {
			s.packet.event()
		}
	}
}

func (l *Loop) takePosted() {
	var x uint64
	syscall.RawSyscall(syscall.SYS_READ, uintptr(l.efd), uintptr(unsafe.Pointer(&x)), 8)
	l.mu.Lock()
	fs := l.posted
	l.posted = l.taken[:0]
	l.mu.Unlock()
	for i, f := range fs {
		f()
		fs[i] = nil
	}
	l.taken = fs[:0]
}

// runTasks resumes the tasks that are ready now; those they make ready have
// their turn after the next look at the sockets.
func (l *Loop) runTasks() {
	for round := 0; round < 4 && len(l.runq) > 0; round++ {
		q := l.runq
		l.runq = l.spare[:0]
		for i, t := range q {
			q[i] = nil
			t.queued = false
			if i%tasksPerClock == tasksPerClock-1 {
				l.now = Nano()
			}
			l.resume(t)
		}
		l.spare = q[:0]
	}
	for i, t := range l.spent {
		l.end(t)
		l.spent[i] = nil
	}
	l.spent = l.spent[:0]
}

// end lets a task's coroutine return.
func (l *Loop) end(t *Task) {
	last := len(l.all) - 1
	l.all[t.index] = l.all[last]
	l.all[t.index].index = t.index
	l.all[last] = nil
	l.all = l.all[:last]
	t.stop()
}

func (l *Loop) resume(t *Task) {
	l.cur = t
	l.running.Store(t)
	t.next()
	l.cur = nil
}

// register gives a descriptor to the loop.
func (l *Loop) register(fd int, s source, mask uint32) error {
	for fd/pageSize >= len(l.sources) {
		l.sources = append(l.sources, nil)
	}
	page := l.sources[fd/pageSize]
	if page == nil {
		page = new([pageSize]source)
		l.sources[fd/pageSize] = page
	}
	l.gen++
	s.gen = l.gen
	page[fd%pageSize] = s
	if err := epollAdd(l.ep, fd, mask, l.gen); err != nil {
		l.forget(fd)
		return err
	}
	return nil
}

func (l *Loop) forget(fd int) { l.sources[fd/pageSize][fd%pageSize] = source{} }

// each calls f for every source; f may forget it.
func (l *Loop) each(f func(s *source)) {
	for _, page := range l.sources {
		if page == nil {
			continue
		}
		for i := range page {
			f(&page[i])
		}
	}
}

// startClose interrupts everything; run returns once the tasks have ended.
func (l *Loop) startClose() {
	l.closing = true
	for _, t := range l.all {
		t.Wake()
	}
	l.each(func(s *source) {
		if s.listener != nil {
			s.listener.Close()
		} else if s.conn != nil {
			s.conn.abort(ErrClosed)
		}
	})
}

func (l *Loop) shut() {
	l.mu.Lock()
	l.closed = true
	l.posted = nil
	l.mu.Unlock()
	l.each(func(s *source) {
		if s.conn != nil {
			s.conn.Close()
		} else if s.packet != nil {
			s.packet.Close()
		}
	})
	for _, t := range l.free {
		l.end(t)
	}
	l.free = nil
	for _, p := range l.pipes {
		p.close()
	}
	closeFD(l.efd)
	closeFD(l.ep)
}
