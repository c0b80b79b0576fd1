// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// listening is the listener of an Admin, and its goroutine.
type listening struct {
	mu     sync.Mutex
	ln     net.Listener
	server *http.Server
	log    *accessLog
	done   chan struct{}
}

// Start binds the address and serves it until [Admin.Close]. An error says why it could not be bound or a log not be opened.
func (a *Admin) Start(ctx context.Context) error {
	l := &a.listening
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ln != nil {
		return errors.New("start admin: it is already started")
	}
	network, addr := cmp.Or(a.cfg.Network, "tcp"), cmp.Or(a.cfg.Address, "127.0.0.1:0")
	if network == "unix" {
		removeStale(addr)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, network, addr)
	if err != nil {
		return fmt.Errorf("bind admin address: %w", err)
	}
	if network == "unix" && a.cfg.SocketMode != 0 {
		if err := os.Chmod(addr, fs.FileMode(a.cfg.SocketMode)); err != nil {
			return errors.Join(fmt.Errorf("set mode of admin socket: %w", err), ln.Close())
		}
	}
	logs, err := openAccessLog(a.cfg.AccessLogs)
	if err != nil {
		return errors.Join(fmt.Errorf("open admin access log: %w", err), ln.Close())
	}
	l.ln, l.log, l.done = ln, logs, make(chan struct{})
	l.server = &http.Server{
		Handler:           logs.wrap(a),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    60 << 10, // Envoy's max_request_headers_kb
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	go func(done chan struct{}) {
		defer close(done)
		_ = l.server.Serve(ln) // it always ends with the error of being closed
	}(l.done)
	return nil
}

// removeStale removes the socket a killed process left, if nobody listens on it.
func removeStale(path string) {
	if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeSocket == 0 {
		return
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return
	}
	_ = os.Remove(path)
}

// Addr is the address bound to, nil before Start and after Close.
func (a *Admin) Addr() net.Addr {
	a.listening.mu.Lock()
	defer a.listening.mu.Unlock()
	if a.listening.ln == nil {
		return nil
	}
	return a.listening.ln.Addr()
}

// Close ends the listener, all its connections and a running CPU profile, and waits for the listener's goroutine. Without
// Start it does nothing.
func (a *Admin) Close() error {
	a.profile.close()
	l := &a.listening
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ln == nil {
		return nil
	}
	err := l.server.Close()
	<-l.done
	l.ln = nil
	return errors.Join(err, l.log.close())
}

// ReopenLogs opens the access logs' files anew, for log rotation. On an error the old file stays in use.
func (a *Admin) ReopenLogs() error {
	a.listening.mu.Lock()
	defer a.listening.mu.Unlock()
	if a.listening.ln == nil {
		return nil
	}
	return a.listening.log.reopen()
}
