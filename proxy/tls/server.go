// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/streaminfo"
)

// A Server is the TLS of a filter chain: a DownstreamTlsContext. It is immutable but
// for its secrets.
type Server struct {
	settings
	secrets slots[serverState]

	requireCert, requireSNI bool
	fullScan                bool
	policy                  staplePolicy
	noTickets               bool
	sessionTimeout          time.Duration // 0 is that of crypto/tls, a week
	tickets                 *secret.Slot
}

// serverState is what handshakes use as long as no secret changes.
type serverState struct {
	config *tls.Config
	// logged is config with the key log; nil if there is none.
	logged   *tls.Config
	choice   *choice
	verifier *verifier // nil if clients are not asked for certificates
}

// An owner of a connection that tells where its handshake is counted and logged: a
// listener.
type owner interface {
	TLSCounters() *conn.TLSCounters
	Log() *slog.Logger
}

var errNotReady = errors.New("TLS_error:|Secret is not supplied by SDS")

// Protocol is "tls".
func (s *Server) Protocol() string { return "tls" }

// Wrap shakes hands and makes the layer the connection's transport.
func (s *Server) Wrap(_ *engine.Task, c *conn.Conn) error {
	o, _ := c.Owner().(owner)
	var counters *conn.TLSCounters
	stats := &conn.TLSStats{} // Nobody's.
	if o != nil {
		counters = o.TLSCounters()
		stats = counters.At(c.Socket.Loop().ID())
	}
	c.Info.TransportProtocol = "tls"
	state, fresh := s.secrets.load()
	if state == nil {
		if counters != nil {
			counters.Context.Counter("server_ssl_socket_factory.downstream_context_secrets_not_ready").Inc()
		}
		return errNotReady
	}
	if fresh && s.sds && counters != nil {
		counters.Context.Counter("server_ssl_socket_factory.ssl_context_update_by_sds").Inc()
	}
	config := state.config
	if state.logged != nil && s.keyLog.wants(c.Info) {
		config = state.logged
	}
	l := newConn(c.Socket, &s.buffers)
	l.stats = stats
	l.tls = tls.Server((*wire)(l), config)
	if err := l.handshake(); err != nil {
		err = failed(err, stats)
		if o != nil {
			logFailure(o.Log(), c.Info, err)
		}
		return err
	}
	s.settle(l, c, state, counters)
	c.Transport = l
	return nil
}

// settle notes and counts what the handshake agreed on.
func (s *Server) settle(l *Conn, c *conn.Conn, state *serverState, counters *conn.TLSCounters) {
	cs := l.tls.ConnectionState()
	info := c.Info
	info.Handshake = time.Since(info.Start)
	if cs.ServerName != "" {
		info.ServerName = cs.ServerName
	}
	info.ALPN = cs.NegotiatedProtocol
	if l.offered != nil {
		info.ALPNs = l.offered
	}
	info.TLS = s.describe(&cs, l, state.verifier)
	switch {
	case l.local != nil:
		info.TLS.LocalCert = l.local.Leaf
	case len(state.choice.certs) == 1:
		info.TLS.LocalCert = state.choice.certs[0].Chain[0]
	}
	s.count(&cs, l.stats, counters)
	l.offered, l.local, l.session, l.stats = nil, nil, nil, nil
}

// describe fills in what is told of a session.
func (s *settings) describe(cs *tls.ConnectionState, l *Conn, v *verifier) *streaminfo.TLS {
	t := &streaminfo.TLS{
		Version: s.names.version(cs.Version), CipherSuite: s.names.cipher(cs.CipherSuite), Group: s.names.group(cs.CurveID),
		Resumed: cs.DidResume, PeerCerts: cs.PeerCertificates,
	}
	if cs.Version < tls.VersionTLS13 {
		// In TLS 1.3 it means nothing.
		t.SessionID = hex.EncodeToString(l.session)
	}
	if v == nil || len(cs.PeerCertificates) == 0 {
		return t
	}
	t.PeerVerified = v.Pool != nil || len(v.Hashes) > 0 || len(v.SPKI) > 0
	if v.AcceptUntrusted {
		t.PeerVerified = t.PeerVerified && v.verify(cs.PeerCertificates, nil) == nil
	}
	if t.PeerVerified {
		t.PeerIssuer = issuerOf(cs.PeerCertificates, v.Validation)
	}
	return t
}

func (s *settings) count(cs *tls.ConnectionState, stats *conn.TLSStats, counters *conn.TLSCounters) {
	stats.Handshake.Inc()
	if cs.DidResume {
		stats.SessionReused.Inc()
	}
	if len(cs.PeerCertificates) == 0 {
		stats.NoCertificate.Inc()
	} else {
		stats.Presented.Inc()
	}
	if counters == nil {
		return
	}
	for _, name := range [...]string{s.names.ciphers[cs.CipherSuite], s.names.versions[cs.Version], s.names.groups[cs.CurveID]} {
		if name != "" {
			counters.Names.Counter(name).Inc()
		}
	}
}

