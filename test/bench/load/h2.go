// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/test/bench/frame"
)

// message is what a gRPC call sends: one message of 100 bytes, not compressed.
var message = append([]byte{0, 0, 0, 0, 100}, make([]byte, 100)...)

const (
	// slots is how many streams of a connection can be told apart, by the low bits of their number.
	slots = 1 << 10
	// replenish is how much a connection may bring until its window is widened again.
	replenish = 1 << 30
	// lastStream is where a connection is given up for a new one: there are no more than 2^30 streams in it.
	lastStream = 1<<31 - 2*slots
)

// An h2client is a closed loop over HTTP/2: every connection has spec.Streams requests on their way at all times.
type h2client struct {
	loop
	seq sequence
}

// An h2conn is one connection of it.
type h2conn struct {
	wire
	c   *h2client
	buf [64 << 10]byte
	n   int
	out []byte
	// sent is how many requests the connection has carried, next the stream of the next one, active how many are open.
	sent   int
	next   uint32
	active int
	// due are the requests that wait for the window, which is the server's for the connection; received is what came
	// since the client's own was widened.
	due, window, received int
	// initial is the window of a new stream; stalled are chats that wait for a window.
	initial int
	stalled []uint32
	// leaving is set by GOAWAY: no new requests, and a new connection when the last is answered.
	leaving bool
	streams [slots]exchange
	dec     *hpack.Decoder
	// block is a header block as far as it came, of the stream current; last says that its stream ends with it.
	block   []byte
	current *exchange
	last    bool
}

// A exchange is one request of HTTP/2.
type exchange struct {
	id     uint32
	status int
	length int
	// grpc is whether grpc-status 0 was read.
	grpc bool
	// said is how many messages a chat has sent, window how many bytes it may send.
	said, window int
}

// http2 runs the closed loop over HTTP/2.
func http2(spec Spec, hooks Hooks) (Result, error) {
	if spec.Streams < 1 || spec.Streams > slots/2 {
		return Result{}, fmt.Errorf("%d streams on each connection: 1 to %d can be open", spec.Streams, slots/2)
	}
	seq, err := encode(spec)
	if err != nil {
		return Result{}, err
	}
	l, err := newLoop(spec)
	if err != nil {
		return Result{}, err
	}
	c := &h2client{loop: l, seq: seq}
	defer c.close()
	for range spec.Conns {
		if err := c.open(&h2conn{c: c}); err != nil {
			return c.res, err
		}
	}
	return c.closed(hooks)
}

// open connects cn anew, whatever it was before, and sends its first requests.
func (c *h2client) open(cn *h2conn) error {
	w, err := c.connect(netip.Addr{}, "h2")
	if err != nil {
		return err
	}
	*cn = h2conn{wire: w, c: c, next: 1, window: frame.DefaultWindow, initial: frame.DefaultWindow, due: c.spec.Streams, out: cn.out[:0]}
	cn.dec = hpack.NewDecoder(4096, cn.field)
	cn.out = append(cn.out, frame.Preface...)
	cn.out = frame.AppendSettings(cn.out, frame.Setting{ID: frame.EnablePush, Value: 0},
		frame.Setting{ID: frame.InitialWindowSize, Value: frame.WideWindow})
	cn.out = frame.AppendWindowUpdate(cn.out, 0, frame.WideWindow-frame.DefaultWindow)
	if err := c.add(w.fd, cn); err != nil {
		return err
	}
	return cn.flush()
}

// reopen replaces a connection.
func (c *h2client) reopen(cn *h2conn) error {
	c.remove(cn.fd)
	return c.open(cn)
}

// flush starts the requests that are due and writes all there is to write, in one call.
func (cn *h2conn) flush() error {
	for cn.due > 0 && cn.start() {
		cn.due--
	}
	if len(cn.out) == 0 {
		return nil
	}
	n, errno := cn.write(cn.out)
	switch {
	case errno == syscall.EPIPE || errno == syscall.ECONNRESET:
		// The read that follows reports it: the event is pending.
	case errno != 0:
		return fmt.Errorf("send requests: %w", errno)
	case n < len(cn.out):
		return fmt.Errorf("send requests: the kernel took %d of %d bytes", n, len(cn.out))
	}
	cn.out = cn.out[:0]
	return nil
}

