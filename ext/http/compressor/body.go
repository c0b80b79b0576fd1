// SPDX-License-Identifier: Apache-2.0

package compressor

import (
	"io"
	"sync"

	"weir.dev/weir/proxy/stream"
)

// An encoder compresses what is written to it.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(to io.Writer)
}

// A library makes encoders, and keeps those that are not in use.
type library struct {
	encoding string
	make     func() (encoder, error)
	pool     sync.Pool
}

func (l *library) get(to io.Writer) (encoder, error) {
	e, ok := l.pool.Get().(encoder)
	if !ok {
		var err error
		if e, err = l.make(); err != nil {
			return nil, err
		}
	}
	e.Reset(to)
	return e, nil
}

func (l *library) put(e encoder) {
	e.Reset(io.Discard)
	l.pool.Put(e)
}

// append appends a whole body, compressed.
func (l *library) append(dst, body []byte, c *Stats) []byte {
	b := buffer(dst)
	e, err := l.get(&b)
	if err == nil {
		_, err = e.Write(body)
	}
	if err == nil {
		err = e.Close()
	}
	if err != nil {
		panic("BUG: writing to memory fails: " + err.Error())
	}
	l.put(e)
	c.UncompressedBytes.Add(uint64(len(body)))
	c.CompressedBytes.Add(uint64(len(b) - len(dst)))
	return b
}

type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// compressing is a body, compressed while it is read.
type compressing struct {
	inner   stream.Body
	library *library
	encoder encoder
	out     buffer
	stats   *Stats
	err     error
}

func (b *compressing) begin(inner stream.Body, l *library, c *Stats) {
	b.inner, b.library, b.stats, b.err = inner, l, c, nil
}

// Next returns the next compressed bytes. What has come is sent on when no more is there
// yet, so that a response which waits in the middle is seen as far as it has come.
func (b *compressing) Next() ([]byte, error) {
	b.out = b.out[:0]
	if b.encoder == nil && b.err == nil {
		b.encoder, b.err = b.library.get(&b.out)
	}
	for b.err == nil && len(b.out) == 0 {
		p, err := b.inner.Next()
		if err != nil && err != io.EOF {
			b.err = err
			break
		}
		b.stats.UncompressedBytes.Add(uint64(len(p)))
		if _, b.err = b.encoder.Write(p); b.err != nil {
			break
		}
		switch {
		case err == io.EOF:
			if b.err = b.encoder.Close(); b.err == nil {
				b.err = io.EOF
			}
		case len(p) > 0 && !b.inner.Ready():
			b.err = b.encoder.Flush()
		}
	}
	if b.err != nil && b.err != io.EOF {
		return nil, b.err
	}
	b.stats.CompressedBytes.Add(uint64(len(b.out)))
	if b.err == io.EOF {
		b.end()
	}
	return b.out, b.err
}

// Ready reports whether Next would return without waiting.
func (b *compressing) Ready() bool { return b.err != nil || b.inner.Ready() }

// end gives the encoder back.
func (b *compressing) end() {
	if b.encoder != nil {
		b.library.put(b.encoder)
		b.encoder = nil
	}
}
