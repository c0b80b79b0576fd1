// SPDX-License-Identifier: Apache-2.0

// Package load is the benchmark's client. Most of it runs on one epoll loop: HTTP/1.1 keep-alive connections in a closed
// loop (each connection sends its next request when the last is answered), in an open loop (requests are due at Poisson
// arrivals whatever the answers do), or parked idle; HTTP/2 and gRPC, WebSocket and UDP in closed loops. Handshakes of
// TLS run on a goroutine each. It checks the status and the length of every answer.
package load

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"weir.dev/weir/test/bench/hist"
)

// A Protocol is what the client speaks.
type Protocol int

// The protocols. HTTP1 has all loops, the others a closed one only. Handshake is HTTP1 with a new connection of TLS, and
// so a full handshake, for each request.
const (
	HTTP1 Protocol = iota
	HTTP2
	Handshake
	WebSocket
	UDP
)

// A Spec says what to send and for how long.
type Spec struct {
	Protocol Protocol
	// Cert is the certificate (DER) that the server must show in TLS 1.3; empty means cleartext.
	Cert []byte
	// Addr is the IPv4 address and port to connect to.
	Addr string
	// Conns is the number of connections, at least 1.
	Conns int
	// Host and Path make the request. {n} in them is replaced by 00000, 00001 … up to Spread-1, and the requests are
	// spread over all of them; Spread 0 means 1.
	Host, Path string
	Spread     int
	// Length is the body length in bytes that every answer must have, beside status 200; of WebSocket and UDP that of a
	// message.
	Length int
	// Streams is how many requests each HTTP/2 connection has on their way at a time.
	Streams int
	// Messages makes the requests of HTTP/2 gRPC calls that send one message and are answered by so many; Length is then
	// of all of them together, and each counts as answered by itself. 0 means plain GETs.
	Messages int
	// Chat sends as many messages as there are answers, each when the one before it is answered.
	Chat bool
	// Rate is the open loop's mean arrivals per second; 0 means a closed loop.
	Rate float64
	// Warmup is not counted; Measure is. Park ignores both.
	Warmup, Measure time.Duration
}

// A Result is what was counted during Measure.
type Result struct {
	// Answered counts the correct answers, Bytes their bodies.
	Answered, Bytes uint64
	// Wall is how long it was counted for.
	Wall time.Duration
	// BadStatus and BadLength count wrong answers, Broken the connections that ended with a request unanswered, over
	// warm-up and measurement. A sample with any of them is worthless.
	BadStatus, BadLength, Broken uint64
	// Reconnects counts the connections that the proxy closed between requests, which it may.
	Reconnects uint64
	// P50, P99 and Max are the open loop's latencies from the time a request was due, so that waiting for a free
	// connection counts (no coordinated omission). Unanswered are those still open a second after the end.
	P50, P99, Max time.Duration
	Unanswered    uint64
	// LateP99 is how late, at the 99th percentile, the client itself was to send when a connection was free: below it,
	// differences of latency mean nothing.
	LateP99 time.Duration
}

// Wrong is the number of answers that were not what was asked for.
func (r Result) Wrong() uint64 { return r.BadStatus + r.BadLength + r.Broken + r.Unanswered }

// Hooks are called on the loop at the edges of the measurement, so that what they sample fits the counts; nil hooks
// are skipped.
type Hooks struct {
	Start, End func() error
}

// wrongLimit ends a run that is going nowhere.
const wrongLimit = 1000

type client struct {
	loop
	reqs [][]byte
	next int
	// scratch is what Discard points at.
	scratch []byte
	// done is called when a connection has its answer.
	done func(*conn) error
}

// newClient checks the spec and builds the requests. Its connections are opened by the run.
func newClient(spec Spec) (*client, error) {
	l, err := newLoop(spec)
	if err != nil {
		return nil, err
	}
	c := &client{loop: l, scratch: make([]byte, 256<<10)}
	for i := range max(spec.Spread, 1) {
		n := fmt.Sprintf("%05d", i)
		c.reqs = append(c.reqs, []byte("GET "+strings.ReplaceAll(spec.Path, "{n}", n)+" HTTP/1.1\r\nHost: "+
			strings.ReplaceAll(spec.Host, "{n}", n)+"\r\nUser-Agent: weir-bench\r\nAccept: */*\r\n\r\n"))
	}
	return c, nil
}

