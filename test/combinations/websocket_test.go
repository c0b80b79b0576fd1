// SPDX-License-Identifier: Apache-2.0

package combinations

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"weir.dev/weir/proxy/proxytest"
)

// accept answers a key (RFC 6455 §4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// certificate makes a certificate for the proxy, in PEM with its line ends escaped.
func (p *pair) certificate() map[string]string {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	x := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a.test"}}
	cert, err := x509.CreateCertificate(rand.Reader, x, x, key.Public(), key)
	if err != nil {
		p.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	text := func(kind string, b []byte) string {
		return strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})), "\n", `\n`)
	}
	return map[string]string{"cert": text("CERTIFICATE", cert), "key": text("PRIVATE KEY", der)}
}

// webSocket opens a WebSocket through the proxy.
func (p *pair) webSocket(path string) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), proxytest.Patience)
	p.t.Cleanup(cancel)
	scheme := "http"
	if p.secure {
		scheme = "https"
	}
	c, res, err := websocket.Dial(ctx, scheme+"://"+p.proxy.Addr()+path, &websocket.DialOptions{
		HTTPClient: p.client, Subprotocols: []string{"chat", "other"}, CompressionMode: websocket.CompressionDisabled,
	})
	if c != nil {
		c.SetReadLimit(-1)
		p.t.Cleanup(func() { _ = c.CloseNow() })
	}
	return c, res, err
}

// chat takes WebSockets: /echo sends back, /close closes at once, /abort breaks off,
// /200 and /403 refuse.
func chat(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/200":
			_, _ = io.WriteString(w, "no") // The client's side tells.
			return
		case "/403":
			http.Error(w, "never", http.StatusForbidden)
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}, InsecureSkipVerify: true})
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		c.SetReadLimit(-1)
		ctx := context.WithoutCancel(r.Context())
		switch r.URL.Path {
		case "/close":
			_ = c.Close(websocket.StatusGoingAway, "bye")
			return
		case "/abort":
			if _, _, err := c.Read(ctx); err != nil {
				t.Errorf("read: %v", err)
			}
			if _, ok := w.(*granting); ok {
				panic(http.ErrAbortHandler)
			}
			_ = c.CloseNow()
			return
		}
		for {
			kind, b, err := c.Read(ctx)
			if err != nil {
				_ = c.CloseNow()
				return
			}
			if c.Write(ctx, kind, b) != nil {
				return
			}
		}
	}
}

const chatRoutes = `
- {match: {path: /idle}, route: {cluster: up, idle_timeout: 0.6s, timeout: 0s}}
- {match: {path: /patient}, route: {cluster: up, idle_timeout: 0s}}
- {match: {path: /never}, route: {cluster: up, upgrade_configs: [{upgrade_type: websocket, enabled: false}]}}
`

func TestWebSocket(t *testing.T) {
	eachTunnel(t, chatRoutes, chat(t), func(t *testing.T, p *pair) {
		ctx, cancel := context.WithTimeout(t.Context(), proxytest.Patience)
		defer cancel()
		c, _, err := p.webSocket("/echo")
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Subprotocol(); got != "chat" {
			t.Errorf("subprotocol %q", got)
		}
		for _, say := range []string{"", "hello", strings.Repeat("x", 70000)} {
			if err := c.Write(ctx, websocket.MessageText, []byte(say)); err != nil {
				t.Fatal(err)
			}
			if _, b, err := c.Read(ctx); err != nil || string(b) != say {
				t.Fatalf("%d bytes of %d, %v", len(b), len(say), err)
			}
		}
		if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// TestWebSocketBothWays sends large messages both ways at once.
func TestWebSocketBothWays(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<15) // 512 KiB
	eachTunnel(t, "", chat(t), func(t *testing.T, p *pair) {
		ctx, cancel := context.WithTimeout(t.Context(), proxytest.Patience)
		defer cancel()
		c, _, err := p.webSocket("/echo")
		if err != nil {
			t.Fatal(err)
		}
		const messages = 6
		var wg sync.WaitGroup
		wg.Go(func() {
			for range messages {
				if err := c.Write(ctx, websocket.MessageBinary, big); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for range messages {
			if _, b, err := c.Read(ctx); err != nil || !bytes.Equal(b, big) {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
		}
		wg.Wait()
		_ = c.CloseNow()
	})
}

func TestWebSocketEnds(t *testing.T) {
	eachTunnel(t, chatRoutes, chat(t), func(t *testing.T, p *pair) {
		ctx, cancel := context.WithTimeout(t.Context(), proxytest.Patience)
		defer cancel()
		for path, want := range map[string]websocket.StatusCode{"/close": websocket.StatusGoingAway, "/abort": -1, "/idle": -1} {
			c, _, err := p.webSocket(path)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if path == "/abort" {
				_ = c.Write(ctx, websocket.MessageText, []byte("x")) // The read tells.
			}
			_, _, err = c.Read(ctx)
			if err == nil || websocket.CloseStatus(err) != want || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", path, err)
			}
			_ = c.CloseNow()
		}
		p.proxy.WaitCounter("http.test.downstream_rq_idle_timeout", 1)
		// One without a limit outlives the others, and ends with its client.
		c, _, err := p.webSocket("/patient")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.CloseNow()
	})
}

func TestWebSocketRefused(t *testing.T) {
	eachTunnel(t, chatRoutes, chat(t), func(t *testing.T, p *pair) {
		for path, want := range map[string]int{"/never": 403, "/403": 403, "/200": 200} {
			c, res, err := p.webSocket(path)
			if path == "/200" && (p.down == "HTTP/2.0" || p.up == "HTTP/2.0") {
				// There 200 is the grant; the server ends what is no WebSocket.
				if err == nil {
					_ = c.CloseNow()
				}
				continue
			}
			if err == nil || res == nil || res.StatusCode != want {
				t.Errorf("%s: %v %v", path, res, err)
			}
		}
	})
}

// TestShortTunnels opens and closes many: nothing of them is left.
func TestShortTunnels(t *testing.T) {
	each, workers := 2500, 8
	if testing.Short() {
		each = 100
	}
	for _, down := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for _, up := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(down+" to "+up, func(t *testing.T) {
				p := tunnelPair(t, down, up, false, "", bridged(chat(t)))
				var wg sync.WaitGroup
				for w := range workers {
					wg.Go(func() {
						for range each / workers {
							c, _, err := p.webSocket([]string{"/echo", "/close"}[w%2])
							if err != nil {
								t.Error(err)
								return
							}
							if w%2 == 0 {
								err = c.Write(t.Context(), websocket.MessageText, []byte("x"))
							}
							if _, _, e := c.Read(t.Context()); err != nil || w%2 == 0 && e != nil {
								t.Error(err, e)
							}
							_ = c.CloseNow()
						}
					})
				}
				wg.Wait()
				for _, g := range []string{"http.test.downstream_cx_upgrades_active", "http.test.downstream_rq_active", "cluster.up.upstream_rq_active"} {
					p.proxy.WaitGauge(g, 0)
				}
				if up == "HTTP/1.1" {
					p.proxy.WaitGauge("cluster.up.upstream_cx_active", 0)
				}
				if m, _ := p.proxy.Metric("server.panics"); m.Count != 0 {
					t.Error("a task panicked")
				}
			})
		}
	}
}
