// SPDX-License-Identifier: Apache-2.0

package tcpproxy

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/pump"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/proxy/upstream/pool"
)

// Keys of the filter state of tunnels.
const (
	// DisableTunnelingKey makes one connection go without the tunnel.
	DisableTunnelingKey = "envoy.tcp_proxy.disable_tunneling"
	// ResponseHeadersKey holds the head that opened the tunnel, ResponseTrailersKey the
	// trailers that ended it.
	ResponseHeadersKey  = "envoy.tcp_proxy.propagate_response_headers"
	ResponseTrailersKey = "envoy.tcp_proxy.propagate_response_trailers"
)

// tunnelConfig is how bytes go through an HTTP proxy (TunnelingConfig).
type tunnelConfig struct {
	hostname     *format.Format
	post         bool
	path         string
	headers      *route.Headers
	keepHeaders  bool
	keepTrailers bool
	idHeader     header.Name // none: no request id is made
	idKey        string
}

// tunnel is a session's way through an HTTP proxy: an exchange whose request and
// response are the two directions.
type tunnel struct {
	s        *session
	cluster  *upstream.Worker
	host     *upstream.Host
	x        pool.Exchange
	ask      codec.Request
	request  stream.Message
	head     header.Map
	response stream.Message
	answer   header.Map
	source   source
	far      codec.Leaver // of a connection that has left HTTP
	info     streaminfo.Connection
	protocol streaminfo.Protocol

	up, down       *engine.Task // nil when they do not run
	running        int
	upDone         bool
	downDone       bool
	sent, received uint64
	closed         bool
}

// A refusal is an HTTP proxy's answer that is no tunnel.
type refusal struct{ status int }

// Error names the status.
func (r *refusal) Error() string { return fmt.Sprintf("tunnel refused with status %d", r.status) }

// tunnelled reports whether the session goes through an HTTP proxy.
func (s *session) tunnelled() bool {
	if s.w.p.cfg.tunnel == nil {
		return false
	}
	o, ok := s.conn.Info.FilterState[DisableTunnelingKey]
	if on, is := o.Value.(bool); is {
		return !on
	}
	return !ok || o.Text != "true"
}

// openTunnel asks a host for a tunnel.
func (s *session) openTunnel(t *engine.Task, host *upstream.Host) error {
	w := s.cluster
	x, _, err := pool.Connect(w, t, host, &pool.Options{Transport: s.tunnelOptions(host)})
	if err != nil {
		return err
	}
	requests := &w.Cluster().Resources(breaker.Default).Requests
	if s.over || !requests.TryAcquire() {
		x.Unused()
		if s.over {
			return errOver
		}
		w.Stats.RqPendingOverflow.Inc()
		return pool.ErrOverflow
	}
	n := &tunnel{s: s, cluster: w, host: host, x: x, info: *x.Connection(), protocol: x.Protocol()}
	w.Hold()
	w.Stats.RqTotal.Inc()
	w.Stats.RqActive.Inc()
	host.AddRequests(1)
	host.Local(w.Loop()).Stats.RqTotal.Inc()
	if err = n.open(); err == nil && s.over {
		err = errOver
	}
	if err != nil {
		n.close()
		return err
	}
	s.tunnel = n
	return nil
}

// tunnelOptions are what the connection asks of the transport socket of a connection
// that tunnels may share.
func (s *session) tunnelOptions(h *upstream.Host) *upstream.TransportOptions {
	o := s.options()
	if p, ok := h.Transport.Transport.(upstream.PerDownstream); !ok || !p.PerDownstream() {
		o.Downstream = nil
	}
	if o.Downstream == nil && o.ServerName == "" && len(o.VerifyNames)+len(o.ALPN) == 0 {
		return nil
	}
	return o
}

// open sends the request for the tunnel and takes the answer.
func (n *tunnel) open() error {
	n.makeHead()
	if err := n.x.Open(&n.request, &n.ask); err != nil {
		return err
	}
	if err := n.x.Flush(); err != nil {
		return err
	}
	for {
		n.answer.Reset()
		if err := n.x.ReadResponse(&n.response, &n.answer); err != nil {
			return err
		}
		if n.x.Head().Status >= 200 {
			break
		}
	}
	status := n.x.Head().Status
	n.cluster.Stats.Response(status)
	if status/100 != 2 {
		return &refusal{status}
	}
	n.s.keep(n.s.w.p.cfg.tunnel.keepHeaders, ResponseHeadersKey, &n.answer)
	return nil
}

