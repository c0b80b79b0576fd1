// SPDX-License-Identifier: Apache-2.0

package fnserver

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A Listener serves a Server on an address.
type Listener struct {
	server  *Server
	http    *http.Server
	serving sync.WaitGroup
}

// Listen binds an address, "host:port" or "unix:PATH", and serves s on it until Close,
// which closes s as well.
func Listen(s *Server, address string) (*Listener, error) {
	network, at := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, at = "unix", path
	}
	ln, err := net.Listen(network, at)
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("bind %s: %w", address, err)
	}
	l := &Listener{server: s, http: &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute}}
	l.serving.Go(func() { _ = l.http.Serve(ln) }) // It ends by Close, or its clients see.
	return l, nil
}

// Close ends all connections, and returns when nothing runs any more.
func (l *Listener) Close() error {
	err := l.http.Close()
	l.serving.Wait()
	l.server.Close()
	return err
}
