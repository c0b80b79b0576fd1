// SPDX-License-Identifier: Apache-2.0

// Package ads listens for proxies that ask a control plane for their configuration, and
// for those who ask whether it is well.
package ads

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// Options of a Server.
type Options struct {
	// Address to listen on for proxies, host:port.
	Address string
	// TLS of connections; nil is cleartext.
	TLS *tls.Config
	// Health is where /healthz and /readyz are answered, host:port; "" is nowhere.
	Health string
}

// A Server answers proxies.
type Server struct {
	grpc   *grpc.Server
	proxy  net.Listener
	health net.Listener // or nil
	ready  atomic.Bool
}

// How long a connection may be silent before it is asked whether it lives, for an answer,
// and how often a proxy may ask that.
const (
	silence = 30 * time.Second
	answer  = 10 * time.Second
	mayAsk  = 5 * time.Second
)

// What clients may take: of time, before they have said hello or what they ask; and of
// streams on a connection, of which a proxy has one or two.
const (
	helloIn    = 10 * time.Second
	headerIn   = 5 * time.Second
	maxStreams = 16
)

// Listen opens the sockets. Register services on GRPC before Serve.
func Listen(o Options) (*Server, error) {
	options := []grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: silence, Timeout: answer}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: mayAsk, PermitWithoutStream: true}),
		grpc.ConnectionTimeout(helloIn), grpc.MaxConcurrentStreams(maxStreams),
	}
	if o.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s := &Server{grpc: grpc.NewServer(options...)}
	var err error
	if s.proxy, err = net.Listen("tcp", o.Address); err != nil {
		return nil, fmt.Errorf("listen for proxies: %w", err)
	}
	if o.Health != "" {
		if s.health, err = net.Listen("tcp", o.Health); err != nil {
			return nil, errors.Join(fmt.Errorf("listen for who asks whether all is well: %w", err), s.proxy.Close())
		}
	}
	return s, nil
}

// GRPC is the server of services.
func (s *Server) GRPC() *grpc.Server { return s.grpc }

// Addr is where proxies connect to.
func (s *Server) Addr() string { return s.proxy.Addr().String() }

// HealthAddr is where the server says whether it is well, or "".
func (s *Server) HealthAddr() string {
	if s.health == nil {
		return ""
	}
	return s.health.Addr().String()
}

// Close closes the sockets of a server that does not Serve.
func (s *Server) Close() {
	s.grpc.Stop()
	_ = s.proxy.Close() // It is closed in any case.
	if s.health != nil {
		_ = s.health.Close()
	}
}

// Serve answers proxies from when ready is closed until ctx ends.
func (s *Server) Serve(ctx context.Context, ready <-chan struct{}) error {
	ended := make(chan error, 2)
	running := 1
	h := &http.Server{Handler: s, ReadHeaderTimeout: headerIn}
	if s.health != nil {
		running++
		go func() { ended <- h.Serve(s.health) }()
	}
	go func() {
		select {
		case <-ready:
			s.ready.Store(true)
			ended <- s.grpc.Serve(s.proxy)
		case <-ctx.Done():
			ended <- s.proxy.Close()
		}
	}()
	var first error
	select {
	case <-ctx.Done():
	case first = <-ended:
		running--
	}
	s.ready.Store(false)
	s.grpc.Stop()
	_ = h.Close() // Nobody waits for what it says.
	for ; running > 0; running-- {
		<-ended
	}
	return first
}

// ServeHTTP says whether all is well: /healthz that the process runs, /readyz that it
// has read what there is and serves proxies.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/healthz", r.URL.Path == "/readyz" && s.ready.Load():
		w.WriteHeader(http.StatusOK)
	case r.URL.Path == "/readyz":
		http.Error(w, "it has not read yet what there is", http.StatusServiceUnavailable)
	default:
		http.NotFound(w, r)
	}
}
