// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/test/bench/epoll"
	"weir.dev/weir/test/bench/frame"
)

// MessageLen is the length of a gRPC message in bytes, with the five that precede each; StreamLen is how many of them
// answer a call of a streaming method.
const (
	MessageLen = 5 + 100
	StreamLen  = 1000
)

// The methods of the gRPC service. Unary and Stream take one message, which is not looked at; Chat answers each message
// with one as soon as it is there.
const (
	UnaryPath  = "/bench.Echo/Unary"
	StreamPath = "/bench.Echo/Stream"
	ChatPath   = "/bench.Echo/Chat"
)

const (
	// readLen is how much of a connection is read at once, batch how much is written at once, burst how many frames of
	// one stream before those of the next.
	readLen = 64 << 10
	batch   = 64 << 10
	burst   = 16
	// replenish is how much a connection may bring until its window is widened again.
	replenish = 1 << 30
)

// An h2conn is what HTTP/2 adds to a connection.
type h2conn struct {
	buf [readLen]byte
	n   int
	// begun is whether the preface was read.
	begun bool
	dec   *hpack.Decoder
	// path is of the request that is being decoded, block its header block as far as it came.
	path  string
	block []byte
	// ended is whether the request that block belongs to has no body.
	ended bool
	// waiting are the requests whose body is still to end, active those that are being answered.
	waiting map[uint32]string
	active  []*reply
	// window is the connection's, initial that of a new stream.
	window, initial int
	received        int
	// fixed says that the client allows no dynamic table; resized that it was told so, sent that the table has its entry.
	fixed, resized, sent bool
	out                  []byte
}

// A reply is one answer as far as it is sent.
type reply struct {
	stream uint32
	window int
	// chunk is the content of one DATA frame, at how much of it is sent, left how many bytes there are in all.
	chunk    []byte
	at, left int
	grpc     bool
	head     bool
	// open is whether more may follow: a chat whose client has not ended.
	open bool
}

// startH2 hands a connection to HTTP/2 with what was read of it.
func (s *Server) startH2(c *conn) {
	h := &h2conn{
		dec: hpack.NewDecoder(4096, nil), waiting: make(map[uint32]string),
		window: frame.DefaultWindow, initial: frame.DefaultWindow,
	}
	h.dec.SetEmitFunc(func(f hpack.HeaderField) {
		if f.Name == ":path" {
			h.path = f.Value
		}
	})
	h.n = copy(h.buf[:], c.buf[:c.n])
	h.out = frame.AppendSettings(h.out,
		frame.Setting{ID: frame.InitialWindowSize, Value: frame.WideWindow},
		frame.Setting{ID: frame.MaxConcurrentStreams, Value: 1 << 20})
	h.out = frame.AppendWindowUpdate(h.out, 0, frame.WideWindow-frame.DefaultWindow)
	c.n, c.h2 = 0, h
	s.take(c)
}

// readH2 reads once and takes every frame that is complete.
func (s *Server) readH2(c *conn) {
	n, errno := epoll.Read(c.fd, c.h2.buf[c.h2.n:])
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return
	case errno != 0 || n == 0:
		c.close()
		return
	}
	c.h2.n += n
	s.take(c)
}

func (s *Server) take(c *conn) {
	h, pos := c.h2, 0
	if !h.begun {
		if h.n < len(frame.Preface) {
			return
		}
		if string(h.buf[:len(frame.Preface)]) != frame.Preface {
			c.close()
			return
		}
		h.begun, pos = true, len(frame.Preface)
	}
	for {
		f, n, err := frame.Next(h.buf[pos:h.n])
		if err == nil && n > 0 {
			err = s.frame(h, f)
		}
		if err != nil {
			c.close() // A benchmark's peer that breaks the protocol shows as a broken answer.
			return
		}
		if n == 0 {
			break
		}
		pos += n
	}
	h.n = copy(h.buf[:], h.buf[pos:h.n])
	s.pump(c)
}

// frame takes one frame.
func (s *Server) frame(h *h2conn, f frame.Frame) error {
	switch f.Type {
	case frame.Headers:
		content, err := f.Content()
		if err != nil {
			return err
		}
		h.block, h.ended = append(h.block[:0], content...), f.Flags&frame.EndStream != 0
		return s.request(h, f)
	case frame.Continuation:
		h.block = append(h.block, f.Payload...)
		return s.request(h, f)
	case frame.Data:
		if h.received += len(f.Payload); h.received >= replenish {
			h.out, h.received = frame.AppendWindowUpdate(h.out, 0, h.received), 0
		}
		if r := h.chat(f.Stream); r != nil {
			content, err := f.Content()
			r.left, r.open = r.left+len(content), f.Flags&frame.EndStream == 0
			return err
		}
		if f.Flags&frame.EndStream != 0 {
			path := h.waiting[f.Stream]
			delete(h.waiting, f.Stream)
			return s.answer(h, f.Stream, path)
		}
	case frame.Settings:
		if f.Flags&frame.Ack != 0 {
			return nil
		}
		h.out = frame.Append(h.out, frame.Settings, frame.Ack, 0, nil)
		return f.Each(h.set)
	case frame.Ping:
		if f.Flags&frame.Ack == 0 {
			h.out = frame.Append(h.out, frame.Ping, frame.Ack, 0, f.Payload)
		}
	case frame.WindowUpdate:
		by, err := f.Increment()
		if err != nil {
			return err
		}
		h.widen(f.Stream, by)
	case frame.RSTStream:
		delete(h.waiting, f.Stream)
		for i, r := range h.active {
			if r.stream == f.Stream {
				h.active = append(h.active[:i], h.active[i+1:]...)
				break
			}
		}
	}
	return nil
}

