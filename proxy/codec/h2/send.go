// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"errors"
	"io"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// errMore tells that a body has not ended.
var errMore = errors.New("more")

// piece is a piece of a body that was read ahead.
type piece struct {
	p    []byte
	err  error
	have bool
}

// peek reads the first piece if it is there, before anything is sent: so that a
// body that fails at once can be answered for, and one that is empty needs no frame.
func (p *piece) peek(b stream.Body) error {
	if b == nil || p.have || !b.Ready() {
		return nil
	}
	p.p, p.err = b.Next()
	p.have = true
	if p.err != nil && p.err != io.EOF {
		return &codec.SourceError{Err: p.err}
	}
	return nil
}

// empties reports whether the body is known to be empty.
func (p *piece) empties() bool { return p.have && p.err == io.EOF && len(p.p) == 0 }

// sender is how one body is sent.
type sender struct {
	first    piece
	length   int64 // -1 if unknown
	trailer  *header.Map
	progress codec.Progress
}

// sendBody sends a body to its end, or with most >= 0 until it would have to wait
// or has sent that much; then it returns errMore and can be called again.
func (s *exchange) sendBody(b stream.Body, o *sender, most int) error {
	for {
		if !o.first.have {
			if most >= 0 && (!b.Ready() || s.bodySent > uint64(most)) {
				return errMore
			}
			o.first.p, o.first.err = b.Next()
			o.first.have = true // Until all of it is sent, be it by another call.
		}
		p, err := o.first.p, o.first.err
		last := err == io.EOF
		if err != nil && !last {
			return &codec.SourceError{Err: err}
		}
		if o.length >= 0 {
			if n := int64(s.bodySent) + int64(len(p)); n > o.length || last && n < o.length {
				return &codec.SourceError{Err: errBodyLength}
			}
		}
		end := last && (o.trailer == nil || o.trailer.Len() == 0)
		var sendErr error
		if o.first.p, sendErr = s.sendPiece(p, end, o.progress, most < 0); sendErr != nil {
			return sendErr
		}
		o.first = piece{}
		if last {
			if end {
				return nil
			}
			return s.sendTrailer(o.trailer)
		}
	}
}

// sendPiece sends a piece in as many frames as it takes and returns what is left of
// it after an error. Without wait it returns errMore where it would have to wait.
func (s *exchange) sendPiece(p []byte, end bool, progress codec.Progress, wait bool) ([]byte, error) {
	c := s.c
	if len(p) == 0 {
		if !end {
			return nil, nil
		}
		return nil, s.sendEnd()
	}
	for len(p) > 0 {
		if !wait && s.mustWait() {
			return p, errMore
		}
		n, err := s.turn(len(p))
		if err != nil {
			return p, err
		}
		last := end && n == len(p)
		h := c.out.reserve(frame.HeaderLen)
		at := len(h)
		h = frame.AppendDataHeader(h, s.id, uint32(n), last)
		c.out.commit(h)
		s.lastFrame = c.out.mark(h, at)
		c.out.fill(p[:n])
		s.sendWindow -= int64(n)
		c.sendWindow -= int64(n)
		s.bodySent += uint64(n)
		c.guard.dataSent++
		c.kick()
		if last {
			s.endSend()
		}
		c.pass(s)
		if progress != nil {
			progress.Moved(n)
		}
		p = p[n:]
	}
	return nil, nil
}

// sendEnd ends the stream: with its last frame, if that has not left.
func (s *exchange) sendEnd() error {
	if err := s.sendErr(); err != nil {
		return err
	}
	c := s.c
	if !c.out.endStream(s.lastFrame) {
		if _, err := s.turn(0); err != nil {
			return err
		}
		h := c.out.reserve(frame.HeaderLen)
		c.out.commit(frame.AppendDataHeader(h, s.id, 0, true))
		c.guard.dataSent++
		c.kick()
		c.pass(s)
	}
	s.endSend()
	return nil
}

// sendTrailer ends the stream with trailers.
func (s *exchange) sendTrailer(m *header.Map) error {
	if err := checkFields(m); err != nil {
		return &codec.SourceError{Err: err}
	}
	if _, err := s.turn(0); err != nil {
		return err
	}
	s.c.st.Trailers.Inc()
	w := s.c.beginBlock(m)
	w.fields(m, false)
	w.end(s, true)
	s.endSend()
	s.c.pass(s)
	return nil
}
