// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"weir.dev/weir/control/registration"
)

// registry serves version 1 of Envoy's service discovery until it is stopped.
type registry struct {
	registration.Server
	web  http.Server
	done chan struct{}
}

// serveRegistration listens at an address.
func serveRegistration(address string, log *slog.Logger) (*registry, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--registration %q: %w", address, err)
	}
	r := &registry{done: make(chan struct{})}
	r.web = http.Server{
		Handler: &r.Server, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.Info("answer version 1 of service discovery", "address", l.Addr().String())
	go func() {
		defer close(r.done)
		if err := r.web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("version 1 of service discovery is answered no more", "error", err)
		}
	}()
	return r, nil
}

// stop ends it; a nil registry is none.
func (r *registry) stop() {
	if r != nil {
		_ = r.web.Close() // Whoever was being answered asks again.
		<-r.done
	}
}
