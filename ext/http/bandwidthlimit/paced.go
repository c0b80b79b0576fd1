// SPDX-License-Identifier: Apache-2.0

package bandwidthlimit

import (
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stream"
)

// paced is a body that takes a token for each byte that it lets pass. What it holds back
// is the piece that it has read; it reads no other before that is gone, so that its peer
// is slowed down as well.
type paced struct {
	body  stream.Body
	s     *stream.Stream
	limit *Limit
	count *direction
	// ended, if not nil, is called when the last byte has passed.
	ended func()

	rest  []byte
	err   error // what comes behind rest
	begun bool
	over  bool
	since int64
	// took is from the first byte to the last, waited what the limit has of it.
	took, waited time.Duration
}

// Next returns as much as may pass now, waiting if that is nothing.
func (p *paced) Next() ([]byte, error) {
	for len(p.rest) == 0 {
		if p.err != nil {
			p.end()
			return nil, p.err
		}
		p.read()
	}
	n := p.take()
	for n == 0 {
		before := engine.Nano()
		if p.waited == 0 {
			p.count.enforced.Inc()
		}
		if err := p.s.Running().Sleep(p.limit.fill); err != nil {
			return nil, err
		}
		p.waited += time.Duration(engine.Nano() - before)
		n = p.take()
	}
	b := p.rest[:n]
	p.count.allowed.Set(int64(n))
	p.count.allowedTotal.Add(uint64(n))
	if p.rest = p.rest[n:]; len(p.rest) > 0 || p.err == nil {
		return b, nil
	}
	p.end()
	return b, p.err
}

func (p *paced) read() {
	p.rest, p.err = p.body.Next()
	if !p.begun && len(p.rest) > 0 {
		p.begun, p.since = true, engine.Nano()
		p.count.pending.Inc()
	}
	p.count.incoming.Set(int64(len(p.rest)))
	p.count.incomingTotal.Add(uint64(len(p.rest)))
}

// take returns how many bytes may pass, and takes them from what all streams share.
func (p *paced) take() int {
	for {
		now := engine.Nano()
		n := min(len(p.rest), int(p.limit.bucket.Tokens(now)))
		if n == 0 || p.limit.bucket.TakeN(now, float64(n)) {
			return n
		}
	}
}

// Ready reports whether Next would return without waiting.
func (p *paced) Ready() bool {
	if len(p.rest) == 0 && (p.err != nil || !p.body.Ready()) {
		return p.err != nil
	}
	return p.limit.bucket.Tokens(engine.Nano()) >= 1
}

// end settles the statistics, once.
func (p *paced) end() {
	if p.over || p.limit == nil {
		return
	}
	p.over = true
	if p.begun {
		p.took = time.Duration(engine.Nano() - p.since)
		p.count.pending.Dec()
		p.count.duration.Record(uint64(p.took.Milliseconds()))
	}
	if p.ended != nil {
		p.ended()
	}
}
