// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/proxy/proxytest"
)

// host2 is a host that a test serves frame by frame.
type host2 struct {
	t  *testing.T
	ln net.Listener
}

func newHost2(t *testing.T) *host2 {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return &host2{t, ln}
}

func (h *host2) backends() map[string]string { return map[string]string{"up": h.ln.Addr().String()} }

// accept takes a connection and nothing of it.
func (h *host2) accept() net.Conn {
	h.t.Helper()
	if err := h.ln.(*net.TCPListener).SetDeadline(time.Now().Add(proxytest.Patience)); err != nil {
		h.t.Fatal(err)
	}
	c, err := h.ln.Accept()
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// serve takes a connection and greets.
func (h *host2) serve(settings ...http2.Setting) *peer2 {
	h.t.Helper()
	return h.greet(h.accept(), settings...)
}

// secure takes a connection, shakes hands and greets.
func (h *host2) secure(cfg *tls.Config, settings ...http2.Setting) *peer2 {
	h.t.Helper()
	return h.greet(tls.Server(h.accept(), cfg), settings...)
}

func (h *host2) greet(c net.Conn, settings ...http2.Setting) *peer2 {
	h.t.Helper()
	if err := c.SetDeadline(time.Now().Add(proxytest.Patience)); err != nil {
		h.t.Fatal(err)
	}
	b := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != http2.ClientPreface {
		h.t.Fatalf("preface %q, %v", b, err)
	}
	p := &peer2{t: h.t, c: c, Framer: http2.NewFramer(c, c)}
	p.dec = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":path" {
			p.path = f.Value
		}
	})
	p.must(p.WriteSettings(settings...))
	return p
}

// peer2 is the host's end of a connection.
type peer2 struct {
	t *testing.T
	c net.Conn
	*http2.Framer
	dec  *hpack.Decoder
	path string
}

func (p *peer2) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// next describes the next frame that is of streams or the connection's end.
func (p *peer2) next() string {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return "EOF"
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			if _, err := p.dec.Write(f.HeaderBlockFragment()); err != nil {
				p.t.Fatal(err)
			}
			return fmt.Sprintf("HEADERS %d %s", f.StreamID, p.path)
		case *http2.DataFrame:
			return fmt.Sprintf("DATA %d %s", f.StreamID, f.Data())
		case *http2.RSTStreamFrame:
			return fmt.Sprintf("RST %d %s", f.StreamID, f.ErrCode)
		case *http2.GoAwayFrame:
			return "GOAWAY " + f.ErrCode.String()
		case *http2.SettingsFrame:
			if !f.IsAck() {
				p.must(p.WriteSettingsAck())
			}
		case *http2.PingFrame:
			p.must(p.WritePing(true, f.Data))
		}
	}
}

// wants fails the test unless these frames come.
func (p *peer2) wants(frames ...string) {
	p.t.Helper()
	for _, want := range frames {
		if got := p.next(); got != want {
			p.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// head sends a response's head.
func (p *peer2) head(id uint32, status string, end bool) {
	p.t.Helper()
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	p.must(e.WriteField(hpack.HeaderField{Name: ":status", Value: status}))
	p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end}))
}

// answer sends a response with the body "ok".
func (p *peer2) answer(ids ...uint32) {
	p.t.Helper()
	for _, id := range ids {
		p.head(id, "200", false)
		p.must(p.WriteData(id, true, []byte("ok")))
	}
}

// speaks2 has the cluster speak HTTP/2, with options.
func speaks2(options, more string) string {
	return `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {` + options + `}}
` + more
}

// asks sends a GET of each path, each on a connection of its own.
func asks(p *proxytest.Proxy, paths ...string) []*proxytest.Client {
	var out []*proxytest.Client
	for _, path := range paths {
		c := p.Dial()
		c.Send("GET " + path + " HTTP/1.1\r\nhost: a.test\r\n\r\n")
		out = append(out, c)
	}
	return out
}

// oks fails the test unless each client gets "ok".
func oks(t *testing.T, clients ...*proxytest.Client) {
	t.Helper()
	for i, c := range clients {
		if res := c.Response("GET"); res.Content != "ok" {
			t.Errorf("client %d: %v", i, res)
		}
	}
}
