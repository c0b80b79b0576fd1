// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/proxy/proxytest"
)

// Frame types and flags (RFC 9113 §6), and error codes (§7).
const (
	tData = iota
	tHeaders
	tPriority
	tReset
	tSettings
	tPush
	tPing
	tGoAway
	tWindow
	tContinuation

	endStream  = 0x1
	ack        = 0x1
	endHeaders = 0x4
	padded     = 0x8
	priority   = 0x20

	noError         = 0x0
	protocolError   = 0x1
	internalError   = 0x2
	flowError       = 0x3
	streamClosed    = 0x5
	refusedStream   = 0x7
	cancel          = 0x8
	compression     = 0x9
	enhanceYourCalm = 0xb
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frame is a frame's bytes. The kit writes frames with no code of the product's.
func frame(typ, flags byte, stream uint32, payload string) string {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), typ, flags}
	return string(binary.BigEndian.AppendUint32(b, stream)) + payload
}

func u32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

func setting(id uint16, v uint32) string {
	return string(binary.BigEndian.AppendUint16(nil, id)) + u32(v)
}

func rst(stream, code uint32) string { return frame(tReset, 0, stream, u32(code)) }

func window(stream, n uint32) string { return frame(tWindow, 0, stream, u32(n)) }

func headers(stream uint32, end bool, block string) string {
	flags := byte(endHeaders)
	if end {
		flags |= endStream
	}
	return frame(tHeaders, flags, stream, block)
}

// integer is an HPACK integer behind the bits of first (RFC 7541 §5.1).
func integer(first byte, prefix uint, n int) string {
	most := 1<<prefix - 1
	if n < most {
		return string([]byte{first | byte(n)})
	}
	b := []byte{first | byte(most)}
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return string(append(b, byte(n)))
}

// block is a header block of literals that touch no table: names and values in turn.
func block(fields ...string) string {
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		b.WriteString("\x00" + integer(0, 7, len(fields[i])) + fields[i] + integer(0, 7, len(fields[i+1])) + fields[i+1])
	}
	return b.String()
}

// request is the block of a request with more fields.
func request(method, path string, more ...string) string {
	return block(append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", "a.test"}, more...)...)
}

// A reply is what came back on a stream.
type reply struct {
	status string
	header map[string]string
	body   int
	bytes  []byte
	ended  bool
	reset  bool
	code   uint32
	infos  int // interim responses
}

func (r *reply) over() bool { return r.ended || r.reset }

// A wire is a client that sends what it is told and notes what comes back.
type wire struct {
	t    testing.TB
	conn net.Conn

	mu       sync.Mutex
	cond     *sync.Cond
	streams  map[uint32]*reply
	goAway   bool
	lastID   uint32
	code     uint32
	debug    string
	settings map[uint16]uint32
	windows  int // WINDOW_UPDATE frames
	pongs    int
	closed   bool
	err      error
	sent     int
}

// dialWire connects to the proxy and says what a client says first. It answers
// nothing unless told to.
func dialWire(t testing.TB, p *proxytest.Proxy, settings ...string) *wire {
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.Addr(), proxytest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, conn)
	w.send(preface, frame(tSettings, 0, 0, strings.Join(settings, "")))
	return w
}

// newWire is a client on a connection, that has said nothing yet.
func newWire(t testing.TB, conn net.Conn) *wire {
	w := &wire{t: t, conn: conn, streams: map[uint32]*reply{}, settings: map[uint16]uint32{}}
	w.cond = sync.NewCond(&w.mu)
	done := make(chan struct{})
	go func() { defer close(done); w.read() }()
	t.Cleanup(func() { _ = conn.Close(); <-done }) // Closed before, perhaps.
	return w
}

// send writes bytes; the peer may have closed.
func (w *wire) send(parts ...string) error {
	s := strings.Join(parts, "")
	_ = w.conn.SetWriteDeadline(time.Now().Add(proxytest.Patience)) // If it is closed the write tells.
	n, err := io.WriteString(w.conn, s)
	w.sent += n
	return err
}

