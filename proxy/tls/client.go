// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/upstream"
)

// A Client is the TLS to the hosts of a cluster: an UpstreamTlsContext. It is
// immutable but for its secrets and the sessions that it keeps.
type Client struct {
	settings
	secrets slots[clientState]

	sni              string
	hostSNI, sniSANs bool
	sessions         int
	log              *slog.Logger
}

// clientState is what handshakes use as long as no secret changes.
type clientState struct {
	base     *tls.Config
	verifier *verifier        // nil if hosts are not verified
	cert     *tls.Certificate // nil if there is none to show

	mu sync.Mutex
	// variants are configurations by what connections ask for in particular. There are
	// few, as connections are shared among those that ask the same.
	variants map[string]*tls.Config
}

// maxVariants bounds the configurations that are kept; auto_sni makes one for each
// name that is asked for.
const maxVariants = 1024

// Secure reports that what crosses the wire is encrypted.
func (c *Client) Secure() bool { return true }

// Wrap shakes hands and makes the layer the connection's transport.
func (c *Client) Wrap(_ *engine.Task, u *upstream.Conn, o *upstream.TransportOptions) error {
	h := u.Host
	counters := &conn.TLSCounters{}
	stats := &conn.TLSStats{}
	if t := h.Cluster.TLSCounters(); t != nil {
		counters, stats = t, t.At(u.Socket.Loop().ID())
	}
	u.Info.TransportProtocol = "tls"
	state, fresh := c.secrets.load()
	if state == nil {
		if counters.Context != nil {
			counters.Context.Counter("client_ssl_socket_factory.upstream_context_secrets_not_ready").Inc()
		}
		return errNotReady
	}
	if fresh && c.sds && counters.Context != nil {
		counters.Context.Counter("client_ssl_socket_factory.ssl_context_update_by_sds").Inc()
	}
	l := newConn(u.Socket, &c.buffers)
	name := c.serverName(h, o)
	config := c.configFor(state, name, o)
	if c.keyLog != nil && c.keyLog.wants(u.Info) {
		config = config.Clone()
		config.KeyLogWriter = c.keyLog
	}
	l.tls = tls.Client((*wire)(l), config)
	if err := l.handshake(); err != nil {
		err = failed(err, stats)
		u.Info.TransportFailure = err.Error()
		if c.log.Enabled(context.Background(), slog.LevelDebug) {
			c.log.Debug("a TLS handshake with a host failed", "cluster", h.Cluster.Name, "host", u.Info.Remote.String(), "server_name", name, "reason", err.Error())
		}
		return err
	}
	cs := l.tls.ConnectionState()
	u.Info.Handshake = time.Since(u.Info.Start)
	u.Info.ServerName, u.Info.ALPN = name, cs.NegotiatedProtocol
	u.Info.TLS = c.describe(&cs, l, state.verifier)
	if state.cert != nil {
		u.Info.TLS.LocalCert = state.cert.Leaf
	}
	if counters.Names == nil {
		counters = nil
	}
	c.count(&cs, stats, counters)
	if !state.verifier.proves() {
		stats.Unverified.Inc()
	}
	l.local, l.session = nil, nil
	u.Transport = l
	return nil
}

// serverName is what is sent as SNI: what the request asks for, the host's name, or
// what is configured, in this order.
func (c *Client) serverName(h *upstream.Host, o *upstream.TransportOptions) string {
	switch {
	case o != nil && o.ServerName != "":
		return o.ServerName
	case c.hostSNI && h.Hostname != "":
		return h.Hostname
	}
	return c.sni
}

func (c *Client) configFor(s *clientState, name string, o *upstream.TransportOptions) *tls.Config {
	protocols, names := s.base.NextProtos, []string(nil)
	if o != nil {
		switch {
		case len(o.ALPN) > 0:
			protocols = o.ALPN
		case len(protocols) == 0:
			protocols = o.FallbackALPN
		}
		names = o.VerifyNames
	}
	if name == c.sni && len(names) == 0 && slices.Equal(protocols, s.base.NextProtos) {
		return s.base
	}
	key := name + "\x00" + strings.Join(names, ",") + "\x00" + strings.Join(protocols, ",")
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.variants[key]; v != nil {
		return v
	}
	v := s.base.Clone()
	v.ServerName, v.NextProtos = name, slices.Clone(protocols)
	c.verifying(v, s.verifier, slices.Clone(names))
	if len(s.variants) >= maxVariants {
		clear(s.variants)
	}
	s.variants[key] = v
	return v
}

// verifying has the configuration verify hosts by our own rules: those of crypto/tls
// always want the server name.
func (c *Client) verifying(t *tls.Config, v *verifier, names []string) {
	t.InsecureSkipVerify = true
	t.VerifyConnection = nil
	if v == nil || v.AcceptUntrusted {
		return
	}
	if c.sniSANs && t.ServerName != "" {
		names = []string{t.ServerName}
	}
	t.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return noCertificate()
		}
		return v.verify(cs.PeerCertificates, names)
	}
}

// build makes the state of the newest secrets.
func (c *Client) build(m *material) (*clientState, error) {
	s := &clientState{variants: map[string]*tls.Config{}}
	t := c.base()
	t.ServerName = c.sni
	if len(m.certs) > 0 {
		pair := &m.certs[0].TLS
		s.cert = pair
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	if c.validation != nil {
		v := m.validation
		if c.combine != nil {
			var err error
			if v, err = c.combine(m.values[len(c.certificates)]); err != nil {
				return nil, err
			}
		}
		s.verifier = newVerifier(v, x509.ExtKeyUsageServerAuth)
	}
	if c.sessions > 0 {
		t.ClientSessionCache = tls.NewLRUClientSessionCache(c.sessions)
	} else {
		t.SessionTicketsDisabled = true
	}
	c.verifying(t, s.verifier, nil)
	s.base = t
	return s, nil
}
