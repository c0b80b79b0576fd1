// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"encoding/binary"
	"io"
	"math"
	"net"
	"runtime"
	"testing"

	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/proxytest"
)

// plain is a header block of indexed names and values that stay out of the table:
// the same bytes are good for every stream.
func plain(indexed []byte, fields ...[2]string) []byte {
	b := append([]byte(nil), indexed...)
	for _, f := range fields {
		b = append(b, 0, byte(len(f[0])))
		b = append(b, f[0]...)
		b = append(b, byte(len(f[1])))
		b = append(b, f[1]...)
	}
	return b
}

// frameOf returns one frame.
func frameOf(typ frame.Type, flags frame.Flags, id uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), byte(typ), byte(flags), 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[5:], id)
	return append(b, payload...)
}

// opening is what either side says first: windows that are never used up.
func opening() []byte {
	window := []byte{0, 4, 0x3f, 0xff, 0xff, 0xff}
	update := []byte{0x3f, 0xff, 0, 0}
	return append(frameOf(frame.Settings, 0, 0, window), frameOf(frame.WindowUpdate, 0, 0, update)...)
}

// peer2 is one end of an HTTP/2 connection that allocates nothing.
type peer2 struct {
	c    net.Conn
	buf  [64 << 10]byte
	r, w int
}

var ack = frameOf(frame.Settings, frame.Ack, 0, nil)

// next returns the next frame.
func (p *peer2) next() (frame.Header, error) {
	for {
		if h, ok := frame.Parse(p.buf[p.r:p.w]); ok && p.w-p.r >= frame.HeaderLen+int(h.Length) {
			p.r += frame.HeaderLen + int(h.Length)
			if h.Type == frame.Settings && !h.Flags.Has(frame.Ack) {
				if _, err := p.c.Write(ack); err != nil {
					return h, err
				}
			}
			return h, nil
		}
		p.w = copy(p.buf[:], p.buf[p.r:p.w])
		p.r = 0
		n, err := p.c.Read(p.buf[p.w:])
		if p.w += n; err != nil {
			return frame.Header{}, err
		}
	}
}

// server2 answers every request of HTTP/2 with the same frames.
func server2(t *testing.T, answer []byte) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	conns := make(chan net.Conn, 64)
	go func() {
		defer close(done)
		defer close(conns)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns <- c
			go serve2(c, answer)
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
		for c := range conns {
			_ = c.Close()
		}
	})
	return ln.Addr().String()
}

func serve2(c net.Conn, answer []byte) {
	defer func() { _ = c.Close() }()
	if _, err := c.Write(opening()); err != nil {
		return
	}
	var preface [len(frame.Preface)]byte
	if _, err := io.ReadFull(c, preface[:]); err != nil {
		return
	}
	p := &peer2{c: c}
	out := make([]byte, 0, 64<<10)
	for {
		h, err := p.next()
		if err != nil {
			return
		}
		if (h.Type == frame.Headers || h.Type == frame.Data) && h.Flags.Has(frame.EndStream) {
			at := len(out)
			out = append(out, answer...)
			number(out[at:], h.StreamID)
		}
		if p.r == p.w && len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
	}
}

// number gives every frame in b the number of a stream.
func number(b []byte, id uint32) {
	for len(b) > 0 {
		h, _ := frame.Parse(b)
		binary.BigEndian.PutUint32(b[5:], id)
		b = b[frame.HeaderLen+int(h.Length):]
	}
}

// client2 sends streams requests at a time and takes the answers.
type client2 struct {
	peer2
	request []byte
	streams int
	last    uint32
	out     []byte
}

func newClient2(t *testing.T, c net.Conn, request []byte, streams int) *client2 {
	t.Helper()
	if _, err := c.Write(append([]byte(frame.Preface), opening()...)); err != nil {
		t.Fatal(err)
	}
	return &client2{peer2: peer2{c: c}, request: request, streams: streams, last: ^uint32(0)}
}

func (u *client2) once() error {
	u.out = u.out[:0]
	for range u.streams {
		u.last += 2
		at := len(u.out)
		u.out = append(u.out, u.request...)
		number(u.out[at:], u.last)
	}
	if _, err := u.c.Write(u.out); err != nil {
		return err
	}
	for open := u.streams; open > 0; {
		h, err := u.next()
		if err != nil {
			return err
		}
		if h.Type == frame.RSTStream || h.Type == frame.GoAway {
			return io.ErrUnexpectedEOF
		}
		if (h.Type == frame.Headers || h.Type == frame.Data) && h.Flags.Has(frame.EndStream) {
			open--
		}
	}
	return nil
}

// upstream2 is a cluster of HTTP/2.
const upstream2 = `
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {}}
`

