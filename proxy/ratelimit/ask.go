// SPDX-License-Identifier: Apache-2.0

package ratelimit

import (
	"errors"
	"sync"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/trace"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds"
)

// A Limiter is a rate limit service in this process.
type Limiter interface {
	// Limit answers q: at once, upon which it returns true, or else later, upon which it
	// calls answered, from any goroutine, perhaps before it has returned. It does not look
	// at what Descriptors refer to any more once it has returned.
	Limit(q *Question, answered func()) bool
}

// InProcess is the name of the cluster that stands for the Limiter of this process.
const InProcess = xds.LimiterCluster

// A Question is what a rate limit service is asked, and its answer.
type Question struct {
	Domain string
	// Hits is what the request counts for, where its Descriptors do not say; 0 is 1.
	Hits        uint32
	Descriptors []Descriptor

	Answer
}

// An Answer is what a rate limit service says of a request.
type Answer struct {
	Over bool
	// Statuses are those of the Descriptors, or none.
	Statuses []Status
	// RequestHeaders are for the host, ResponseHeaders for the client.
	RequestHeaders, ResponseHeaders []Field
	// Body is that of the response to a request that is over a limit.
	Body []byte
	// Metadata is for the stream; nil is none.
	Metadata map[string]any
	// Err tells that it is not known.
	Err error
}

// A Field is one of a head.
type Field struct{ Name, Value string }

// Status is the answer for one Descriptor.
type Status struct {
	Over bool
	// Limited tells that there is a limit: Requests in Window, which is 0 if it is not
	// known. Name may be empty.
	Limited   bool
	Requests  uint32
	Window    time.Duration
	Name      string
	Remaining uint32
	// Reset is how long the window lasts.
	Reset time.Duration
}

func (a *Answer) reset() {
	*a = Answer{Statuses: a.Statuses[:0], RequestHeaders: a.RequestHeaders[:0], ResponseHeaders: a.ResponseHeaders[:0], Body: a.Body[:0]}
}

// A Service is where a filter asks: in this process or elsewhere.
type Service struct {
	local   Limiter
	remote  *call.Client
	timeout time.Duration // of local; 0 is none
	free    sync.Pool     // of *pending
}

var errLate = errors.New("the rate limiter of this process does not answer in time")

// Ask asks the service and waits for its answer on t, which runs. info is what is known
// of the stream, nil if there is none; span its span, or nil. The error is that of t, which has been
// interrupted; what is wrong with the service is in the Answer.
func (s *Service) Ask(t *engine.Task, q *Question, info *streaminfo.Stream, span *trace.Span) error {
	q.reset()
	if s.local != nil {
		return s.askLocal(t, q)
	}
	return s.askRemote(t, q, info, span)
}

// pending is a question to a Limiter. It outlives who asks, if that does not wait.
type pending struct {
	q        Question
	loop     *engine.Loop
	task     *engine.Task // that waits, or nil
	answered bool
	timer    engine.Timer
	// post and arrive are the methods, late is what ends the wait.
	post, arrive, late func()
}

func (s *Service) askLocal(t *engine.Task, q *Question) error {
	p, _ := s.free.Get().(*pending)
	if p == nil {
		p = &pending{}
		p.post, p.arrive, p.late = p.posted, p.arrived, p.expired
	}
	p.loop, p.task, p.answered = t.Loop(), t, false
	p.q.Domain, p.q.Hits, p.q.Descriptors = q.Domain, q.Hits, q.Descriptors
	if !s.local.Limit(&p.q, p.post) {
		if err := s.wait(t, p); err != nil {
			// Who answers still has p: it is not used again.
			p.task = nil
			if errors.Is(err, errLate) {
				q.Err = errLate
				return nil
			}
			return err
		}
	}
	// What is not used again of q is for the next.
	q.Answer, p.q.Answer = p.q.Answer, q.Answer
	p.q.reset()
	p.q.Descriptors, p.task, p.loop = nil, nil, nil
	s.free.Put(p)
	return nil
}

// wait waits for the answer.
func (s *Service) wait(t *engine.Task, p *pending) error {
	if s.timeout > 0 {
		p.timer.Init(t.Loop(), p.late)
		p.timer.Set(int64(s.timeout))
		defer p.timer.Release()
	}
	for !p.answered {
		if err := t.Wait(); err != nil {
			return err
		}
	}
	if t.Pending() == errLate { //nolint:errorlint // This very one.
		t.Clear()
	}
	return nil
}

func (p *pending) posted() { p.loop.Post(p.arrive) }

// arrived is told on the loop that the answer is there.
func (p *pending) arrived() {
	p.answered = true
	if p.task != nil {
		p.task.Wake()
	}
}

// expired ends the wait. What has ended the stream goes first.
func (p *pending) expired() {
	if p.task != nil && p.task.Pending() == nil {
		p.task.Interrupt(errLate)
	}
}
