// SPDX-License-Identifier: Apache-2.0

// Package clusterdial makes connections to clusters for parts of the process that are
// not on the request path and speak with net.Conn, such as the client of a management
// server: a host is picked, dialled and shaken hands with as the cluster's
// configuration says, counts in its breakers and statistics, and is told apart by no
// one from what tcp_proxy connects to.
//
// A connection is one end of a pair of sockets; the other is carried to the host and
// back by proxy/pump on an event loop, so that its transport socket needs no second
// implementation.
package clusterdial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/pump"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/proxy/upstream/pool"
)

// Dialer dials clusters, on the loops in turn. Its methods may be called from any
// goroutine but a loop's.
type Dialer struct {
	loops    []*engine.Loop
	clusters *upstream.Manager
	next     atomic.Uint32
}

// New returns a Dialer.
func New(loops []*engine.Loop, clusters *upstream.Manager) *Dialer {
	return &Dialer{loops: loops, clusters: clusters}
}

var errEnded = errors.New("nobody waits for the connection any more")

// Dial waits until the cluster is active and connects to one of its hosts. alpn are the
// protocols to offer if the cluster's transport socket is told none.
func (d *Dialer) Dial(ctx context.Context, cluster string, alpn ...string) (net.Conn, error) {
	cl, err := d.clusters.Await(ctx, cluster)
	if err != nil {
		return nil, err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	loop := d.loops[int(d.next.Add(1))%len(d.loops)]
	c := &carrier{worker: cl.Worker(loop.ID()), loop: loop, fd: fds[1], alpn: alpn, dialled: make(chan struct{})}
	if !loop.Post(func() { loop.Go(c) }) {
		c.err = errors.Join(engine.ErrClosed, unix.Close(fds[1]))
	} else {
		c.wait(ctx)
	}
	if c.err != nil {
		return nil, errors.Join(c.err, unix.Close(fds[0]))
	}
	f := os.NewFile(uintptr(fds[0]), "cluster "+cluster)
	defer f.Close()
	conn, err := net.FileConn(f) // It has a descriptor of its own.
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// carrier is the far end of one connection. Its fields belong to its loop until dialled
// is closed, and again after.
type carrier struct {
	worker  *upstream.Worker
	loop    *engine.Loop
	fd      int
	alpn    []string
	task    *engine.Task
	left    bool
	near    *engine.Conn
	far     *pool.Conn
	pair    pump.Pair
	err     error
	dialled chan struct{}
}

func (c *carrier) wait(ctx context.Context) {
	select {
	case <-c.dialled:
	case <-ctx.Done():
		if c.loop.Post(c.interrupt) {
			<-c.dialled
			return
		}
		// The loop ends, and its tasks with it.
		<-c.dialled
	}
}

func (c *carrier) interrupt() {
	c.left = true
	if c.task != nil {
		c.task.Interrupt(errEnded)
	}
}

// Run dials; the pump needs no task.
func (c *carrier) Run(t *engine.Task) {
	c.task = t
	c.worker.Hold()
	c.err = c.dial(t)
	c.task = nil
	if c.err != nil {
		c.close()
	}
	close(c.dialled)
}

func (c *carrier) dial(t *engine.Task) error {
	near, err := c.loop.NewConn(c.fd, false)
	if err != nil {
		return errors.Join(err, unix.Close(c.fd))
	}
	c.near = near
	if c.left {
		return errEnded
	}
	host, _ := c.worker.Pick(&upstream.PickContext{})
	if host == nil {
		c.worker.Stats.CxNoneHealthy.Inc()
		return fmt.Errorf("cluster %q has no healthy host", c.worker.Cluster().Name)
	}
	if c.far, err = pool.ConnectTCP(c.worker, t, host, breaker.Default, &upstream.TransportOptions{FallbackALPN: c.alpn}); err != nil {
		return fmt.Errorf("cluster %q: host %s: %w", c.worker.Cluster().Name, host.Address, err)
	}
	c.pair.Init(c.loop, c, pump.End{Socket: c.near, Transport: c.near}, pump.End{Socket: c.far.Socket, Transport: c.far.Transport})
	c.pair.Begin()
	return nil
}

// Moved implements pump.Owner.
func (c *carrier) Moved(bool, int) {}

// Stalled implements pump.Owner.
func (c *carrier) Stalled(bool, bool) {}

// Ended implements pump.Owner.
func (c *carrier) Ended(pump.Ending) { c.close() }

func (c *carrier) close() {
	if c.far != nil {
		c.far.Close()
	}
	if c.near != nil {
		c.near.Close()
	}
	c.worker.Drop()
}
