// SPDX-License-Identifier: Apache-2.0

package call

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/upstream"
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

var errEnded = errors.New("nobody waits for the response any more")

// Client returns a client of a service, whose calls may be made here.
func (c *Caller) Client(s *Service) *Client { return NewClient(s, c.clusters) }

// Get implements upstream.Caller. It waits until the cluster is active, which the
// timeout does not count, and then sends GET path with the cluster's name as host.
func (c *Caller) Get(ctx context.Context, cluster, path string, timeout time.Duration, limit int) (status int, body []byte, err error) {
	if err := CheckPath(path); err != nil {
		return 0, nil, err
	}
	k := c.Client(&Service{Cluster: cluster, Timeout: timeout, Limit: limit}).Begin(http.MethodGet, []byte(path))
	if err := c.Do(ctx, k); err != nil {
		return 0, nil, err
	}
	return k.Status, k.Content, nil
}

// CheckPath refuses a path that would end a field of a request, or begin another.
func CheckPath(path string) error {
	if strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("the path %q is not one of HTTP", path)
	}
	return nil
}

// Do makes a call on one of the loops, once the cluster is active, which the call's
// timeout does not count. When ctx is done it ends soon.
func (c *Caller) Do(ctx context.Context, k *Call) error {
	cl, err := c.clusters.Await(ctx, k.client.service.Cluster)
	if err != nil {
		return err
	}
	loop := c.loops[int(c.next.Add(1))%len(c.loops)]
	r := &run{call: k, worker: cl.Worker(loop.ID()), done: make(chan struct{})}
	if !loop.Post(func() { loop.Go(r) }) {
		return engine.ErrClosed
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if !loop.Post(r.interrupt) {
			return engine.ErrClosed
		}
		<-r.done
	}
	return r.err
}

// Unary makes a gRPC call as Do does and returns the message of the answer, which is
// valid until the call's End.
func (c *Caller) Unary(ctx context.Context, k *Call) ([]byte, error) {
	k.seal()
	if err := c.Do(ctx, k); err != nil {
		return nil, err
	}
	return k.message()
}

// run is one call on a task of its own. Its fields belong to its loop until done is
// closed.
type run struct {
	call   *Call
	worker *upstream.Worker
	task   *engine.Task
	left   bool // nobody waits
	over   bool
	err    error
	done   chan struct{}
}

// interrupt ends the call. It runs on the loop.
func (r *run) interrupt() {
	r.left = true
	if !r.over && r.task != nil {
		r.task.Interrupt(errEnded)
	}
}

// Run makes the call.
func (r *run) Run(t *engine.Task) {
	r.task = t
	defer func() {
		r.over, r.task = true, nil
		close(r.done)
	}()
	if r.left {
		r.err = errEnded
		return
	}
	r.err = r.call.do(t, r.worker)
}
