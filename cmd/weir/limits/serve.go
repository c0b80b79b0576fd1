// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/control/limiter/rls"
)

// ServeOptions say where proxies ask.
type ServeOptions struct {
	// GRPC is the address of the service, HTTP that of health, statistics and JSON; "" is
	// nowhere.
	GRPC, HTTP string
	// TLS of the service; nil is cleartext.
	TLS *tls.Config
	RLS rls.Options
}

// What clients may take.
const (
	maxMessage = 1 << 20
	helloIn    = 10 * time.Second
	headerIn   = 5 * time.Second
	silence    = 30 * time.Second
	mayAsk     = 5 * time.Second
)

// A Server answers proxies elsewhere.
type Server struct {
	limits  *Limits
	service *rls.Service
	grpc    *grpc.Server
	health  *health.Server
	socket  net.Listener
	web     net.Listener // or nil
	ready   atomic.Bool
}

// Listen opens the sockets.
func Listen(l *Limits, o ServeOptions) (*Server, error) {
	options := []grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: silence}), grpc.MaxRecvMsgSize(maxMessage), grpc.ConnectionTimeout(helloIn),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: mayAsk, PermitWithoutStream: true}),
	}
	if o.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s := &Server{limits: l, service: rls.New(l.limiter, o.RLS), grpc: grpc.NewServer(options...), health: health.NewServer()}
	ratelimitv3.RegisterRateLimitServiceServer(s.grpc, s.service)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	var err error
	if s.socket, err = net.Listen("tcp", o.GRPC); err != nil {
		return nil, fmt.Errorf("listen for proxies: %w", err)
	}
	if o.HTTP != "" {
		if s.web, err = net.Listen("tcp", o.HTTP); err != nil {
			return nil, errors.Join(fmt.Errorf("listen for who asks whether all is well: %w", err), s.socket.Close())
		}
	}
	return s, nil
}

// Addr is where proxies ask, HTTPAddr where people do.
func (s *Server) Addr() string { return s.socket.Addr().String() }

// HTTPAddr is "" if there is none.
func (s *Server) HTTPAddr() string {
	if s.web == nil {
		return ""
	}
	return s.web.Addr().String()
}

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	ended := make(chan error, 2)
	running := 1
	s.ready.Store(true)
	s.health.SetServingStatus(ratelimitv3.RateLimitService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	h := &http.Server{Handler: s.handler(), ReadHeaderTimeout: headerIn, ReadTimeout: helloIn, MaxHeaderBytes: 16 << 10}
	if s.web != nil {
		running++
		go func() { ended <- h.Serve(s.web) }()
	}
	go func() { ended <- s.grpc.Serve(s.socket) }()
	var first error
	select {
	case <-ctx.Done():
	case first = <-ended:
		running--
	}
	s.ready.Store(false)
	s.health.Shutdown()
	s.stop()
	_ = h.Close() // Nobody waits for what it says.
	for ; running > 0; running-- {
		<-ended
	}
	return first
}

// grace is how long calls may take that have begun.
const grace = 5 * time.Second

func (s *Server) stop() {
	t := time.AfterFunc(grace, s.grpc.Stop)
	defer t.Stop()
	s.grpc.GracefulStop()
}

func (s *Server) handler() http.Handler {
	m := http.NewServeMux()
	well := func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready.Load() {
			http.Error(w, "it ends", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "OK")
	}
	for _, path := range []string{"/healthcheck", "/healthz", "/readyz"} {
		m.HandleFunc("GET "+path, well)
	}
	m.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		for name, n := range s.limits.limiter.Stats().All() {
			fmt.Fprintf(w, "ratelimit.service.%s: %d\n", name, n)
		}
	})
	m.HandleFunc("GET /metrics", s.metrics)
	m.HandleFunc("GET /rlconfig", func(w http.ResponseWriter, _ *http.Request) {
		for _, d := range s.limits.Domains() {
			fmt.Fprintln(w, protojson.Format(d.Message()))
		}
	})
	m.HandleFunc("POST /json", s.json)
	return m
}

// metrics tells the statistics in Prometheus' form.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("content-type", "text/plain; version=0.0.4")
	for name, n := range s.limits.limiter.Stats().All() {
		rest, ofLimit := strings.CutPrefix(name, "rate_limit.")
		if !ofLimit {
			fmt.Fprintf(w, "ratelimit_service_%s %d\n", name, n)
			continue
		}
		dot := strings.LastIndexByte(rest, '.')
		label, _ := json.Marshal(rest[:dot]) // Text is always JSON.
		fmt.Fprintf(w, "ratelimit_service_rate_limit_%s{limit=%s} %d\n", rest[dot+1:], label, n)
	}
}

// json answers a RateLimitRequest in JSON: with 429 if it is over a limit.
func (s *Server) json(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	var m ratelimitv3.RateLimitRequest
	if err == nil {
		err = protojson.Unmarshal(data, &m)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := s.service.ShouldRateLimit(r.Context(), &m)
	if err != nil {
		code := http.StatusServiceUnavailable
		if status.Code(err) == codes.InvalidArgument {
			code = http.StatusBadRequest
		}
		http.Error(w, status.Convert(err).Message(), code)
		return
	}
	w.Header().Set("content-type", "application/json")
	if answer.GetOverallCode() == ratelimitv3.RateLimitResponse_OVER_LIMIT {
		w.WriteHeader(http.StatusTooManyRequests)
	}
	fmt.Fprintln(w, protojson.Format(answer))
}
