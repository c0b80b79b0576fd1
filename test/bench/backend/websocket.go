// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
)

// acceptGUID is what RFC 6455 §1.3 has the server hash behind the client's key.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// upgrade answers a request for WebSocket: 101, or 400 where it has no key. Ok says that frames follow.
func (s *Server) upgrade(head []byte) (out []byte, ok bool) {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found || !bytes.EqualFold(name, []byte("sec-websocket-key")) {
			continue
		}
		sum := sha1.Sum(append(bytes.Clone(bytes.TrimSpace(value)), acceptGUID...))
		return []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
			base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"), true
	}
	return s.plain.badRequest, false
}

// echo sends every whole message in the buffer back, all in one write, and a close frame as the last.
func (s *Server) echo(c *conn) {
	pos, out := 0, s.scratch[:0]
	for !c.last {
		frame, n := unmask(c.buf[pos:c.n])
		if n == 0 {
			break
		}
		pos += n
		out = append(out, frame...)
		c.last = frame[0]&0xf == 8
	}
	s.scratch = out
	c.n = copy(c.buf[:], c.buf[pos:c.n])
	if c.n == headLimit {
		c.close()
		return
	}
	if len(out) > 0 && s.send(c, out) && len(c.out) > 0 {
		c.out = bytes.Clone(c.out) // The next connection writes into scratch.
	}
}

// unmask turns the client's frame at the start of b into the server's, in place, and says how long it was; 0 if b does
// not hold all of it. Frames longer than a buffer never fit, so lengths of 64 bits need no answer.
func unmask(b []byte) (frame []byte, n int) {
	if len(b) < 6 {
		return nil, 0
	}
	head, length := 2, int(b[1]&0x7f)
	switch {
	case length == 126 && len(b) >= 8:
		head, length = 4, int(binary.BigEndian.Uint16(b[2:]))
	case length >= 126:
		return nil, 0
	}
	masked := b[1]&0x80 != 0
	skip := 0
	if masked {
		skip = 4
	}
	n = head + skip + length
	if len(b) < n {
		return nil, 0
	}
	if masked {
		key := [4]byte(b[head : head+4])
		body := b[head+4 : n]
		for i := range body {
			body[i] ^= key[i&3]
		}
		// The head moves up to the payload, over the key.
		copy(b[4:4+head], b[:head])
		b[5] &= 0x7f
	}
	return b[skip:n], n
}
