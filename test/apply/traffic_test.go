// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"weir.dev/weir/proxy/proxytest"
)

// A traffic is clients of every protocol that never rest, and what they got.
type traffic struct {
	t       *testing.T
	stop    chan struct{}
	clients sync.WaitGroup

	served map[string]*atomic.Int64
}

// newTraffic returns a load that has not begun.
func newTraffic(t *testing.T) *traffic {
	return &traffic{t: t, stop: make(chan struct{}), served: map[string]*atomic.Int64{}}
}

// run has a client repeat an exchange until the load ends. The client is made anew
// only when the exchange says so: nothing is tried twice.
func (l *traffic) run(name string, exchange func() error, done func()) {
	n := l.served[name]
	if n == nil {
		n = &atomic.Int64{}
		l.served[name] = n
	}
	l.clients.Go(func() {
		defer done()
		for {
			select {
			case <-l.stop:
				return
			default:
			}
			if err := exchange(); err != nil {
				l.t.Errorf("%s, after %d good ones: %v", name, n.Load(), err)
				return
			}
			n.Add(1)
		}
	})
}

// end ends the load and tells how much there was of it.
func (l *traffic) end() {
	close(l.stop)
	l.clients.Wait()
	for name, n := range l.served {
		l.t.Logf("%s: %d", name, n.Load())
		if n.Load() < 3 {
			l.t.Errorf("%s: there was no load to speak of: %d", name, n.Load())
		}
	}
}

// http1 repeats requests on a connection for as long as the proxy keeps it. They are
// of bytes, since clients that know better try again what was lost.
func (l *traffic) http1(addr string) {
	c := proxytest.Dial(l.t, addr)
	l.run("HTTP/1", func() error {
		if err := c.TrySend("POST /one HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\nping"); err != nil {
			return err
		}
		r := c.Response("POST")
		if r.StatusCode != 200 || r.Content != "ping" {
			return errors.New(r.String())
		}
		if r.Close {
			c.Close()
			c = proxytest.Dial(l.t, addr)
		}
		return nil
	}, func() { c.Close() })
}

// once hides a body's content, so that no client can send it again.
type once struct{ io.Reader }

// client returns a client of one protocol, of which tls nil is in the clear.
func client(h2 bool, secure *tls.Config) (*http.Client, string, func()) {
	var p http.Protocols
	scheme := "http"
	switch {
	case secure != nil:
		scheme = "https"
		p.SetHTTP2(h2)
		p.SetHTTP1(!h2)
	case h2:
		p.SetUnencryptedHTTP2(true)
	default:
		p.SetHTTP1(true)
	}
	tr := &http.Transport{Protocols: &p, TLSClientConfig: secure}
	return &http.Client{Transport: tr}, scheme, tr.CloseIdleConnections
}

// http2 repeats requests as a client of HTTP/2 does.
func (l *traffic) http2(name, addr string, secure *tls.Config) {
	c, scheme, done := client(true, secure)
	l.run(name, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		send := func() (*http.Response, error) {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+"://"+addr+"/two", once{bytes.NewReader([]byte("ping"))})
			if err != nil {
				return nil, err
			}
			return c.Do(r)
		}
		res, err := send()
		if err != nil && strings.Contains(err.Error(), "cannot rewind body") {
			// The connection said goodbye before the client had written anything, which would do this by itself
			// if it could send the body again.
			res, err = send()
		}
		if err != nil {
			return err
		}
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 || string(b) != "ping" || res.ProtoMajor != 2 {
			return fmt.Errorf("%s %s %q %v: %w", res.Proto, res.Status, b, res.Header, err)
		}
		return res.Body.Close()
	}, done)
}

// handshakes repeats requests each on a connection of its own.
func (l *traffic) handshakes(addr string, secure *tls.Config) {
	c, scheme, done := client(false, secure)
	c.Transport.(*http.Transport).DisableKeepAlives = true
	l.run("TLS handshakes", func() error {
		res, err := c.Get(scheme + "://" + addr + "/hello")
		if err != nil {
			return err
		}
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 {
			return fmt.Errorf("%s %q: %w", res.Status, b, err)
		}
		return res.Body.Close()
	}, done)
}

