// SPDX-License-Identifier: Apache-2.0

package load

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/test/bench/backend"
	"weir.dev/weir/test/bench/peer"
)

// serveHTTP runs handler on one of net/http's servers, in HTTP/2 as well: by ALPN, or by prior knowledge in cleartext.
// Change, if any, is applied before it starts.
func serveHTTP(t *testing.T, secure bool, handler http.HandlerFunc, change func(*httptest.Server)) (addr string, cert []byte) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(secure)
	s.Config.Protocols.SetUnencryptedHTTP2(!secure)
	s.Config.ErrorLog = quiet()
	s.EnableHTTP2 = secure
	s.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
	made, err := peer.NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(made.Chain, made.Key)
	if err != nil {
		t.Fatal(err)
	}
	s.TLS.Certificates = []tls.Certificate{pair}
	if change != nil {
		change(s)
	}
	if secure {
		s.StartTLS()
		cert = s.Certificate().Raw
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), cert
}

// hundred answers with 100 bytes.
func hundred(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	_, _ = io.WriteString(w, strings.Repeat("w", 100)) // The client counts what came.
}

// h2Spec is 2 connections of 8 streams.
func h2Spec(addr string) Spec {
	return Spec{
		Protocol: HTTP2, Addr: addr, Conns: 2, Streams: 8, Host: "bench.test", Path: "/shop/{n}/100", Spread: 100, Length: 100,
		Warmup: 10 * time.Millisecond, Measure: 300 * time.Millisecond,
	}
}

// whole fails the test unless something was answered, and all of it as it should be.
func whole(t *testing.T, res Result, err error) {
	t.Helper()
	if err != nil || res.Wrong() != 0 || res.Answered == 0 {
		t.Fatalf("%+v, %v", res, err)
	}
}

func TestHTTP2AgainstBackend(t *testing.T) {
	addr := serve(t)
	for name, change := range map[string]func(*Spec){
		"varied": func(*Spec) {},
		"alike":  func(s *Spec) { s.Path, s.Spread = "/100", 0 },
		"large":  func(s *Spec) { s.Path, s.Length = "/{n}/1m", 1<<20 },
		"unary":  func(s *Spec) { s.Path, s.Messages, s.Length = backend.UnaryPath, 1, backend.MessageLen },
		"chat": func(s *Spec) {
			s.Path, s.Chat, s.Messages, s.Length = backend.ChatPath, true, 100, 100*backend.MessageLen
		},
		"stream": func(s *Spec) {
			s.Path, s.Messages, s.Length = backend.StreamPath, backend.StreamLen, backend.StreamLen*backend.MessageLen
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := h2Spec(addr)
			change(&spec)
			res, err := Run(spec, Hooks{})
			whole(t, res, err)
			if res.Bytes*uint64(max(spec.Messages, 1)) != res.Answered*uint64(spec.Length) {
				t.Errorf("%d bytes in %d answers", res.Bytes, res.Answered)
			}
		})
	}
}

// TestHTTP2AgainstAnotherServer has net/http decode what is sent and encode the answers.
func TestHTTP2AgainstAnotherServer(t *testing.T) {
	for _, secure := range []bool{false, true} {
		var sessions, strange atomic.Int64
		addr, cert := serveHTTP(t, secure, func(w http.ResponseWriter, r *http.Request) {
			if c, err := r.Cookie("session"); err == nil && len(c.Value) == 16 {
				sessions.Add(1)
			}
			if r.ProtoMajor != 2 || !strings.HasPrefix(r.URL.Path, "/shop/000") || r.UserAgent() == "" || r.Host != "bench.test" {
				strange.Add(1)
			}
			hundred(w, r)
		}, nil)
		spec := h2Spec(addr)
		spec.Cert = cert
		res, err := Run(spec, Hooks{})
		whole(t, res, err)
		if strange.Load() > 0 || sessions.Load() < int64(res.Answered) {
			t.Errorf("TLS %v: %d strange requests, %d with a session, %d answers", secure, strange.Load(), sessions.Load(), res.Answered)
		}
	}
}

