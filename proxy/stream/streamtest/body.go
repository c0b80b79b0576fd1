// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"io"
	"strings"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
)

// Piece is a part of a body.
type Piece struct {
	Data string
	// After, if set, holds the piece back until it is closed.
	After <-chan struct{}
	// Err, if set, breaks the body off instead.
	Err error
}

// Pieces returns pieces that are there at once.
func Pieces(data ...string) []Piece {
	var p []Piece
	for _, d := range data {
		p = append(p, Piece{Data: d})
	}
	return p
}

// body is a stream.Body of pieces. It hands out one buffer, which it overwrites
// each time: a view that was kept too long is seen.
type body struct {
	loop   *engine.Loop
	pieces []Piece
	buf    []byte
	err    error // what Next returns from now on
	// late ends the body after its last piece and not together with it.
	late    bool
	trailer *header.Map
	fields  []string
}

func newBody(l *engine.Loop, pieces []Piece, late bool, trailer *header.Map, fields []string) *body {
	return &body{loop: l, pieces: pieces, late: late || trailer != nil, trailer: trailer, fields: fields}
}

// Next returns the next piece.
func (b *body) Next() ([]byte, error) {
	for i := range b.buf {
		b.buf[i] = 0xdb
	}
	if b.err != nil {
		return nil, b.err
	}
	if len(b.pieces) == 0 {
		return nil, b.end()
	}
	p := b.pieces[0]
	if p.After != nil {
		if err := await(b.loop, p.After); err != nil {
			return nil, err
		}
	}
	b.pieces = b.pieces[1:]
	if p.Err != nil {
		b.err = p.Err
		return nil, b.err
	}
	b.buf = append(b.buf[:0], p.Data...)
	if len(b.pieces) == 0 && !b.late {
		return b.buf, b.end()
	}
	return b.buf, nil
}

func (b *body) end() error {
	b.err = io.EOF
	for _, line := range b.fields {
		f := split(line)
		b.trailer.Add(f.name, f.value)
	}
	return io.EOF
}

// Ready reports whether Next would return at once.
func (b *body) Ready() bool {
	if b.err != nil || len(b.pieces) == 0 || b.pieces[0].After == nil {
		return true
	}
	select {
	case <-b.pieces[0].After:
		return true
	default:
		return false
	}
}

// await waits on the running task until ch is closed.
func await(l *engine.Loop, ch <-chan struct{}) error {
	if ch == nil {
		return nil
	}
	t, done := l.Task(), false
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-ch:
		case <-stop:
			return
		}
		l.Post(func() {
			done = true
			t.Wake()
		})
	}()
	for !done {
		if err := t.Wait(); err != nil {
			return err
		}
	}
	return nil
}

type field struct {
	name  header.Name
	value string
}

func split(line string) field {
	i := strings.IndexByte(line[1:], ':') + 1 // A pseudo-header field begins with one.
	return field{header.NewName(line[:i]), strings.TrimSpace(line[i+1:])}
}

func length(pieces []Piece) (n int64) {
	for _, p := range pieces {
		n += int64(len(p.Data))
	}
	return n
}