// stream keeps one stream of messages both ways, as gRPC has it, from the load's
// beginning to its end.
func (l *traffic) stream(name, addr string, secure *tls.Config) {
	l.t.Helper()
	c, scheme, done := client(true, secure)
	in, out := io.Pipe()
	r, err := http.NewRequest(http.MethodPost, scheme+"://"+addr+"/stream", in)
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("content-type", "application/grpc")
	r.Header.Set("te", "trailers")
	res, err := c.Do(r)
	if err != nil {
		l.t.Fatalf("%s: %v", name, err)
	}
	message := []byte("\x00\x00\x00\x00\x05hello")
	got := make([]byte, len(message))
	l.run(name, func() error {
		if _, err := out.Write(message); err != nil {
			return err
		}
		if _, err := io.ReadFull(res.Body, got); err != nil || !bytes.Equal(got, message) {
			return fmt.Errorf("got %q: %w", got, err)
		}
		return nil
	}, func() {
		_ = out.Close()
		if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 || res.Trailer.Get("grpc-status") != "0" {
			l.t.Errorf("%s: at the end %q, %v, trailer %v", name, rest, err, res.Trailer)
		}
		done()
	})
}

// sockets keeps one WebSocket from the load's beginning to its end.
func (l *traffic) sockets(addr string) {
	l.t.Helper()
	hc, scheme, done := client(false, nil)
	c, _, err := websocket.Dial(l.t.Context(), scheme+"://"+addr+"/socket", &websocket.DialOptions{HTTPClient: hc})
	if err != nil {
		l.t.Fatal(err)
	}
	l.run("WebSocket", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
			return err
		}
		if _, b, err := c.Read(ctx); err != nil || string(b) != "hello" {
			return fmt.Errorf("got %q: %w", b, err)
		}
		return nil
	}, func() {
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			l.t.Errorf("WebSocket: close: %v", err)
		}
		done()
	})
}

// tcp keeps one connection from the load's beginning to its end, and makes another
// for each of its messages.
func (l *traffic) tcp(addr string) {
	exchange := func(c net.Conn) error {
		b := []byte("hello")
		if _, err := c.Write(b); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
			return fmt.Errorf("got %q: %w", b, err)
		}
		return nil
	}
	long := proxytest.Dial(l.t, addr).Conn()
	l.run("TCP", func() error { return exchange(long) }, func() { _ = long.Close() })
	l.run("TCP connections", func() error {
		c, err := net.DialTimeout("tcp", addr, proxytest.Patience)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		return exchange(c)
	}, func() {})
}

// backend is a server of HTTP/1 and HTTP/2 that sends back what it gets.
func backend(t *testing.T) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("upgrade") == "websocket":
			echoSocket(t, w, r)
			return
		case r.URL.Path == "/stream":
			w.Header().Set("trailer", "grpc-status")
			w.Header().Set("content-type", "application/grpc")
			w.WriteHeader(http.StatusOK)
			defer w.Header().Set("grpc-status", "0")
		}
		rc := http.NewResponseController(w)
		if r.URL.Path == "/stream" && rc.Flush() != nil {
			return
		}
		b := make([]byte, 4096)
		for {
			n, err := r.Body.Read(b)
			if n > 0 {
				if _, err := w.Write(b[:n]); err != nil {
					return // The client's side tells.
				}
				if r.URL.Path == "/stream" && rc.Flush() != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}))
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func echoSocket(t *testing.T, w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		t.Errorf("accept: %v", err)
		return
	}
	defer func() { _ = c.CloseNow() }() // Perhaps it is.
	for {
		kind, b, err := c.Read(context.Background())
		if err != nil || c.Write(context.Background(), kind, b) != nil {
			return
		}
	}
}