// A handshakeError is a failed handshake, told as Envoy's logs do.
type handshakeError struct {
	reason string
	err    error
}

// Error is the reason.
func (e *handshakeError) Error() string { return e.reason }

// Unwrap returns the cause.
func (e *handshakeError) Unwrap() error { return e.err }

// failed counts a failed handshake and tells why it failed. One that was interrupted,
// or that the peer gave up, is no error of TLS.
func failed(err error, stats *conn.TLSStats) error {
	if _, ok := errors.AsType[*engine.Interrupted](err); ok {
		return err
	}
	if f, ok := errors.AsType[*failure](err); ok {
		f.count(stats)
		return &handshakeError{reason(err), err}
	}
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, engine.ErrDialTimeout), errors.Is(err, engine.ErrClosed):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), engine.IsReset(err):
		return &handshakeError{"the peer closed during the TLS handshake", err}
	case err.Error() == missingClientCert:
		stats.FailNoCert.Inc()
		return &handshakeError{"TLS_error:|PEER_DID_NOT_RETURN_A_CERTIFICATE", err}
	}
	stats.ConnectionError.Inc()
	return &handshakeError{reason(err), err}
}

// missingClientCert is what crypto/tls says, which has no error of its own for it.
const missingClientCert = "tls: client didn't provide a certificate"

func logFailure(log *slog.Logger, info *streaminfo.Connection, err error) {
	if log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("a TLS handshake failed", "listener", info.ListenerName, "remote", info.Remote.String(), "server_name", info.ServerName, "reason", err.Error())
	}
}

// build makes the state of the newest secrets.
func (s *Server) build(m *material) (*serverState, error) {
	st := &serverState{choice: newChoice(m.certs, s.policy, s.fullScan)}
	c := s.base()
	c.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return s.pick(st.choice, h) }
	if s.validation != nil {
		v := m.validation
		if s.combine != nil {
			var err error
			if v, err = s.combine(m.values[len(s.certificates)]); err != nil {
				return nil, err
			}
		}
		st.verifier = newVerifier(v, x509.ExtKeyUsageClientAuth)
	}
	s.clientAuth(c, st.verifier)
	c.SessionTicketsDisabled = s.noTickets
	if s.tickets != nil {
		c.SetSessionTicketKeys(m.values[len(m.values)-1].TicketKeys)
	}
	if s.sessionTimeout > 0 && !s.noTickets {
		c.WrapSession, c.UnwrapSession = sessionLimit(c, s.sessionTimeout)
	}
	st.config = c
	if s.keyLog != nil {
		st.logged = c.Clone()
		st.logged.KeyLogWriter = s.keyLog
	}
	return st, nil
}

// clientAuth says what is asked of clients.
func (s *Server) clientAuth(c *tls.Config, v *verifier) {
	required := s.requireCert
	if v != nil {
		required = required || !v.AcceptUntrusted && len(v.SANs)+len(v.Hashes)+len(v.SPKI) > 0
		c.ClientAuth = tls.RequestClientCert
		if !v.SuppressCAList && len(v.CAs) > 0 {
			c.ClientCAs = v.Pool
		}
	}
	if required {
		c.ClientAuth = tls.RequireAnyClientCert
	}
	if v == nil && !s.requireSNI {
		return
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if s.requireSNI && cs.ServerName == "" {
			return errNoSNI // A resumed session: no certificate was chosen for it.
		}
		if v == nil || len(cs.PeerCertificates) == 0 || v.AcceptUntrusted {
			return nil
		}
		return v.verify(cs.PeerCertificates, nil)
	}
}

var errNoSNI = errors.New("the client sent no server name, and require_sni is set")

// sessionLimit makes tickets that are not taken after d: crypto/tls has a limit of its
// own, a week, that cannot be set.
func sessionLimit(c *tls.Config, d time.Duration) (wrap func(tls.ConnectionState, *tls.SessionState) ([]byte, error), unwrap func([]byte, tls.ConnectionState) (*tls.SessionState, error)) {
	mark := []byte("weir.issued")
	wrap = func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		s.Extra = append(s.Extra, binary.BigEndian.AppendUint64(append([]byte(nil), mark...), uint64(time.Now().Unix())))
		return c.EncryptTicket(cs, s)
	}
	unwrap = func(id []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		s, err := c.DecryptTicket(id, cs)
		if err != nil || s == nil {
			return nil, err
		}
		for i := len(s.Extra) - 1; i >= 0; i-- {
			b := s.Extra[i]
			if len(b) != len(mark)+8 || string(b[:len(mark)]) != string(mark) {
				continue
			}
			age := time.Now().Unix() - int64(binary.BigEndian.Uint64(b[len(mark):]))
			// What is left of the mark goes, or a renewed ticket would have two.
			s.Extra = append(s.Extra[:i], s.Extra[i+1:]...)
			if age < 0 || age >= int64(d/time.Second) {
				return nil, nil
			}
			return s, nil
		}
		return nil, nil
	}
	return wrap, unwrap
}