func TestHTTP2WrongAnswersAreCounted(t *testing.T) {
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		change  func(*Spec)
		count   func(Result) uint64
	}{
		"status": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, nil, func(r Result) uint64 { return r.BadStatus }},
		"length": {hundred, func(s *Spec) { s.Length = 99 }, func(r Result) uint64 { return r.BadLength }},
		"reset":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, func(r Result) uint64 { return r.Broken }},
		"grpc-status": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "14")
			hundred(w, r)
		}, func(s *Spec) { s.Messages = 1 }, func(r Result) uint64 { return r.BadStatus }},
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := serveHTTP(t, false, tc.handler, nil)
			spec := h2Spec(addr)
			spec.Measure = 20 * time.Second
			if tc.change != nil {
				tc.change(&spec)
			}
			res, err := Run(spec, Hooks{})
			if err == nil || tc.count(res) != res.Wrong() || res.Answered != 0 {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
}

// TestChatAgainstAnotherServer sends more than the windows that net/http begins with, and is answered message by message.
func TestChatAgainstAnotherServer(t *testing.T) {
	addr, _ := serveHTTP(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		b := make([]byte, backend.MessageLen)
		for {
			if _, err := io.ReadFull(r.Body, b); err != nil {
				break
			}
			_, _ = w.Write(b) // The client counts what came.
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	}, func(s *httptest.Server) {
		s.Config.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 1 << 14, MaxReceiveBufferPerConnection: 1 << 16}
	})
	spec := h2Spec(addr)
	spec.Path, spec.Chat, spec.Messages, spec.Length = backend.ChatPath, true, 300, 300*backend.MessageLen
	spec.Measure = time.Second
	res, err := Run(spec, Hooks{})
	whole(t, res, err)
}

// TestHTTP2GoAway has the server end each connection after some requests: others take their place.
func TestHTTP2GoAway(t *testing.T) {
	var served atomic.Int64
	addr, _ := serveHTTP(t, false, func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1)%100 == 0 {
			w.Header().Set("Connection", "close") // net/http makes it GOAWAY.
		}
		hundred(w, r)
	}, nil)
	res, err := Run(h2Spec(addr), Hooks{})
	if err != nil || res.BadStatus+res.BadLength != 0 || res.Answered == 0 || res.Reconnects == 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestHTTP2NeedsWhatItOpens(t *testing.T) {
	addr, _ := serveHTTP(t, false, hundred, func(s *httptest.Server) { s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 7} })
	if _, err := Run(h2Spec(addr), Hooks{}); err == nil || !strings.Contains(err.Error(), "allows 7 streams") {
		t.Errorf("a server that allows fewer streams: %v", err)
	}
}

func TestKeepAliveOverTLS(t *testing.T) {
	addr, cert := serveHTTP(t, true, hundred, nil)
	spec := Spec{Addr: addr, Cert: cert, Conns: 8, Host: "bench.test", Path: "/100", Length: 100, Measure: 300 * time.Millisecond}
	res, err := Run(spec, Hooks{})
	whole(t, res, err)
	// Head and body arrive in records of their own, and long bodies in many.
	addr, cert = serveHTTP(t, true, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_ = http.NewResponseController(w).Flush() // The client sees what is missing.
		_, _ = io.WriteString(w, strings.Repeat("w", 100_000))
	}, nil)
	spec.Addr, spec.Cert, spec.Length = addr, cert, 100_000
	res, err = Run(spec, Hooks{})
	whole(t, res, err)
}

