// SPDX-License-Identifier: Apache-2.0

// Package call sends requests that are the proxy's own, and not on behalf of anybody
// else, to clusters: they pass the cluster's balancer, breakers, pools and transport
// sockets and count in its statistics as all requests do. They pass no filters, and
// are small: a response is read whole.
package call

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/proxy/upstream/pool"
)

// Caller makes calls from any goroutine but a loop's.
type Caller struct {
	loops    []*engine.Loop
	clusters *upstream.Manager
	next     atomic.Uint32
}

// New returns a Caller that uses the loops in turn.
func New(loops []*engine.Loop, clusters *upstream.Manager) *Caller {
	return &Caller{loops: loops, clusters: clusters}
}

var (
	errTimeout  = errors.New("no response in time")
	errEnded    = errors.New("nobody waits for the response any more")
	errOverflow = errors.New("too many requests are in flight to the cluster")
	errInterim  = errors.New("too many interim responses")
)

// maxInterim bounds the responses of class 1xx before the one that counts.
const maxInterim = 16

// Get implements upstream.Caller. It waits until the cluster is active, which the
// timeout does not count, and then sends GET path with the cluster's name as host.
func (c *Caller) Get(ctx context.Context, cluster, path string, timeout time.Duration, limit int) (status int, body []byte, err error) {
	// A field of a request must not end it, nor begin another.
	if strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return 0, nil, fmt.Errorf("the path %q is not one of HTTP", path)
	}
	cl, err := c.clusters.Await(ctx, cluster)
	if err != nil {
		return 0, nil, err
	}
	loop := c.loops[int(c.next.Add(1))%len(c.loops)]
	g := &get{worker: cl.Worker(loop.ID()), path: path, host: cluster, timeout: timeout, limit: limit, done: make(chan struct{})}
	if !loop.Post(func() { loop.Go(g) }) {
		return 0, nil, engine.ErrClosed
	}
	select {
	case <-g.done:
	case <-ctx.Done():
		if !loop.Post(g.interrupt) {
			return 0, nil, engine.ErrClosed
		}
		<-g.done
	}
	if g.err != nil {
		return 0, nil, g.err
	}
	return g.status, g.body, nil
}

// get is one call. Its fields belong to its loop until done is closed.
type get struct {
	worker  *upstream.Worker
	path    string
	host    string
	timeout time.Duration
	limit   int

	task   *engine.Task
	left   bool // nobody waits
	over   bool
	status int
	body   []byte
	err    error
	done   chan struct{}
}

// interrupt ends the call. It runs on the loop.
func (g *get) interrupt() {
	g.left = true
	if !g.over && g.task != nil {
		g.task.Interrupt(errEnded)
	}
}

// Run makes the call.
func (g *get) Run(t *engine.Task) {
	g.task = t
	g.worker.Hold()
	defer func() {
		g.worker.Drop()
		g.over, g.task = true, nil
		close(g.done)
	}()
	if g.left {
		g.err = errEnded
		return
	}
	t.SetDeadline(int64(g.timeout), errTimeout)
	g.err = g.exchange(t)
}

func (g *get) exchange(t *engine.Task) error {
	var h header.Map
	h.Add(header.Method, "GET")
	h.Add(header.Path, g.path)
	h.Add(header.Authority, g.host)
	h.Add(header.Scheme, "http")
	h.Add(header.UserAgent, "weir")
	st := g.worker.Stats
	host, _ := g.worker.Pick(&upstream.PickContext{Headers: &h})
	if host == nil {
		st.CxNoneHealthy.Inc()
		return fmt.Errorf("cluster %q has no healthy host", g.worker.Cluster().Name)
	}
	if host.Transport.Transport != nil {
		h.Set(header.Scheme, "https")
	}
	x, _, err := pool.Connect(g.worker, t, host, &pool.Options{Downstream: streaminfo.HTTP11})
	if err != nil {
		return err
	}
	requests := &g.worker.Cluster().Resources(breaker.Default).Requests
	if !requests.TryAcquire() {
		st.RqPendingOverflow.Inc()
		x.Unused()
		return errOverflow
	}
	st.RqActive.Inc()
	host.AddRequests(1)
	defer func() {
		requests.Release()
		st.RqActive.Dec()
		host.AddRequests(-1)
	}()
	st.RqTotal.Inc()
	host.Local(g.worker.Loop()).Stats.RqTotal.Inc()
	err = g.converse(x, &h)
	if err == nil {
		st.Response(g.status)
	} else if !x.ResponseDone() {
		st.RqTxReset.Inc()
	}
	x.Release(err == nil)
	return err
}

// converse sends the request and reads the response whole.
func (g *get) converse(x pool.Exchange, h *header.Map) error {
	request := stream.Message{Header: h}
	if err := x.Open(&request, &codec.Request{}); err != nil {
		return err
	}
	if err := x.Flush(); err != nil {
		return err
	}
	var resp stream.Message
	var head header.Map
	for interim := 0; ; interim++ {
		if interim > maxInterim {
			return errInterim
		}
		head.Reset()
		if err := x.ReadResponse(&resp, &head); err != nil {
			return err
		}
		if g.status = int(x.Head().Status); g.status >= 200 {
			break
		}
	}
	if resp.Body == nil {
		return nil
	}
	var err error
	if g.body, err = stream.Collect(resp.Body, nil, g.limit); errors.Is(err, stream.ErrTooLarge) {
		return fmt.Errorf("the response has more than %d bytes", g.limit)
	}
	return err
}