// start appends a request if the window has room for it.
func (cn *h2conn) start() bool {
	grpc := cn.c.spec.Messages > 0
	if cn.leaving || (grpc && cn.window < len(message)) {
		return false
	}
	for cn.streams[cn.next/2%slots].id != 0 {
		cn.next += 2 // An older stream is still open there; numbers may be left out.
	}
	s := &cn.streams[cn.next/2%slots]
	*s = exchange{id: cn.next, window: cn.initial}
	at := len(cn.out)
	cn.out = append(cn.out, cn.c.seq.at(cn.sent)...)
	frame.SetStream(cn.out[at:], cn.next)
	if grpc {
		cn.say(s)
	}
	cn.sent++
	cn.active++
	cn.next += 2
	cn.leaving = cn.next > lastStream
	return true
}

// say sends a call's next message, and with the last the end of the stream; where a window is too small, later.
func (cn *h2conn) say(s *exchange) {
	if cn.window < len(message) || s.window < len(message) {
		cn.stalled = append(cn.stalled, s.id)
		return
	}
	cn.window, s.window, s.said = cn.window-len(message), s.window-len(message), s.said+1
	flags := uint8(0)
	if !cn.c.spec.Chat || s.said == cn.c.spec.Messages {
		flags = frame.EndStream
	}
	cn.out = frame.Append(cn.out, frame.Data, flags, s.id, message)
}

// widen gives a window back and has another try at what waited for it.
func (cn *h2conn) widen(stream uint32, by int) {
	if stream == 0 {
		cn.window += by
	} else if s := cn.stream(stream); s != nil {
		s.window += by
	}
	waiting := cn.stalled
	cn.stalled = nil
	for _, id := range waiting {
		if s := cn.stream(id); s != nil {
			cn.say(s)
		}
	}
}

// readable takes every frame that is there and sends what follows from them.
func (cn *h2conn) readable() error {
	cn.event()
	for {
		n, errno := cn.read(cn.buf[cn.n:])
		if errno == syscall.EAGAIN || errno == syscall.EINTR {
			break
		}
		if errno != 0 || n == 0 {
			return cn.broken()
		}
		full := cn.n+n == len(cn.buf)
		cn.n += n
		if err := cn.frames(); err != nil {
			return err
		}
		if cn.secure == nil && !full {
			break
		}
	}
	if cn.leaving && cn.active == 0 {
		cn.c.res.Reconnects++
		return cn.c.reopen(cn)
	}
	return cn.flush()
}

// broken counts the requests that a connection took with it.
func (cn *h2conn) broken() error {
	cn.c.res.Broken += uint64(cn.active)
	if cn.active == 0 {
		cn.c.res.Reconnects++
	}
	if cn.c.res.Wrong() > wrongLimit {
		return nil // turn ends the run; other requests would break as well.
	}
	return cn.c.reopen(cn)
}

func (cn *h2conn) frames() error {
	pos := 0
	for {
		f, n, err := frame.Next(cn.buf[pos:cn.n])
		if err == nil && n > 0 {
			err = cn.frame(f)
		}
		if err != nil {
			return fmt.Errorf("read HTTP/2: %w", err)
		}
		if n == 0 {
			break
		}
		pos += n
	}
	cn.n = copy(cn.buf[:], cn.buf[pos:cn.n])
	return nil
}

func (cn *h2conn) frame(f frame.Frame) error {
	switch f.Type {
	case frame.Data:
		return cn.data(f)
	case frame.Headers:
		content, err := f.Content()
		if err != nil {
			return err
		}
		cn.block, cn.last = append(cn.block[:0], content...), f.Flags&frame.EndStream != 0
		return cn.headers(f)
	case frame.Continuation:
		cn.block = append(cn.block, f.Payload...)
		return cn.headers(f)
	case frame.RSTStream:
		if s := cn.stream(f.Stream); s != nil {
			cn.c.res.Broken++
			cn.end(s)
		}
	case frame.Settings:
		if f.Flags&frame.Ack != 0 {
			return nil
		}
		cn.out = frame.Append(cn.out, frame.Settings, frame.Ack, 0, nil)
		return cn.settings(f)
	case frame.Ping:
		if f.Flags&frame.Ack == 0 {
			cn.out = frame.Append(cn.out, frame.Ping, frame.Ack, 0, f.Payload)
		}
	case frame.GoAway:
		cn.leaving = true
	case frame.WindowUpdate:
		by, err := f.Increment()
		cn.widen(f.Stream, by)
		return err
	}
	return nil
}

