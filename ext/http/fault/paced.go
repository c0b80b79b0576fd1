// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"time"

	"weir.dev/weir/proxy/stream"
)

// fill is how often a body that has used up its share may go on: Envoy's
// interval.
const fill = 50 * time.Millisecond

// paced is a body that comes at a limited rate: a bucket of one second's bytes,
// which begins with those of one interval.
type paced struct {
	body   stream.Body
	s      *stream.Stream
	rate   float64 // bytes a second
	tokens float64
	at     int64 // when tokens was right
	rest   []byte
	err    error // what comes behind rest
}

// maxRate keeps a rate that a client asks for within sane numbers: 1 TiB/s.
const maxRate = 1 << 30

func (p *paced) start(s *stream.Stream, kbps uint64) {
	rate := float64(min(kbps, maxRate)) * 1024
	*p = paced{body: s.Response.Body, s: s, rate: rate, tokens: rate * fill.Seconds(), at: s.Task().Loop().Now()}
}

// Next returns as much as may be sent now, waiting if that is nothing.
func (p *paced) Next() ([]byte, error) {
	for len(p.rest) == 0 {
		if p.err != nil {
			return nil, p.err
		}
		p.rest, p.err = p.body.Next()
	}
	p.refill()
	for p.tokens < 1 {
		if err := p.s.Running().Sleep(fill); err != nil {
			return nil, err
		}
		p.refill()
	}
	n := len(p.rest)
	if float64(n) > p.tokens {
		n = int(p.tokens)
	}
	p.tokens -= float64(n)
	b := p.rest[:n]
	if p.rest = p.rest[n:]; len(p.rest) == 0 {
		return b, p.err
	}
	return b, nil
}

// Ready reports whether Next would return without waiting.
func (p *paced) Ready() bool {
	if len(p.rest) == 0 {
		return p.err != nil || p.tokens >= 1 && p.body.Ready()
	}
	p.refill()
	return p.tokens >= 1
}

func (p *paced) refill() {
	now := p.s.Task().Loop().Now()
	p.tokens = min(p.tokens+p.rate*time.Duration(now-p.at).Seconds(), p.rate)
	p.at = now
}