// makeHead builds the request's head.
func (n *tunnel) makeHead() {
	cfg, s, h := n.s.w.p.cfg.tunnel, n.s, &n.head
	if cfg.post {
		h.Add(header.Method, "POST")
	} else {
		h.Add(header.Method, "CONNECT")
	}
	if !cfg.idHeader.IsZero() {
		id := newID()
		s.conn.SetMetadata(Name, cfg.idKey, id)
		defer h.Set(cfg.idHeader, id)
	}
	info := s.describe()
	h.AddBytes(header.Authority, cfg.hostname.AppendTo(nil, info))
	if cfg.post {
		scheme := "http"
		if tr := n.host.Transport.Transport; tr != nil && tr.Secure() {
			scheme = "https"
		}
		h.Add(header.Path, cfg.path)
		h.Add(header.Scheme, scheme)
	}
	info.Request = h
	cfg.headers.Apply(h, info)
	*info = streaminfo.Stream{}
	n.source = source{c: s.conn, first: s.early, moved: n.moved}
	n.request = stream.Message{Header: h, Length: -1, Body: &n.source}
}

// begin carries the bytes.
func (n *tunnel) begin() bool {
	s := n.s
	s.early = nil
	if far := codec.LeaverOf(n.response.Body); far != nil && !s.w.p.cfg.tunnel.post {
		n.far = far
		e, rest := far.Leave()
		s.far = pump.End{Socket: e.Socket, Transport: e.Transport}
		s.pair.Init(s.w.loop, s, pump.End{Socket: s.conn.Socket, Transport: s.conn.Transport}, s.far)
		if s.pair.Send(false, rest) != nil || s.pair.Send(true, n.source.first) != nil || s.over {
			return false
		}
		if s.draining {
			s.pair.Finish()
		}
		s.pair.Begin()
		return true
	}
	n.running = 2
	s.w.loop.Go(engine.RunnerFunc(n.upload))
	s.w.loop.Go(engine.RunnerFunc(n.download))
	return true
}

func (n *tunnel) moved(k int) {
	if !n.closed {
		n.sent += uint64(k)
		n.s.Moved(true, k)
	}
}

// upload sends what the client sends.
func (n *tunnel) upload(t *engine.Task) {
	defer n.stopped()
	if n.closed {
		return
	}
	n.up = t
	var err error
	if n.s.w.p.cfg.tunnel.post {
		err = n.x.SendBody(&n.request)
	} else {
		err = n.x.SendTunnel(&n.source)
	}
	n.up, n.upDone = nil, true
	n.source.release()
	switch {
	case n.closed:
	case n.source.err != nil && n.source.err != io.EOF:
		if engine.IsReset(n.source.err) {
			n.s.conn.Info.CloseType = "RemoteReset"
		} else {
			n.s.note(n.source.err)
		}
		n.s.end("")
	case n.downDone:
		n.s.end("")
	case err != nil:
		// The host takes no more; who reads from it sees why.
	}
}

// download sends the client what the host sends.
func (n *tunnel) download(t *engine.Task) {
	defer n.stopped()
	n.down = t
	read, write := n.copy()
	n.down, n.downDone = nil, true
	s := n.s
	switch {
	case n.closed:
	case write != nil:
		s.note(write)
		s.end("")
	case read != io.EOF:
		s.reset(true)
	default:
		if tr := n.response.Trailer; tr != nil {
			s.keep(s.w.p.cfg.tunnel.keepTrailers, ResponseTrailersKey, tr)
		}
		if n.upDone {
			s.end("")
			return
		}
		// If the client is gone already, the other direction finds out.
		_ = s.conn.Transport.CloseWrite()
	}
}

func (n *tunnel) copy() (read, write error) {
	b := n.response.Body
	if b == nil {
		return io.EOF, nil
	}
	for !n.closed {
		p, err := b.Next()
		if len(p) > 0 {
			if _, write = n.s.conn.Transport.Write(p); write != nil {
				return nil, write
			}
			n.received += uint64(len(p))
			if !n.closed {
				n.s.Moved(false, len(p))
			}
		}
		if err != nil {
			return err, nil
		}
		if n.s.draining && !n.closed {
			n.s.Ended(pump.Ending{Last: true})
		}
	}
	return nil, nil
}

// stopped gives the exchange back once nobody uses it.
func (n *tunnel) stopped() {
	if n.running--; n.running == 0 && n.closed {
		n.release()
	}
}