// settings checks that the server's settings allow what the client does without asking.
func (cn *h2conn) settings(f frame.Frame) error {
	var err error
	each := f.Each(func(id uint16, value uint32) {
		switch {
		case id == frame.HeaderTableSize && value < 4096:
			err = fmt.Errorf("the server allows a header table of %d bytes: the requests need 4096", value)
		case id == frame.MaxConcurrentStreams && int(value) < cn.c.spec.Streams:
			err = fmt.Errorf("the server allows %d streams: the client opens %d", value, cn.c.spec.Streams)
		case id == frame.InitialWindowSize && int(value) < len(message):
			err = fmt.Errorf("the server allows %d bytes on a stream: a message has %d", value, len(message))
		case id == frame.InitialWindowSize:
			cn.resize(int(value))
		}
	})
	if each != nil {
		return each
	}
	return err
}

// resize changes the window of all streams (RFC 9113 §6.9.2).
func (cn *h2conn) resize(to int) {
	for i := range cn.streams {
		cn.streams[i].window += to - cn.initial
	}
	cn.initial = to
}

// stream finds an open stream.
func (cn *h2conn) stream(id uint32) *exchange {
	if s := &cn.streams[id/2%slots]; s.id == id && id != 0 {
		return s
	}
	return nil
}

func (cn *h2conn) data(f frame.Frame) error {
	if cn.received += len(f.Payload); cn.received >= replenish {
		cn.out, cn.received = frame.AppendWindowUpdate(cn.out, 0, cn.received), 0
	}
	content, err := f.Content()
	s := cn.stream(f.Stream)
	if err != nil || s == nil {
		return err
	}
	s.length += len(content)
	if f.Flags&frame.EndStream != 0 {
		cn.end(s)
		cn.judge(s)
	} else if cn.c.spec.Chat && s.length >= s.said*len(message) && s.said < cn.c.spec.Messages {
		// It takes so long until all are answered that counting them at the end would be too coarse.
		cn.c.res.Answered++
		cn.c.res.Bytes += uint64(len(message))
		cn.say(s)
	}
	return nil
}

func (cn *h2conn) headers(f frame.Frame) error {
	if f.Flags&frame.EndHeaders == 0 {
		return nil
	}
	// A stream that was reset can still have sent a block, which the table needs all the same.
	cn.current = cn.stream(f.Stream)
	if _, err := cn.dec.Write(cn.block); err != nil {
		return fmt.Errorf("decode a header block: %w", err)
	}
	if err := cn.dec.Close(); err != nil {
		return fmt.Errorf("decode a header block: %w", err)
	}
	if s := cn.current; s != nil && cn.last {
		cn.end(s)
		cn.judge(s)
	}
	return nil
}

// field takes one field of an answer or of its trailers.
func (cn *h2conn) field(f hpack.HeaderField) {
	if cn.current == nil {
		return
	}
	switch f.Name {
	case ":status":
		cn.current.status, _ = strconv.Atoi(f.Value) // What is no number is no 200.
	case "grpc-status":
		cn.current.grpc = f.Value == "0"
	}
}

// end frees the slot and lets the next request take its place.
func (cn *h2conn) end(s *exchange) {
	s.id = 0
	cn.active--
	cn.due++
}

// judge counts an answer.
func (cn *h2conn) judge(s *exchange) {
	c := cn.c
	switch {
	case s.status != 200 || (c.spec.Messages > 0 && !s.grpc):
		c.res.BadStatus++
	case s.length != c.spec.Length:
		c.res.BadLength++
	case c.spec.Chat:
		c.res.Answered++
		c.res.Bytes += uint64(len(message))
	default:
		c.res.Answered += uint64(max(c.spec.Messages, 1))
		c.res.Bytes += uint64(s.length)
	}
}