// set obeys one setting.
func (h *h2conn) set(id uint16, value uint32) {
	switch id {
	case frame.HeaderTableSize:
		// One entry of 58 bytes is all that is ever kept there.
		h.fixed = value < 58
	case frame.InitialWindowSize:
		for _, r := range h.active {
			r.window += int(value) - h.initial
		}
		h.initial = int(value)
	}
}

func (h *h2conn) widen(stream uint32, by int) {
	if stream == 0 {
		h.window += by
		return
	}
	for _, r := range h.active {
		if r.stream == stream {
			r.window += by
			return
		}
	}
}

// request decodes a header block that is complete.
func (s *Server) request(h *h2conn, f frame.Frame) error {
	if f.Flags&frame.EndHeaders == 0 {
		return nil
	}
	h.path = ""
	if _, err := h.dec.Write(h.block); err != nil {
		return fmt.Errorf("decode a header block: %w", err)
	}
	if err := h.dec.Close(); err != nil {
		return fmt.Errorf("decode a header block: %w", err)
	}
	if !h.ended && h.path == ChatPath {
		h.active = append(h.active, &reply{stream: f.Stream, window: h.initial, grpc: true, chunk: s.message, open: true})
		return nil
	}
	if r := h.chat(f.Stream); r != nil { // Trailers.
		r.open = !h.ended
		return nil
	}
	if !h.ended {
		h.waiting[f.Stream] = h.path
		return nil
	}
	if h.path == "" { // Trailers.
		h.path = h.waiting[f.Stream]
		delete(h.waiting, f.Stream)
	}
	return s.answer(h, f.Stream, h.path)
}

// chat finds the answer of a chat whose client has not ended.
func (h *h2conn) chat(stream uint32) *reply {
	for _, r := range h.active {
		if r.stream == stream && r.open {
			return r
		}
	}
	return nil
}

// answer begins the answer to a request that has ended.
func (s *Server) answer(h *h2conn, stream uint32, path string) error {
	r := &reply{stream: stream, window: h.initial}
	switch path {
	case UnaryPath:
		r.grpc, r.chunk, r.left = true, s.message, MessageLen
	case StreamPath:
		r.grpc, r.chunk, r.left = true, s.message, MessageLen*StreamLen
	default:
		body, ok := s.bodies[path[strings.LastIndexByte(path, '/')+1:]]
		if !ok {
			return fmt.Errorf("no answer for %.40q", path)
		}
		r.chunk, r.left = body[:min(len(body), frame.MaxLen)], len(body)
	}
	h.active = append(h.active, r)
	return nil
}

// pump writes what is there to write and the windows allow, until the kernel takes no more.
func (s *Server) pump(c *conn) {
	h := c.h2
	for c.open && len(c.out) == 0 {
		for more := true; more && len(h.out) < batch; {
			more = false
			kept := h.active[:0]
			for _, r := range h.active {
				n := len(h.out)
				if !h.write(r) {
					kept = append(kept, r)
				}
				more = more || len(h.out) > n
			}
			clear(h.active[len(kept):])
			h.active = kept
		}
		if len(h.out) == 0 {
			return
		}
		// What the kernel leaves is part of out, which is not written to until it is gone.
		out := h.out
		h.out = h.out[:0]
		s.send(c, out)
	}
}

// write appends up to a burst of an answer's frames; done says that nothing of it is left.
func (h *h2conn) write(r *reply) (done bool) {
	if !r.head {
		r.head = true
		h.appendHead(r)
	}
	for range burst {
		if r.left == 0 {
			break
		}
		n := min(len(r.chunk)-r.at, r.left, h.window, r.window)
		if n <= 0 {
			return false
		}
		part := r.chunk[r.at : r.at+n]
		r.at = (r.at + n) % len(r.chunk)
		r.left, h.window, r.window = r.left-n, h.window-n, r.window-n
		flags := uint8(0)
		if r.left == 0 && !r.grpc {
			flags = frame.EndStream
		}
		h.out = frame.Append(h.out, frame.Data, flags, r.stream, part)
	}
	if r.left > 0 || r.open {
		return false
	}
	if r.grpc {
		h.out = frame.Append(h.out, frame.Headers, frame.EndHeaders|frame.EndStream, r.stream, trailers)
	}
	return true
}

// trailers is "grpc-status: 0" as a literal that is not indexed (RFC 7541 §6.2.2).
var trailers = []byte("\x00\x0bgrpc-status\x010")

// appendHead writes an answer's head. The content type of gRPC, which servers send with every answer, is kept in the
// dynamic table where the client allows one; there it is the only entry, and so number 62.
func (h *h2conn) appendHead(r *reply) {
	var block [64]byte
	b := block[:0]
	if h.fixed && !h.resized {
		h.resized = true
		b = append(b, 0x20) // The table's size is 0 from here on (RFC 7541 §6.3).
	}
	b = append(b, 0x88) // :status: 200
	const contentType = "\x10application/grpc"
	switch {
	case !r.grpc:
		length := strconv.Itoa(r.left)
		b = append(b, 0x0f, 0x1f-0x0f, 10)
		b = append(b, "text/plain"...)
		b = append(b, 0x0f, 0x1c-0x0f, byte(len(length)))
		b = append(b, length...)
	case h.fixed:
		b = append(append(b, 0x0f, 0x1f-0x0f), contentType...)
	case !h.sent:
		h.sent = true
		b = append(append(b, 0x5f), contentType...)
	default:
		b = append(b, 0xbe)
	}
	h.out = frame.Append(h.out, frame.Headers, frame.EndHeaders, r.stream, b)
}

// grpcMessage is one message of the service: not compressed, its length, 100 bytes.
func grpcMessage() []byte {
	return append([]byte{0, 0, 0, 0, MessageLen - 5}, bytes.Repeat([]byte("w"), MessageLen-5)...)
}