// close ends the tunnel.
func (n *tunnel) close() {
	if n.closed {
		return
	}
	n.closed = true
	for _, t := range []*engine.Task{n.up, n.down} {
		if t != nil {
			t.Interrupt(errOver)
		}
	}
	if n.running == 0 {
		n.release()
	}
}

func (n *tunnel) release() {
	n.source.release()
	n.x.Release(n.upDone && n.source.err == io.EOF)
	n.cluster.Cluster().Resources(breaker.Default).Requests.Release()
	n.cluster.Stats.RqActive.Dec()
	n.host.AddRequests(-1)
	n.cluster.Drop()
}

// keep notes fields in the filter state of the connection.
func (s *session) keep(on bool, key string, m *header.Map) {
	if !on {
		return
	}
	var l headers
	for name, v := range m.All() {
		if !name.IsPseudo() || name == header.Status {
			l = append(l, field{strings.Clone(name.String()), string(v)})
		}
	}
	s.conn.SetState(key, streaminfo.StateObject{Value: l, Text: l.String()})
}

// headers are the fields of a head, as logs and other filters see them.
type headers []field

type field struct{ name, value string }

// String lists the fields.
func (l headers) String() string {
	var b strings.Builder
	for i, f := range l {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f.name + ": " + f.value)
	}
	return b.String()
}

// Field returns the value of a field, nil if there is none.
func (l headers) Field(name string) any {
	i := slices.IndexFunc(l, func(f field) bool { return f.name == strings.ToLower(name) })
	if i < 0 {
		return nil
	}
	return l[i].value
}

// source is what a client sends, as the body of a request. While it waits it holds a
// little memory of its own; what comes in bulk passes a buffer of the loop.
type source struct {
	c     *conn.Conn
	first []byte // was read before
	small []byte
	buf   []byte
	full  bool // the last read filled what it was given
	err   error
	moved func(n int)
}

// smallRead is what a quiet source holds in bytes.
const smallRead = 1 << 10

// Next returns what the client has sent.
func (b *source) Next() ([]byte, error) {
	if p := b.first; len(p) > 0 {
		b.first = nil
		return p, nil
	}
	loop, tr := b.c.Socket.Loop(), b.c.Transport
	if b.full && tr.Ready() {
		if b.buf == nil {
			b.buf = loop.Buffer()
		}
	} else {
		b.release()
	}
	into := b.buf
	if into == nil {
		if b.small == nil {
			b.small = make([]byte, smallRead)
		}
		into = b.small
	}
	n, err := tr.Read(into)
	b.full = n == len(into)
	if n > 0 {
		b.moved(n)
		return into[:n], nil
	}
	b.err = err
	return nil, err
}

// Ready reports whether Next would return without waiting.
func (b *source) Ready() bool {
	return len(b.first) > 0 || b.c.Transport.Ready()
}

// release gives the buffer back.
func (b *source) release() {
	if b.buf != nil {
		b.c.Socket.Loop().PutBuffer(b.buf)
		b.buf = nil
	}
}

// mergePolicy is what becomes of TLVs that a connection has already.
type mergePolicy uint8

const (
	addTLVsIfAbsent mergePolicy = iota
	overwriteTLVs
	appendTLVs
)

// addTLVs gives the connection the TLVs that a PROXY protocol header upstream tells
// of it.
func (s *session) addTLVs() {
	cfg := &s.w.p.cfg
	if cfg.tlvs == nil {
		return
	}
	c := s.conn.Info
	h := proxyproto.Header{Version: 2, Source: c.Remote, Destination: c.Local}
	if old, ok := c.FilterState[proxyproto.StateKey].Value.(*proxyproto.Header); ok {
		if cfg.merge == addTLVsIfAbsent {
			return
		}
		h = *old
		h.TLVs = slices.Clone(old.TLVs)
	}
	info := s.describe()
	add := cfg.tlvs.Values(info)
	*info = streaminfo.Stream{}
	if cfg.merge == overwriteTLVs {
		h.TLVs = slices.DeleteFunc(h.TLVs, func(v proxyproto.TLV) bool {
			return slices.ContainsFunc(add, func(a proxyproto.TLV) bool { return a.Type == v.Type })
		})
	}
	h.TLVs = append(h.TLVs, add...)
	s.conn.SetState(proxyproto.StateKey, streaminfo.StateObject{Value: &h})
}
