// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net/http"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/pump"
	"weir.dev/weir/proxy/stream"
)

// admit decides on a request to leave HTTP, and replies if it may not.
func (a *active) admit(hd *codec.Head) bool {
	connect := string(a.Request.Header.Get(header.Method)) == http.MethodConnect
	if !hd.Upgrade && !connect {
		return true
	}
	kind := hd.Protocol
	if connect {
		kind = connectKind
	}
	u, allowed := a.conn.m.upgrade(kind)
	if r := a.Route(); r != nil && r.Forward != nil {
		if connect && r.Forward.Connect != nil {
			allowed = true
		}
		allowed = toggled(allowed, r.Forward.Upgrade(kind))
	} else if connect && r == nil {
		return true // The router answers 404.
	}
	if !allowed {
		a.conn.stats.RqWrongUpgrade.Inc()
		a.Reply(stream.Reply{Status: http.StatusForbidden, Details: "upgrade_failed"})
		return false
	}
	if u != nil && u.chain != nil {
		a.chain.Unpin()
		a.chain = u.chain.Pin()
	}
	if a.multi != nil && header.EqualLower(kind, "websocket") {
		a.lendKey()
	}
	a.upgrading = true
	a.Upgrade = true
	a.payload = a.server.Tunnel()
	a.Request.Body, a.Request.Length = a.payload, -1
	return true
}

var connectKind = []byte("connect")

// upgrade returns the manager's setting for an upgrade type.
func (m *Manager) upgrade(kind []byte) (*upgrade, bool) {
	for i := range m.cfg.upgrades {
		u := &m.cfg.upgrades[i]
		if header.EqualLower(kind, u.name) {
			return u, u.enabled
		}
	}
	return nil, false
}

// tunnels reports whether the response granted the upgrade.
func (a *active) tunnels() bool {
	if a.Info.Status == http.StatusSwitchingProtocols {
		return true
	}
	return a.Info.Status/100 == 2 && string(a.Request.Header.Get(header.Method)) == http.MethodConnect
}

// HTTP/2 has no use for these (RFC 8441 §5.1), and HTTP/1 does not go without.
var (
	webSocketKey    = header.NewName("sec-websocket-key")
	webSocketAccept = header.NewName("sec-websocket-accept")
)

// lendKey gives a request of HTTP/2 the key that an HTTP/1 server asks for.
func (a *active) lendKey() {
	if a.lentKey = !a.Request.Header.Has(webSocketKey); a.lentKey {
		var nonce [16]byte
		binary.LittleEndian.PutUint64(nonce[:8], a.conn.rand.next())
		binary.LittleEndian.PutUint64(nonce[8:], a.conn.rand.next())
		a.Request.Header.Set(webSocketKey, base64.StdEncoding.EncodeToString(nonce[:]))
	}
}

// acceptKey answers the key of an HTTP/1 client where the server, of HTTP/2, has not
// (RFC 6455 §4.2.2), and takes back the answer to one that was lent.
func (a *active) acceptKey() {
	h := a.Response.Header
	switch key := a.Request.Header.Get(webSocketKey); {
	case a.lentKey:
		h.Del(webSocketAccept)
	case a.multi == nil && len(key) > 0 && !h.Has(webSocketAccept) && header.EqualLower(h.Get(header.Upgrade), "websocket"):
		sum := sha1.Sum(append(key[:len(key):len(key)], "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
		h.Set(webSocketAccept, base64.StdEncoding.EncodeToString(sum[:]))
	}
}

// send sends the response; of a tunnel, what follows it in both directions.
func (a *active) send() (last bool, err error) {
	if !a.resp.Tunnel || a.Tunnel == nil {
		return a.server.WriteResponse(&a.Response, a.Info.Status, &a.resp)
	}
	if a.Info.Status == http.StatusSwitchingProtocols {
		a.acceptKey()
	}
	if near, far := a.leavers(); near != nil && far != nil {
		return true, a.join(near, far)
	}
	a.Tunnel.Upload()
	if last, err = a.server.WriteResponse(&a.Response, a.Info.Status, &a.resp); err != nil {
		return last, err
	}
	if a.multi == nil {
		// Both sides' ends together look like a client that is gone; what the client
		// still sends tells better.
		a.conn.conn.Socket.Unwatch()
	}
	return last, a.Tunnel.Wait()
}

// leavers returns the two sides of a tunnel of HTTP/1 that no filter looks into.
func (a *active) leavers() (near, far codec.Leaver) {
	if a.multi != nil || a.Request.Body != a.payload {
		return nil, nil
	}
	return codec.LeaverOf(a.payload), codec.LeaverOf(a.Response.Body)
}

// joined is a tunnel whose bytes pass the codecs by.
type joined struct {
	a         *active
	near, far codec.Leaver
	pair      pump.Pair
	task      *engine.Task
	over      bool
	ending    pump.Ending
}

// join sends the response's head and carries the bytes of both directions until both
// have ended. While nothing moves, the tunnel costs no buffer.
func (a *active) join(near, far codec.Leaver) error {
	a.Response.Body = nil
	if _, err := a.server.WriteResponse(&a.Response, a.Info.Status, &a.resp); err != nil {
		return err
	}
	// The heads stay for the log; the buffers that they were read to do not.
	a.Request.Header.Own()
	a.Response.Header.Own()
	j := &joined{a: a, near: near, far: far, task: a.Task()}
	client, sent := near.Leave()
	host, received := far.Leave()
	a.conn.conn.Socket.Unwatch() // The pump sees the end of either side.
	j.pair.Init(a.conn.loop, j, pump.End{Socket: client.Socket, Transport: client.Transport}, pump.End{Socket: host.Socket, Transport: host.Transport})
	defer j.pair.Stop()
	if err := j.pair.Send(false, received); err != nil {
		return err
	}
	if err := j.pair.Send(true, sent); err != nil {
		return &codec.SourceError{Err: err}
	}
	j.pair.Begin()
	for !j.over {
		if err := j.task.Wait(); err != nil {
			return err
		}
	}
	switch e := j.ending; {
	case e.Reset && !e.Far:
		host.Socket.Reset()
		return stream.ErrDownstreamGone
	case e.Reset && e.Err == nil:
		return &codec.SourceError{Err: errHostReset}
	case e.Err != nil && e.Far:
		return &codec.SourceError{Err: e.Err}
	default:
		return e.Err
	}
}

// Moved counts bytes that were delivered.
func (j *joined) Moved(upload bool, n int) {
	if upload {
		j.near.Carried(n, 0)
		j.far.Carried(0, n)
	} else {
		j.near.Carried(0, n)
		j.far.Carried(n, 0)
	}
	if !j.over {
		j.a.Moved(n)
	}
}

// Stalled does nothing: each direction waits for itself.
func (j *joined) Stalled(bool, bool) {}

// Ended wakes the stream.
func (j *joined) Ended(e pump.Ending) {
	j.over, j.ending = true, e
	j.task.Wake()
}
