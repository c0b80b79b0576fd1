// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A wire is a peer of exact frames: the client's end of a connection to a site, or
// the server's end of one that a caller made.
type wire struct {
	tb testing.TB
	net.Conn
	*http2.Framer
	buf  bytes.Buffer
	enc  *hpack.Encoder
	dec  *hpack.Decoder
	head []string // fields being decoded
}

func newWire(tb testing.TB, c net.Conn) *wire {
	tb.Helper()
	w := &wire{tb: tb, Conn: c, Framer: http2.NewFramer(c, c)}
	w.AllowIllegalReads, w.AllowIllegalWrites = true, true
	w.enc = hpack.NewEncoder(&w.buf)
	w.dec = hpack.NewDecoder(4096, func(f hpack.HeaderField) { w.head = append(w.head, f.Name+"="+f.Value) })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return w
}

// bare connects to the site and sends nothing.
func (x *site) bare() *wire {
	x.tb.Helper()
	c, err := net.Dial("tcp", x.addr)
	if err != nil {
		x.tb.Fatal(err)
	}
	return newWire(x.tb, c)
}

// wire connects to the site and greets.
func (x *site) wire(settings ...http2.Setting) *wire {
	x.tb.Helper()
	w := x.bare()
	w.raw(http2.ClientPreface)
	w.must(w.WriteSettings(settings...))
	return w
}

func (w *wire) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

func (w *wire) raw(s string) {
	w.tb.Helper()
	_, err := w.Conn.Write([]byte(s))
	w.must(err)
}

// block encodes fields, "name=value" each.
func (w *wire) block(fields ...string) []byte {
	w.buf.Reset()
	for _, f := range fields {
		i := strings.Index(f[1:], "=") + 1
		// It writes to memory.
		_ = w.enc.WriteField(hpack.HeaderField{Name: f[:i], Value: f[i+1:]})
	}
	return bytes.Clone(w.buf.Bytes())
}

// headers sends a header block.
func (w *wire) headers(id uint32, end bool, fields ...string) {
	w.tb.Helper()
	w.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.block(fields...), EndStream: end, EndHeaders: true}))
}

// get are the fields of a plain request.
func get(more ...string) []string {
	return append([]string{":method=GET", ":scheme=http", ":authority=a.test", ":path=/"}, more...)
}

func post(more ...string) []string {
	return append([]string{":method=POST", ":scheme=http", ":authority=a.test", ":path=/"}, more...)
}

// next describes the next frame, "EOF" for the end of the connection.
func (w *wire) next() string {
	w.tb.Helper()
	f, err := w.ReadFrame()
	if err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			w.tb.Fatal("nothing came")
		}
		return "EOF"
	}
	end := ""
	if f.Header().Flags.Has(http2.FlagDataEndStream) {
		end = " END"
	}
	switch f := f.(type) {
	case *http2.DataFrame:
		return fmt.Sprintf("DATA %d%s %s", f.StreamID, end, f.Data())
	case *http2.HeadersFrame:
		w.head = w.head[:0]
		if _, err := w.dec.Write(f.HeaderBlockFragment()); err != nil {
			w.tb.Fatal(err)
		}
		return fmt.Sprintf("HEADERS %d%s %s", f.StreamID, end, strings.Join(w.head, " "))
	case *http2.RSTStreamFrame:
		return fmt.Sprintf("RST_STREAM %d %s", f.StreamID, f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Sprintf("GOAWAY %d %s %s", f.LastStreamID, f.ErrCode, f.DebugData())
	case *http2.SettingsFrame:
		if f.IsAck() {
			return "SETTINGS ACK"
		}
		s := "SETTINGS"
		for i := range f.NumSettings() {
			v := f.Setting(i)
			s += fmt.Sprintf(" %d=%d", v.ID, v.Val)
		}
		return s
	case *http2.PingFrame:
		if f.IsAck() {
			return fmt.Sprintf("PING ACK %s", f.Data[:])
		}
		return fmt.Sprintf("PING %s", f.Data[:])
	case *http2.WindowUpdateFrame:
		return fmt.Sprintf("WINDOW_UPDATE %d %d", f.StreamID, f.Increment)
	}
	return f.Header().String()
}

// answer returns the next frame that is about a message or the end.
func (w *wire) answer() string {
	w.tb.Helper()
	for {
		s := w.next()
		if !strings.HasPrefix(s, "SETTINGS") && !strings.HasPrefix(s, "WINDOW_UPDATE") {
			return s
		}
	}
}

// wants reads answers that begin as told, one after the other.
func (w *wire) wants(prefixes ...string) {
	w.tb.Helper()
	for _, p := range prefixes {
		if s := w.answer(); !strings.HasPrefix(s, p) {
			w.tb.Fatalf("got %q, want %q", s, p)
		}
	}
}

// alive checks that the connection still serves.
func (w *wire) alive(id uint32) {
	w.tb.Helper()
	w.headers(id, true, get()...)
	for {
		s := w.answer()
		if strings.HasPrefix(s, "GOAWAY") || s == "EOF" {
			w.tb.Fatalf("the connection ended: %s", s)
		}
		if strings.HasPrefix(s, fmt.Sprintf("HEADERS %d ", id)) {
			return
		}
	}
}
