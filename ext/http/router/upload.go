// SPDX-License-Identifier: Apache-2.0

package router

import (
	"errors"
	"io"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stream"
)

// errStreamOver stops an upload whose stream has ended.
var errStreamOver = errors.New("stream over")

// upload sends a request's body while the stream's own task waits for the
// response: both directions flow at once. It runs on a task of its own on the
// same loop.
type upload struct {
	t       *try
	task    *engine.Task
	running bool
	stopped bool
	raw     bool
	waiter  *engine.Task // waits for the end
}

func (u *upload) start(raw bool) {
	u.running, u.stopped, u.raw = true, false, raw
	u.t.q.loop.Go(u)
}

// Upload begins to send what follows the request's head in a tunnel.
func (u *upload) Upload() { u.start(true) }

// Wait waits until all of it was sent.
func (u *upload) Wait() error {
	t := u.t.q.s.Task()
	u.waiter = t
	defer func() { u.waiter = nil }()
	for u.running {
		if err := t.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// Run sends the body.
func (u *upload) Run(t *engine.Task) {
	q, client := u.t.q, u.t.client
	u.task = t
	defer func() {
		u.task, u.running = nil, false
		if u.waiter != nil {
			u.waiter.Wake()
		}
	}()
	if u.stopped {
		return
	}
	if u.raw {
		// An error means that the connection is gone, which its reader sees.
		body := u.t.message().Body
		if body == nil {
			body = stream.NewBytes(nil)
		}
		_ = client.SendTunnel(body)
		return
	}
	err := client.SendBody(u.t.message())
	if u.stopped {
		return
	}
	if err == nil {
		u.t.sent()
		return
	}
	var src *codec.SourceError
	if errors.As(err, &src) {
		// The request itself is broken off; the host must not take it for whole.
		q.s.Task().Interrupt(&uploadError{src.Err})
	}
	// Otherwise the host takes no more of it; what it answered, or that it closed,
	// is seen by who reads the response.
}

// uploadError is an error of the request's body.
type uploadError struct{ err error }

// Error says what could not be read.
func (e *uploadError) Error() string { return "read request body: " + e.err.Error() }

// Unwrap returns the cause.
func (e *uploadError) Unwrap() error { return e.err }

// stopUpload ends the upload and waits until it no longer touches the stream.
func (t *try) stopUpload() {
	u := &t.upload
	if !u.running {
		return
	}
	u.stopped = true
	for u.running {
		if u.task != nil {
			u.task.Interrupt(errStreamOver)
		}
		t.q.loop.Task().Yield()
	}
}

// replay is a request's body that can be sent more than once: what was read is
// kept, up to a limit.
type replay struct {
	src   stream.Body
	kept  []byte
	pos   int
	limit int
	over  bool // more was read than may be kept
	done  bool // the source has ended
}

func (r *replay) start(src stream.Body, limit int) {
	*r = replay{src: src, kept: r.kept[:0], limit: limit}
}

// maxKept is what a replay's buffer may keep for the next request.
const maxKept = 64 << 10

func (r *replay) reset() {
	kept := r.kept
	if cap(kept) > maxKept {
		kept = nil
	}
	*r = replay{kept: kept[:0]}
}

// rewindable reports whether the body can be sent from its start.
func (r *replay) rewindable() bool { return r.src == nil || !r.over }

func (r *replay) rewind() { r.pos = 0 }

// Next returns what was kept and then what the source has.
func (r *replay) Next() ([]byte, error) {
	if r.pos < len(r.kept) {
		p := r.kept[r.pos:]
		r.pos = len(r.kept)
		if r.done {
			return p, io.EOF
		}
		return p, nil
	}
	if r.done {
		return nil, io.EOF
	}
	p, err := r.src.Next()
	if err == io.EOF {
		r.done = true
	}
	if !r.over && len(r.kept)+len(p) > r.limit {
		r.over, r.kept, r.pos = true, r.kept[:0], 0
	}
	if !r.over {
		r.kept = append(r.kept, p...)
		r.pos = len(r.kept)
	}
	return p, err
}

// Ready reports whether Next would return without waiting.
func (r *replay) Ready() bool { return r.pos < len(r.kept) || r.done || r.src.Ready() }
