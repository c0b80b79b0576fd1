// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"encoding/base64"
	"errors"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stream"
)

// codecKind is Envoy's codec_type.
type codecKind uint8

const (
	// autoCodec takes what ALPN has settled, or else what the first bytes say.
	autoCodec codecKind = iota
	onlyHTTP1
	onlyHTTP2
)

// settle makes a new connection one of the protocol that is known already.
func (k *connection) settle() {
	kind := k.m.cfg.kind
	if kind == onlyHTTP2 || kind == autoCodec && k.conn.Info.ALPN == "h2" {
		k.speakHTTP2(nil)
	}
}

// countHTTP1 counts the connection as one of HTTP/1, once it has spoken.
func (k *connection) countHTTP1() {
	if !k.counted {
		k.counted = true
		k.stats.CxHTTP1Total.Inc()
		k.stats.CxHTTP1Active.Inc()
	}
}

// switches reports whether a connection that began like one of HTTP/1 may be of
// HTTP/2: with prior knowledge (RFC 9113 §3.3).
func (k *connection) switches() bool {
	return k.m.cfg.kind == autoCodec && k.conn.Info.ALPN == "" && k.conn.Info.Requests == 0
}

// speakHTTP2 makes the connection one of HTTP/2; head is what was read of it.
func (k *connection) speakHTTP2(head []byte) {
	k.stats.CxHTTP2Total.Inc()
	k.stats.CxHTTP2Active.Inc()
	e := k.ends()
	if len(head) > 0 {
		e.Transport = &readAhead{e.Transport, append([]byte(nil), head...)}
	}
	k.multi = h2.NewServer(e, &k.m.cfg.codecH2, k.h2, k)
}

// upgradeH2C grants a first request's offer to go on in HTTP/2, if the configuration
// has the upgrade type h2c: the request becomes the first stream. An offer that
// cannot be granted is as if it were not there (RFC 7540 §3.2).
func (k *connection) upgradeH2C(t *engine.Task, a *active) bool {
	offer := a.h1.H2C()
	if offer == nil || !k.switches() || k.conn.Info.TLS != nil {
		return false
	}
	settings, err := base64.RawURLEncoding.DecodeString(string(offer))
	if err != nil || !h2.ValidSettings(settings) {
		return false
	}
	if _, err := k.conn.Transport.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")); err != nil {
		return true // What reads next finds the connection gone.
	}
	k.speakHTTP2(a.h1.Rest())
	k.stats.CxUpgradesTotal.Inc()
	k.multi.Upgrade(settings, &a.head, a.h1.Head().Size)
	a.head.Reset()
	return true
}

// readAhead is a transport of which some bytes were read before.
type readAhead struct {
	codec.Transport
	head []byte
}

// Read returns first what was read before.
func (r *readAhead) Read(p []byte) (int, error) {
	if len(r.head) == 0 {
		return r.Transport.Read(p)
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	return n, nil
}

// Ready reports whether Read would return without waiting.
func (r *readAhead) Ready() bool { return len(r.head) > 0 || r.Transport.Ready() }

// Request takes a request of an HTTP/2 connection. It is served on a task of its own.
func (k *connection) Request(s *h2.ServerStream) {
	k.timer.Stop()
	a := k.take()
	a.server, a.multi = s, s
	a.gone = false
	s.SetOwner(a)
	k.loop.Go(a)
}

// Run serves a request of an HTTP/2 connection.
func (a *active) Run(t *engine.Task) {
	k, s := a.conn, a.multi
	end := closes
	defer func() {
		a.finish() // If a panic came between, too.
		a.wipe()
		if end == closes {
			s.Reset()
		}
		s.SetOwner(nil)
		s.Release()
		k.put(a)
	}()
	a.ready(t)
	a.enter()
	a.Request = *s.Message()
	s.OnBody(a)
	if a.gone {
		a.abandon()
	}
	if err := s.Refusal(); err != nil {
		end = a.refuse(err)
		return
	}
	end = a.serve()
}

// Gone tells that the client reset a stream, or that its connection is lost.
func (k *connection) Gone(s *h2.ServerStream, err error) {
	a, _ := s.Owner().(*active)
	if a == nil {
		return
	}
	var reset *codec.ResetError
	k.remote = k.remote || !errors.As(err, &reset)
	a.gone = true
	if a.used {
		a.interrupt(stream.ErrDownstreamGone)
	}
}

// Over tells that the connection has ended.
func (k *connection) Over(error) { k.conn.Close() }

// Quiet tells that no stream is left.
func (k *connection) Quiet() { k.rest() }

// drainStreams announces that the connection ends after the streams in flight.
func (k *connection) drainStreams() {
	if !k.ending {
		k.ending = true
		k.multi.Drain()
	}
}