func TestHandshakesAreFull(t *testing.T) {
	var hellos, resumed, served atomic.Int64
	addr, cert := serveHTTP(t, true, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if r.TLS.DidResume {
			resumed.Add(1)
		}
		hundred(w, r)
	}, func(s *httptest.Server) {
		s.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { hellos.Add(1); return nil, nil }
	})
	spec := Spec{
		Protocol: Handshake, Addr: addr, Cert: cert, Conns: 4, Host: "bench.test", Path: "/100", Length: 100,
		Warmup: 50 * time.Millisecond, Measure: 300 * time.Millisecond,
	}
	var edges []string
	res, err := Run(spec, Hooks{
		Start: func() error { edges = append(edges, "start"); return nil },
		End:   func() error { edges = append(edges, "end"); return nil },
	})
	whole(t, res, err)
	if resumed.Load() > 0 || hellos.Load() < served.Load() || served.Load() < int64(res.Answered) {
		t.Errorf("%d handshakes and %d requests, %d resumed, %d answers", hellos.Load(), served.Load(), resumed.Load(), res.Answered)
	}
	if strings.Join(edges, " ") != "start end" {
		t.Errorf("hooks ran as %v", edges)
	}
}

func TestHandshakesThatDiffer(t *testing.T) {
	addr, cert := serveHTTP(t, true, hundred, nil)
	plain, _ := serveHTTP(t, false, hundred, nil)
	spec := Spec{
		Protocol: Handshake, Addr: addr, Cert: cert, Conns: 1, Host: "bench.test", Path: "/100", Length: 100, Measure: 100 * time.Millisecond,
	}
	for name, tc := range map[string]struct {
		change func(*Spec)
		want   string
	}{
		"certificate": {func(s *Spec) { s.Cert = []byte("other") }, "another certificate"},
		"no TLS":      {func(s *Spec) { s.Addr = plain }, "shake hands"},
		"none given":  {func(s *Spec) { s.Cert = nil }, "need the certificate"},
		"open loop":   {func(s *Spec) { s.Rate = 5 }, "open loop"},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec
			tc.change(&s)
			if _, err := Run(s, Hooks{}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
	old, oldCert := serveHTTP(t, true, hundred, func(s *httptest.Server) { s.TLS.MaxVersion = tls.VersionTLS12 })
	spec.Addr, spec.Cert = old, oldCert
	if _, err := Run(spec, Hooks{}); err == nil {
		t.Error("TLS 1.2 is accepted")
	}
}

func TestEchoes(t *testing.T) {
	addr := serve(t)
	for name, spec := range map[string]Spec{
		"websocket": {Protocol: WebSocket, Host: "bench.test", Path: "/ws"},
		"udp":       {Protocol: UDP},
	} {
		t.Run(name, func(t *testing.T) {
			spec.Addr, spec.Conns, spec.Length = addr, 8, 100
			spec.Warmup, spec.Measure = 10*time.Millisecond, 300*time.Millisecond
			res, err := Run(spec, Hooks{})
			whole(t, res, err)
			if res.Bytes != 100*res.Answered {
				t.Errorf("%d bytes in %d messages", res.Bytes, res.Answered)
			}
		})
	}
}

func TestWebSocketRefused(t *testing.T) {
	spec := Spec{Protocol: WebSocket, Addr: serve(t), Conns: 1, Host: "a", Path: "/100", Length: 100, Measure: 5 * time.Second}
	if _, err := Run(spec, Hooks{}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("an answer of 200: %v", err)
	}
}

// TestDatagramsAreSentAgain loses the first of each socket.
func TestDatagramsAreSentAgain(t *testing.T) {
	s, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := make(map[string]bool)
		b := make([]byte, 256)
		for {
			n, from, err := s.ReadFrom(b)
			if err != nil {
				return
			}
			if seen[from.String()] {
				_, _ = s.WriteTo(b[:n], from) // A datagram that is lost is what this is about.
			}
			seen[from.String()] = true
		}
	}()
	defer func() { s.Close(); <-done }()
	res, err := Run(Spec{Protocol: UDP, Addr: s.LocalAddr().String(), Conns: 2, Length: 100, Measure: time.Second}, Hooks{})
	whole(t, res, err)
}
