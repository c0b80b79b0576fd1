// SPDX-License-Identifier: Apache-2.0

package faultlab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/internal/reserve"
)

// hostVariable makes this test binary a backend: it holds the address to listen at, and a
// name. The process takes orders on its standard input, one a line, and answers each with
// a line.
const hostVariable = "FAULTLAB_HOST"

// What a host can be told to do. It answers 200 with its name in x-host and, in 4 KiB of
// body, unless it is told otherwise.
const (
	serves      = "serve"
	refuses     = "refuse"      // nobody listens, and connections have been reset
	vanishes    = "vanish"      // packets that begin a connection are dropped
	hangs       = "hang"        // connections are accepted, and requests read, but never answered
	drops       = "drop"        // reads a request and resets the connection
	cuts        = "cut"         // resets the connection in the midst of a response
	unavailable = "unavailable" // answers 503
	slows       = "slow"        // answers after slowness
	// Of health alone, which is asked for at /health.
	ails      = "ail"      // answers 503
	degrades  = "degrade"  // answers 200 with x-envoy-degraded
	thrives   = "thrive"   // answers 200
	redirects = "redirect" // answers 302 to /moved, and that with 200
)

const slowness = 400 * time.Millisecond

// A host is a backend, a process of its own.
type host struct {
	t     *testing.T
	name  string
	addr  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	ended chan struct{}
}

// newHost starts a backend at an address which is its own while it is away, too.
func newHost(t *testing.T, name string) *host {
	return newHostAt(t, name, reserve.TCP(t))
}

func newHostAt(t *testing.T, name, addr string) *host {
	t.Helper()
	h := &host{t: t, name: name, addr: addr}
	h.start()
	t.Cleanup(h.kill)
	return h
}

// start begins the process, perhaps again, and waits until it serves.
func (h *host) start() {
	h.t.Helper()
	h.cmd = exec.Command(os.Args[0])
	h.cmd.Env = append(os.Environ(), hostVariable+"="+h.addr+" "+h.name)
	h.cmd.Stderr = os.Stderr
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		h.t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.out, h.ended = bufio.NewReader(out), make(chan struct{})
	if line, err := h.out.ReadString('\n'); err != nil || line != "ok\n" {
		h.t.Fatalf("host %s began with %q, %v", h.name, line, err)
	}
}

// tell has the host do something from now on, and waits until it does.
func (h *host) tell(what string) string {
	h.t.Helper()
	if _, err := fmt.Fprintln(h.in, what); err != nil {
		h.t.Fatalf("tell %s: %v", h.name, err)
	}
	line, err := h.out.ReadString('\n')
	if err != nil {
		h.t.Fatalf("host %s answers %q, %v to %q", h.name, line, err, what)
	}
	return strings.TrimSpace(line)
}

// kill ends the process at once, whatever it was doing.
func (h *host) kill() { h.end(os.Kill) }

// stop has the process finish what it does, and end.
func (h *host) stop() { h.end(syscall.SIGTERM) }

func (h *host) end(s os.Signal) {
	if h.cmd == nil {
		return
	}
	_ = h.cmd.Process.Signal(s) // It is ours, and has not been waited for.
	_ = h.cmd.Wait()            // It was killed.
	h.cmd = nil
}

// A backend is the inside of the process.
type backend struct {
	name   string
	addr   string
	doing  atomic.Value // string
	health atomic.Value
	server *http.Server
	asked  atomic.Int64

	mu    sync.Mutex
	ln    net.Listener
	conns map[net.Conn]bool
	full  []io.Closer // what keeps a vanished host's queue full
}

// beHost is the process.
func beHost(text string) error {
	addr, name, _ := strings.Cut(text, " ")
	b := &backend{name: name, addr: addr, conns: map[net.Conn]bool{}}
	b.doing.Store(serves)
	b.health.Store(thrives)
	b.server = &http.Server{Handler: b, ConnState: b.state, ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }}
	b.server.Protocols.SetHTTP1(true)
	b.server.Protocols.SetUnencryptedHTTP2(true)
	if err := b.listen(); err != nil {
		return err
	}
	term := make(chan os.Signal, 1)
	notify(term)
	go func() {
		<-term
		_ = b.server.Shutdown(context.Background()) // It ends when the last request has.
		os.Exit(0)
	}()
	fmt.Println("ok")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		answer, err := b.do(in.Text())
		if err != nil {
			return err
		}
		fmt.Println(answer)
	}
	return nil
}