// request is the next one to send. A prime stride visits every target, and neighbours seldom follow each other.
func (c *client) request() []byte {
	c.next = (c.next + 7919) % len(c.reqs)
	return c.reqs[c.next]
}

// Run runs the loop that the spec asks for: the open one if it has a rate, and else the closed one of its protocol.
func Run(spec Spec, hooks Hooks) (Result, error) {
	switch {
	case spec.Protocol == HTTP1 && spec.Rate > 0:
		return Open(spec, hooks)
	case spec.Rate > 0:
		return Result{}, fmt.Errorf("only HTTP/1.1 has an open loop")
	}
	switch spec.Protocol {
	case HTTP2:
		return http2(spec, hooks)
	case Handshake:
		return handshakes(spec, hooks)
	case WebSocket:
		return websockets(spec, hooks)
	case UDP:
		return datagrams(spec, hooks)
	}
	return Closed(spec, hooks)
}

// Closed runs the closed loop of HTTP/1.1.
func Closed(spec Spec, hooks Hooks) (Result, error) {
	c, err := newClient(spec)
	if err != nil {
		return Result{}, err
	}
	defer c.close()
	c.done = func(cn *conn) error { return c.send(cn, c.request()) }
	for range spec.Conns {
		cn, err := c.dial(netip.Addr{})
		if err != nil {
			return c.res, err
		}
		if err := c.send(cn, c.request()); err != nil {
			return c.res, err
		}
	}
	return c.closed(hooks)
}

// arrivals is the state of the open loop.
type arrivals struct {
	rng   *rand.Rand
	mean  float64 // nanoseconds between arrivals
	next  time.Duration
	free  []*conn
	queue []time.Duration // due times that wait for a free connection; queue[:head] are sent
	head  int
	begin time.Duration // due times before it are warm-up
	late  hist.Histogram
	took  hist.Histogram
	open  int // requests sent and not answered
}

// Open runs the open loop. It sleeps until the next arrival or answer, with the kernel's high-resolution timer, and
// never spins: it shares its core with the backend, which a busy loop would starve, and the backend's delays would be
// read as the proxy's.
func Open(spec Spec, hooks Hooks) (Result, error) {
	c, err := newClient(spec)
	if err != nil {
		return Result{}, err
	}
	defer c.close()
	if spec.Rate <= 0 {
		return c.res, fmt.Errorf("the open loop needs a rate above 0, not %v", spec.Rate)
	}
	a := &arrivals{rng: rand.New(rand.NewPCG(20, 26)), mean: float64(time.Second) / spec.Rate, begin: 1 << 62}
	c.done = func(cn *conn) error { return c.finish(a, cn) }
	for range spec.Conns {
		cn, err := c.dial(netip.Addr{})
		if err != nil {
			return c.res, err
		}
		a.free = append(a.free, cn)
	}
	a.next = c.now()
	if err := c.arrive(a, c.now()+spec.Warmup); err != nil {
		return c.res, err
	}
	if err := c.begin(hooks.Start); err != nil {
		return c.res, err
	}
	start := c.now()
	// The hook took time in which nothing was sent; what was due then is not the proxy's fault.
	a.begin, a.next = start, max(a.next, start)
	if err := c.arrive(a, start+spec.Measure); err != nil {
		return c.res, err
	}
	c.res.Wall = c.now() - start
	counted, bytes := c.res.Answered, c.res.Bytes
	if err := call(hooks.End); err != nil {
		return c.res, err
	}
	// The slowest are still out: leaving them uncounted would flatter the tail.
	a.next = 1 << 62
	for stop := c.now() + time.Second; a.open+len(a.queue)-a.head > 0 && c.now() < stop; {
		if err := c.turn(stop - c.now()); err != nil {
			return c.res, err
		}
	}
	c.res.Unanswered = uint64(a.open + len(a.queue) - a.head)
	c.res.Answered, c.res.Bytes = counted, bytes
	c.res.P50, c.res.P99, c.res.Max = a.took.Quantile(0.5), a.took.Quantile(0.99), a.took.Max()
	c.res.LateP99 = a.late.Quantile(0.99)
	return c.res, nil
}