// TestMultiplexedAllocations: a stream costs no allocation either, whatever is
// spoken on the two sides.
func TestMultiplexedAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	text := make([]byte, 100)
	var (
		fields  = [][2]string{{":authority", "a.test"}, {":path", "/a?b"}, {"user-agent", "x"}, {"cookie", "a=b"}, {"cookie", "c=d"}}
		get2    = frameOf(frame.Headers, frame.EndHeaders|frame.EndStream, 1, plain([]byte{0x82, 0x86}, fields...))
		post    = frameOf(frame.Headers, frame.EndHeaders, 1, plain([]byte{0x83, 0x86}, append(fields, [2]string{"te", "trailers"}, [2]string{"content-type", "application/grpc"})...))
		post2   = append(post, frameOf(frame.Data, frame.EndStream, 1, make([]byte, 1000))...)
		head    = frameOf(frame.Headers, frame.EndHeaders, 1, plain([]byte{0x88}, [2]string{"content-type", "text/plain"}, [2]string{"server", "x"}))
		answer  = append(append([]byte(nil), head...), frameOf(frame.Data, frame.EndStream, 1, text)...)
		chunk   = frameOf(frame.Data, 0, 1, text)
		trailer = frameOf(frame.Headers, frame.EndHeaders|frame.EndStream, 1, plain(nil, [2]string{"grpc-status", "0"}))
		call    = append(append(append([]byte(nil), head...), chunk...), trailer...)
		large   = append([]byte(nil), head...)
	)
	for i := range 4 {
		f := frame.Flags(0)
		if i == 3 {
			f = frame.EndStream
		}
		large = append(large, frameOf(frame.Data, f, 1, make([]byte, 4000))...)
	}
	for _, tt := range []struct {
		name    string
		request []byte // nil is one of HTTP/1
		streams int
		answer  []byte // nil is one of HTTP/1
	}{
		{"2 to 1", get2, 1, nil},
		{"2 to 1, 32 streams", get2, 32, nil},
		{"1 to 2", nil, 1, answer},
		{"2 to 2", get2, 1, answer},
		{"2 to 2, 32 streams", get2, 32, answer},
		{"2 to 2, 16 KiB down", get2, 8, large},
		{"2 to 2, call", post2, 1, call},
		{"2 to 2, 32 calls", post2, 32, call},
	} {
		t.Run(tt.name, func(t *testing.T) {
			edge := proxytest.Edge{AccessLog: "%REQ(:PATH)% %RESPONSE_CODE%"}
			var up string
			if tt.answer == nil {
				up = server(t, []byte(proxytest.OK(string(text))))
			} else {
				edge.Cluster, up = upstream2, server2(t, tt.answer)
			}
			p := proxytest.Start(t, edge.YAML(), proxytest.Options{Extensions: extensions(), Backends: map[string]string{"up": up}})
			c := p.Dial().Conn()
			once := once1(c)
			if tt.request != nil {
				once = newClient2(t, c, tt.request, tt.streams).once
			}
			per := allocations(t, once, 4000/max(tt.streams, 1), 0.02*float64(max(tt.streams, 1))) / float64(max(tt.streams, 1))
			if per > 0.02 {
				t.Errorf("%.2f allocations per request", per)
			}
		})
	}
}

// once1 makes one exchange of HTTP/1 after the other.
func once1(c net.Conn) func() error {
	request, buf := []byte(get("/a?b", "user-agent: x", "cookie: a=b")), make([]byte, 64<<10)
	return func() error {
		if _, err := c.Write(request); err != nil {
			return err
		}
		for size := 0; ; {
			n, err := c.Read(buf[size:])
			if err != nil {
				return err
			}
			if size += n; complete(buf[:size], 100) || chunked(buf[:size]) {
				return nil
			}
		}
	}
}

func chunked(b []byte) bool { return len(b) > 7 && string(b[len(b)-7:]) == "\r\n0\r\n\r\n" }

// allocations returns how many allocations one call of f makes, in steady state. What else the process does in the
// meantime, the more the longer a busy machine takes, can only add to it: the least of three rounds counts, or the first
// that is not above enough.
func allocations(t *testing.T, f func() error, n int, enough float64) float64 {
	t.Helper()
	run := func(n int) {
		for range n {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(n / 2)
	least := math.Inf(1)
	for range 3 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		run(n)
		runtime.ReadMemStats(&after)
		per := float64(after.Mallocs-before.Mallocs) / float64(n)
		t.Logf("%.4f allocations and %.1f bytes", per, float64(after.TotalAlloc-before.TotalAlloc)/float64(n))
		if least = min(least, per); least <= enough {
			break
		}
	}
	return least
}