func (b *backend) listen() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ln != nil {
		return nil
	}
	for _, c := range b.full {
		_ = c.Close() // They carried nothing.
	}
	b.full = nil
	var err error
	if b.ln, err = listen(b.addr, 1024); err != nil {
		return err
	}
	go b.server.Serve(b.ln)
	return nil
}

// listen is net.Listen with a queue for so many connections.
func listen(addr string, queue int) (net.Listener, error) {
	var late error
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { late = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) })
	}}
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	if queue < 1024 {
		raw, err := ln.(*net.TCPListener).SyscallConn()
		if err != nil {
			return nil, err
		}
		// Listening again changes the length of the queue.
		if err := raw.Control(func(fd uintptr) { late = syscall.Listen(int(fd), queue) }); err != nil {
			return nil, err
		}
	}
	return ln, late
}

func (b *backend) state(c net.Conn, s http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch s {
	case http.StateNew:
		b.conns[c] = true
	case http.StateClosed, http.StateHijacked:
		delete(b.conns, c)
	}
}

// away closes the listener and resets what it has accepted.
func (b *backend) away() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ln != nil {
		_ = b.ln.Close() // It has served.
		b.ln = nil
	}
	for c := range b.conns {
		reset(c)
	}
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close() // By a reset.
}

func (b *backend) do(what string) (string, error) {
	switch what {
	case "asked":
		return fmt.Sprint(b.asked.Load()), nil
	case ails, degrades, thrives:
		b.health.Store(what)
		return "ok", nil
	case refuses:
		b.away()
	case vanishes:
		b.away()
		if err := b.fill(); err != nil {
			return "", err
		}
	default:
		b.doing.Store(what)
		if err := b.listen(); err != nil {
			return "", err
		}
	}
	return "ok", nil
}

// fill listens with a queue that is full, so that the kernel drops what begins a
// connection, as if there were no such machine.
func (b *backend) fill() error {
	ln, err := listen(b.addr, 0)
	if err != nil {
		return err
	}
	b.full = append(b.full, ln)
	for {
		c, err := net.DialTimeout("tcp", b.addr, 100*time.Millisecond)
		if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
			return nil
		}
		if err != nil {
			return err
		}
		b.full = append(b.full, c)
	}
}

type connKey struct{}

// breakOff resets the connection, of HTTP/2 the stream.
func breakOff(r *http.Request) {
	if tcp, ok := r.Context().Value(connKey{}).(*net.TCPConn); ok && r.ProtoMajor == 1 {
		_ = tcp.SetLinger(0)
	}
	panic(http.ErrAbortHandler)
}

// body leaves with its head in one write of net/http, whose buffer has 4 KiB: a host that is
// killed has answered whole or not at all.
var body = strings.Repeat("fault lab. ", 300)

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("x-host", b.name)
	if r.URL.Path == "/health" {
		switch b.health.Load() {
		case ails:
			w.WriteHeader(http.StatusServiceUnavailable)
		case degrades:
			w.Header().Set("x-envoy-degraded", "true")
		}
		return
	}
	b.asked.Add(1)
	w.Header().Set("x-protocol", r.Proto)
	switch b.doing.Load() {
	case unavailable:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case hangs:
		<-r.Context().Done()
		return
	case drops:
		breakOff(r)
	case cuts:
		w.Header().Set("content-length", fmt.Sprint(len(body)))
		_, _ = io.WriteString(w, body[:len(body)/2])
		_ = http.NewResponseController(w).Flush() // Half of it is on its way.
		breakOff(r)
	case redirects:
		if r.URL.Path != "/moved" {
			w.Header().Set("location", "http://"+r.Host+"/moved")
			w.WriteHeader(http.StatusFound)
			return
		}
	case slows:
		select {
		case <-time.After(slowness):
		case <-r.Context().Done():
			return
		}
	}
	_, _ = io.WriteString(w, body) // Who is gone needs none.
}