// arrive sends what falls due until stop.
func (c *client) arrive(a *arrivals, stop time.Duration) error {
	for {
		now := c.now()
		if now >= stop {
			return nil
		}
		for a.next <= now {
			due := a.next
			a.next += time.Duration(a.rng.ExpFloat64() * a.mean)
			if len(a.free) == 0 {
				a.queue = append(a.queue, due)
				continue
			}
			cn := a.free[len(a.free)-1]
			a.free = a.free[:len(a.free)-1]
			if due >= a.begin {
				a.late.Record(now - due)
			}
			if err := c.sendDue(a, cn, due); err != nil {
				return err
			}
		}
		if err := c.turn(max(min(a.next, stop)-c.now(), 0)); err != nil {
			return err
		}
	}
}

func (c *client) sendDue(a *arrivals, cn *conn, due time.Duration) error {
	cn.due = due
	a.open++
	return c.send(cn, c.request())
}

// finish records an answer and gives the connection the request that waited longest.
func (c *client) finish(a *arrivals, cn *conn) error {
	a.open--
	if cn.due >= a.begin {
		a.took.Record(c.now() - cn.due)
	}
	if a.head == len(a.queue) {
		a.queue, a.head = a.queue[:0], 0
		a.free = append(a.free, cn)
		return nil
	}
	due := a.queue[a.head]
	a.head++
	return c.sendDue(a, cn, due)
}

// sources is over how many of 127.0.0.2 … parked connections are spread, so that ports do not run out.
const sources = 4

// Park opens one connection and sends a request on it, calls before, opens spec.Conns more, sends one request on each
// (64 at a time) and calls after while all of them are idle. Then it sends a second request on each: a connection that
// the proxy had closed meanwhile counts as broken or as reconnected. Answered counts the second requests.
func Park(spec Spec, before, after func() error) (Result, error) {
	c, err := newClient(spec)
	if err != nil {
		return Result{}, err
	}
	defer c.close()
	first, err := c.dial(netip.Addr{})
	if err != nil {
		return c.res, err
	}
	if err := c.each([]*conn{first}); err != nil {
		return c.res, err
	}
	if err := call(before); err != nil {
		return c.res, err
	}
	start := c.now()
	var parked []*conn
	for len(parked) < spec.Conns {
		var batch []*conn
		for range min(64, spec.Conns-len(parked)) {
			source := netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + (len(parked)+len(batch))%sources)})
			cn, err := c.dial(source)
			if err != nil {
				return c.res, err
			}
			batch = append(batch, cn)
		}
		if err := c.each(batch); err != nil {
			return c.res, err
		}
		parked = append(parked, batch...)
	}
	if err := call(after); err != nil {
		return c.res, err
	}
	c.res.Answered, c.res.Bytes = 0, 0
	for i := 0; i < len(parked); i += 64 {
		if err := c.each(parked[i:min(i+64, len(parked))]); err != nil {
			return c.res, err
		}
	}
	c.res.Wall = c.now() - start
	return c.res, nil
}

// each sends one request on each of cns and waits until all are answered, but no longer than ten seconds.
func (c *client) each(cns []*conn) error {
	open := len(cns)
	c.done = func(*conn) error { open--; return nil }
	for _, cn := range cns {
		if err := c.send(cn, c.request()); err != nil {
			return err
		}
	}
	for stop := c.now() + 10*time.Second; open > 0; {
		if c.now() > stop {
			return fmt.Errorf("%d of %d requests not answered within 10 s: %w", open, len(cns), syscall.ETIMEDOUT)
		}
		if err := c.turn(stop - c.now()); err != nil {
			return err
		}
	}
	return nil
}