func (w *wire) read() {
	r := bufio.NewReaderSize(w.conn, 64<<10)
	dec := hpack.NewDecoder(1<<16, nil)
	var err error
	for err == nil {
		err = w.next(r, dec)
	}
	w.mu.Lock()
	w.closed, w.err = true, err
	w.cond.Broadcast()
	w.mu.Unlock()
}

func (w *wire) next(r *bufio.Reader, dec *hpack.Decoder) error {
	var h [9]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return err
	}
	p := make([]byte, int(h[0])<<16|int(h[1])<<8|int(h[2]))
	if _, err := io.ReadFull(r, p); err != nil {
		return err
	}
	id := binary.BigEndian.Uint32(h[5:])
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.cond.Broadcast()
	switch h[3] {
	case tHeaders:
		fields, err := dec.DecodeFull(p)
		if err != nil {
			return err
		}
		w.head(w.stream(id), fields, h[4]&endStream != 0)
	case tData:
		s := w.stream(id)
		s.body += len(p)
		if len(s.bytes) < 1<<16 {
			s.bytes = append(s.bytes, p...)
		}
		s.ended = s.ended || h[4]&endStream != 0
	case tReset:
		s := w.stream(id)
		s.reset, s.code = true, binary.BigEndian.Uint32(p)
	case tGoAway:
		w.goAway, w.lastID = true, binary.BigEndian.Uint32(p)
		w.code, w.debug = binary.BigEndian.Uint32(p[4:]), string(p[8:])
	case tSettings:
		for ; len(p) >= 6; p = p[6:] {
			w.settings[binary.BigEndian.Uint16(p)] = binary.BigEndian.Uint32(p[2:])
		}
	case tWindow:
		w.windows++
	case tPing:
		w.pongs++
	case tContinuation:
		return errors.New("a response's head in several frames is not what the kit reads")
	}
	return nil
}

func (w *wire) head(s *reply, fields []hpack.HeaderField, end bool) {
	if s.header == nil {
		s.header = map[string]string{}
	}
	for _, f := range fields {
		if f.Name == ":status" {
			if s.status = f.Value; f.Value[0] == '1' {
				s.infos++
			}
		}
		s.header[f.Name] = f.Value
	}
	s.ended = s.ended || end
}

func (w *wire) stream(id uint32) *reply {
	s := w.streams[id]
	if s == nil {
		s = &reply{}
		w.streams[id] = s
	}
	return s
}

// wait waits until ok, which is called with the lock held.
func (w *wire) wait(what string, ok func() bool) {
	w.t.Helper()
	if !w.waits(ok, proxytest.Patience) {
		w.t.Fatalf("%s does not come to pass: closed %v (%v), goaway %v %d %q, %d streams", what, w.closed, w.err, w.goAway, w.code, w.debug, len(w.streams))
	}
}

func (w *wire) waits(ok func() bool, most time.Duration) bool {
	late := false
	timer := time.AfterFunc(most, func() {
		w.mu.Lock()
		late = true
		w.cond.Broadcast()
		w.mu.Unlock()
	})
	defer timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for !ok() {
		if late || w.closed {
			return ok()
		}
		w.cond.Wait()
	}
	return true
}

// reply waits for the end of a stream.
func (w *wire) reply(id uint32) reply {
	w.t.Helper()
	w.wait("the end of a stream", func() bool { return w.stream(id).over() || w.closed })
	w.mu.Lock()
	defer w.mu.Unlock()
	return *w.streams[id]
}

// over waits for the end of the connection and returns the code of its GOAWAY; ok is
// false if there was none.
func (w *wire) over() (code uint32, ok bool) {
	w.t.Helper()
	w.wait("the end of the connection", func() bool { return w.closed })
	return w.code, w.goAway
}

// alive fails the test unless the connection still serves requests. The stream is to
// be above all that were used.
func (w *wire) alive(id uint32, path string) {
	w.t.Helper()
	if err := w.send(headers(id, true, request("GET", path))); err != nil {
		w.t.Fatalf("the connection is gone: %v", err)
	}
	if r := w.reply(id); r.status != "200" {
		w.t.Fatalf("the connection answers %q, reset %v %d; goaway %v %d %q", r.status, r.reset, r.code, w.goAway, w.code, w.debug)
	}
}
