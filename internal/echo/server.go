// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// A Server serves Handler on one or more addresses: HTTP/1.1, and HTTP/2 without TLS for clients that begin
// with it (prior knowledge).
type Server struct {
	http      *http.Server
	listeners []net.Listener
	serving   sync.WaitGroup
	failed    chan error // holds one error of a listener, if any
	// end ends the requests' contexts, and with them the WebSockets, which http.Server forgets.
	end context.CancelFunc
}

// Listen binds all addresses, each "host:port" (":0" picks a port) or "unix:PATH", and serves on them until
// Shutdown or Close. If one cannot be bound, none stays bound.
func Listen(name string, addresses ...string) (*Server, error) {
	if len(addresses) == 0 {
		return nil, errors.New("echo: no address to listen on")
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &Server{
		http: &http.Server{
			Handler:           Handler(name),
			Protocols:         &protocols,
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       5 * time.Minute,
			MaxHeaderBytes:    256 << 10,
		},
		failed: make(chan error, 1),
	}
	var ctx context.Context
	ctx, s.end = context.WithCancel(context.Background())
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	for _, a := range addresses {
		network := "tcp"
		if path, ok := cutUnix(a); ok {
			network, a = "unix", path
		}
		l, err := net.Listen(network, a)
		if err != nil {
			s.end()
			for _, bound := range s.listeners {
				_ = bound.Close() // The error to tell is that of the bind.
			}
			return nil, fmt.Errorf("echo %s: bind %s: %w", name, a, err)
		}
		s.listeners = append(s.listeners, l)
	}
	for _, l := range s.listeners {
		s.serving.Go(func() {
			if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				select {
				case s.failed <- fmt.Errorf("echo %s: serve %s: %w", name, l.Addr(), err):
				default:
				}
			}
		})
	}
	return s, nil
}

// cutUnix returns the path of an address "unix:PATH".
func cutUnix(address string) (string, bool) {
	const prefix = "unix:"
	if len(address) > len(prefix) && address[:len(prefix)] == prefix {
		return address[len(prefix):], true
	}
	return "", false
}

// Addresses are those bound, in the order given to Listen, with the ports that ":0" picked.
func (s *Server) Addresses() []string {
	out := make([]string, 0, len(s.listeners))
	for _, l := range s.listeners {
		out = append(out, l.Addr().String())
	}
	return out
}

// Failed yields an error if a listener stops by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Shutdown closes the listeners, lets requests in flight finish until ctx ends, then closes what is left.
// The error is ctx's if it ended first.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close() // What Shutdown could not wait for is cut; its error is the one to tell.
	}
	s.end()
	s.serving.Wait()
	return err
}

// Close ends at once.
func (s *Server) Close() error {
	err := s.http.Close()
	s.end()
	s.serving.Wait()
	return err
}
