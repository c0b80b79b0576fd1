// SPDX-License-Identifier: Apache-2.0

package proxytest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Upstream is a server that records exactly the bytes it gets and does what a
// script says, once for each connection.
type Upstream struct {
	t      testing.TB
	ln     net.Listener
	script func(*Session)
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	sessions []*Session
	requests []string
	arrived  chan struct{} // closed and replaced at each change
}

// NewUpstream serves on a free port of 127.0.0.1 until the test ends. script
// runs on a goroutine for each connection, which is closed when it returns.
func NewUpstream(t testing.TB, script func(*Session)) *Upstream {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &Upstream{t: t, ln: ln, script: script, arrived: make(chan struct{})}
	u.wg.Go(u.accept)
	t.Cleanup(u.Close)
	return u
}

// Addr is where it listens.
func (u *Upstream) Addr() string { return u.ln.Addr().String() }

// Close ends the server and its connections; scripts that still wait see that.
func (u *Upstream) Close() {
	u.mu.Lock()
	u.closed = true
	sessions := u.sessions
	u.mu.Unlock()
	// Closed already or not: it is now.
	_ = u.ln.Close()
	for _, s := range sessions {
		_ = s.conn.Close()
		s.once.Do(func() { close(s.done) })
	}
	u.wg.Wait()
}

func (u *Upstream) accept() {
	for {
		conn, err := u.ln.Accept()
		if err != nil {
			return
		}
		s := &Session{up: u, conn: conn, done: make(chan struct{})}
		s.r = bufio.NewReader(io.TeeReader(conn, recorder{s}))
		u.mu.Lock()
		s.Number = len(u.sessions)
		u.sessions = append(u.sessions, s)
		if u.closed {
			_ = conn.Close()
			s.once.Do(func() { close(s.done) })
		}
		u.changed()
		u.mu.Unlock()
		u.wg.Go(func() {
			defer func() { _ = conn.Close() }() // Perhaps the script has.
			u.script(s)
		})
	}
}

// changed wakes who waits; with the lock held.
func (u *Upstream) changed() {
	close(u.arrived)
	u.arrived = make(chan struct{})
}

// Connections is how many connections were accepted so far.
func (u *Upstream) Connections() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.sessions)
}

// Received is all bytes that arrived so far, connection by connection.
func (u *Upstream) Received() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]string, len(u.sessions))
	for i, s := range u.sessions {
		out[i] = string(s.got)
	}
	return out
}

// Requests are the requests that Session.Request has read so far, byte for byte.
func (u *Upstream) Requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.requests...)
}

// WaitRequests waits until n requests or more have been read and returns all.
func (u *Upstream) WaitRequests(n int) []string {
	u.t.Helper()
	u.wait(func() bool { return len(u.requests) >= n }, "requests")
	return u.Requests()
}

// WaitConnections waits for n connections.
func (u *Upstream) WaitConnections(n int) {
	u.t.Helper()
	u.wait(func() bool { return len(u.sessions) >= n }, "connections")
}

func (u *Upstream) wait(ok func() bool, what string) {
	u.t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	for {
		u.mu.Lock()
		done, next := ok(), u.arrived
		n, c := len(u.requests), len(u.sessions)
		u.mu.Unlock()
		if done {
			return
		}
		select {
		case <-next:
		case <-deadline.C:
			u.t.Fatalf("the upstream waits for %s: it has %d requests on %d connections", what, n, c)
		}
	}
}

// Session is one connection of an upstream, for its script. Its methods return
// errors rather than fail: a test may close what the script reads.
type Session struct {
	// Number counts the connections of the upstream from 0.
	Number int

	up   *Upstream
	conn net.Conn
	r    *bufio.Reader
	got  []byte
	done chan struct{}
	once sync.Once
}

type recorder struct{ s *Session }

// Write records what was read.
func (r recorder) Write(p []byte) (int, error) {
	r.s.up.mu.Lock()
	r.s.got = append(r.s.got, p...)
	r.s.up.changed()
	r.s.up.mu.Unlock()
	return len(p), nil
}

// Head reads up to and with the first empty line.
func (s *Session) Head() (string, error) { return readHead(s.r) }

// ReadN reads exactly n bytes.
func (s *Session) ReadN(n int) (string, error) {
	var b strings.Builder // Grows with what is there: n may be anything a client has written.
	_, err := io.CopyN(&b, s.r, int64(n))
	return b.String(), err
}

// ReadAll reads until the proxy closes its side.
func (s *Session) ReadAll() (string, error) {
	b, err := io.ReadAll(s.r)
	return string(b), err
}

// Request reads one request, head and body, as its framing has it, and notes it
// in the upstream's Requests.
func (s *Session) Request() (string, error) {
	head, err := s.Head()
	if err != nil {
		return head, err
	}
	body, err := s.body(head)
	if err != nil {
		return head + body, err
	}
	s.Note(head + body)
	return head + body, nil
}

// Note adds a request to the upstream's Requests.
func (s *Session) Note(request string) {
	s.up.mu.Lock()
	s.up.requests = append(s.up.requests, request)
	s.up.changed()
	s.up.mu.Unlock()
}

func (s *Session) body(head string) (string, error) {
	if Field(head, "transfer-encoding") == "chunked" {
		return s.chunks()
	}
	n, err := strconv.Atoi(Field(head, "content-length"))
	if err != nil {
		return "", nil // There is none.
	}
	return s.ReadN(n)
}

func (s *Session) chunks() (string, error) {
	var b strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), err
		}
		n, err := strconv.ParseUint(strings.TrimSpace(line), 16, 31)
		if err != nil {
			return b.String(), err
		}
		if n == 0 {
			rest, err := s.trailer()
			return b.String() + rest, err
		}
		data, err := s.ReadN(int(n) + 2)
		b.WriteString(data)
		if err != nil {
			return b.String(), err
		}
	}
}

func (s *Session) trailer() (string, error) { return s.Head() }

// Field returns the value of a head's field, "" if there is none, several values
// joined by ", ".
func Field(head, name string) string {
	var values []string
	for line := range strings.Lines(head) {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return strings.Join(values, ", ")
}

// Send writes the bytes.
func (s *Session) Send(parts ...string) error {
	for _, p := range parts {
		if _, err := io.WriteString(s.conn, p); err != nil {
			return err
		}
	}
	return nil
}

// Conn is the connection itself.
func (s *Session) Conn() net.Conn { return s.conn }

// CloseWrite ends what the upstream sends.
func (s *Session) CloseWrite() error { return s.conn.(*net.TCPConn).CloseWrite() }

// Reset closes the connection with a reset.
func (s *Session) Reset() error { return reset(s.conn) }

// Hold waits until c is closed or the test ends.
func (s *Session) Hold(c <-chan struct{}) {
	select {
	case <-c:
	case <-s.done:
	}
}

// Gone waits until the proxy has closed the connection, or the test ends.
func (s *Session) Gone() error {
	_, err := io.Copy(io.Discard, s.r)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Answer is a script that answers every request with the same bytes, or each
// with its own where several are given, the last for all that follow.
func Answer(responses ...string) func(*Session) {
	return func(s *Session) {
		for i := 0; ; i++ {
			if _, err := s.Request(); err != nil {
				return
			}
			if s.Send(responses[min(i, len(responses)-1)]) != nil {
				return
			}
		}
	}
}

// OK is a response of 200 with the given body.
func OK(body string) string {
	return "HTTP/1.1 " + strconv.Itoa(http.StatusOK) + " OK\r\ncontent-length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}
