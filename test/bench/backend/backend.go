// SPDX-License-Identifier: Apache-2.0

// Package backend is the server behind the proxies of the benchmark: HTTP/1.1, HTTP/2 by prior knowledge with gRPC, and
// WebSocket echo on one epoll loop, answering from memory, so cheap that it and the load generator together can saturate
// a proxy from a single core. UDP datagrams to the same port are echoed by the same loop.
//
// It parses what it needs to find the end of a request: the head's end, the target's last segment and Content-Length.
// It trusts the proxy in front of it for everything else, and closes a connection that it does not understand. A
// request with a chunked body is answered 411.
package backend

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"weir.dev/weir/test/bench/epoll"
	"weir.dev/weir/test/bench/frame"
)

// headLimit is the largest request head, in bytes.
const headLimit = 8 << 10

// Sizes maps the last segment of a target to the length in bytes of the body it is answered with.
func Sizes() map[string]int {
	return map[string]int{"100": 100, "16k": 16 << 10, "1m": 1 << 20}
}

// A Server listens from the moment Listen returns; Serve answers.
type Server struct {
	poll   *epoll.Poller
	lfd    int
	udp    int
	wake   int
	addr   netip.AddrPort
	conns  []*conn
	canned map[string][]byte
	plain  canned
	// bodies are the same bodies without a head; message is one message of gRPC.
	bodies  map[string][]byte
	message []byte
	// scratch is what echoed messages are gathered in.
	scratch []byte
}

// canned holds the answers that have no body.
type canned struct {
	notFound, lengthRequired, badMethod, badRequest []byte
}

// conn is one connection. Its struct stays in the table when it closes and serves the next of that descriptor.
type conn struct {
	fd   int
	open bool
	// buf[:n] is what was read and not yet answered.
	buf [headLimit]byte
	n   int
	// skip is how much of a request's body is still to come.
	skip int
	// out is the rest of an answer that the kernel did not take; while there is any, nothing is read.
	out []byte
	// last closes the connection once out is written.
	last bool
	// h2 takes over a connection that begins with the preface of HTTP/2, and echo one that was upgraded to WebSocket.
	h2   *h2conn
	echo bool
}

// Listen opens the server on an IPv4 address; port 0 picks a free one.
func Listen(addr netip.AddrPort) (*Server, error) {
	lfd, got, err := epoll.Listen(addr)
	if err != nil {
		return nil, err
	}
	udp, err := epoll.ListenPacket(got)
	if err != nil {
		epoll.CloseFd(lfd)
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		epoll.CloseFd(lfd)
		epoll.CloseFd(udp)
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	poll, err := epoll.New()
	if err != nil {
		epoll.CloseFd(lfd)
		epoll.CloseFd(udp)
		epoll.CloseFd(wake)
		return nil, err
	}
	s := &Server{
		poll: poll, lfd: lfd, udp: udp, wake: wake, addr: got,
		canned: make(map[string][]byte), bodies: make(map[string][]byte), message: grpcMessage(),
	}
	for name, size := range Sizes() {
		out := answer("200 OK", size)
		s.canned[name], s.bodies[name] = out, out[len(out)-size:]
	}
	s.plain = canned{
		notFound:       answer("404 Not Found", 0),
		lengthRequired: answer("411 Length Required", 0),
		badMethod:      answer("405 Method Not Allowed", 0),
		badRequest:     answer("400 Bad Request", 0),
	}
	return s, nil
}

// answer is a whole response with a body of size bytes.
func answer(status string, size int) []byte {
	head := "HTTP/1.1 " + status + "\r\nContent-Type: text/plain\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n"
	return append([]byte(head), bytes.Repeat([]byte("weir"), size/4+1)[:size]...)
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Serve answers until Close, on the calling goroutine, and then closes every descriptor it holds.
func (s *Server) Serve() error {
	defer s.release()
	for _, fd := range []int{s.lfd, s.udp, s.wake} {
		if err := s.poll.Add(fd, epoll.In); err != nil {
			return err
		}
	}
	datagram := make([]byte, 64<<10)
	events := make([]epoll.Event, 256)
	for {
		n, err := s.poll.Wait(events, -1)
		if err != nil {
			return err
		}
		for i := range events[:n] {
			ev := &events[i]
			switch fd := int(ev.Fd); {
			case fd == s.lfd:
				s.accept()
			case fd == s.udp:
				for range 64 { // What is left makes the next wait return at once.
					if epoll.Echo(fd, datagram) != 0 {
						break
					}
				}
			case fd == s.wake:
				return nil
			case s.conns[fd].open:
				s.ready(s.conns[fd])
			}
		}
	}
}

// Close makes Serve return; it may be called from any goroutine, while Serve runs.
func (s *Server) Close() error {
	if _, err := unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return fmt.Errorf("wake the backend: %w", err)
	}
	return nil
}

func (s *Server) release() {
	for _, c := range s.conns {
		if c != nil && c.open {
			epoll.CloseFd(c.fd)
		}
	}
	epoll.CloseFd(s.lfd)
	epoll.CloseFd(s.udp)
	epoll.CloseFd(s.wake)
	_ = s.poll.Close() // Nothing is registered any more and nothing was written through it.
}

func (s *Server) accept() {
	for {
		fd, errno := epoll.Accept(s.lfd)
		if errno != 0 {
			// EAGAIN ends the batch; any other error is of that one connection and the next wait reports the rest.
			return
		}
		for len(s.conns) <= fd {
			s.conns = append(s.conns, nil)
		}
		c := s.conns[fd]
		if c == nil {
			c = &conn{}
			s.conns[fd] = c
		}
		c.fd, c.open, c.n, c.skip, c.out, c.last, c.h2, c.echo = fd, true, 0, 0, nil, false, nil, false
		if err := s.poll.Add(fd, epoll.In); err != nil {
			c.close()
		}
	}
}

func (c *conn) close() {
	c.open, c.out, c.h2 = false, nil, nil
	epoll.CloseFd(c.fd)
}

// ready writes what is left to write, or else reads once and answers every request that is complete.
func (s *Server) ready(c *conn) {
	if len(c.out) > 0 {
		rest := c.out
		c.out = nil
		if !s.send(c, rest) || len(c.out) > 0 {
			return
		}
		if err := s.poll.Change(c.fd, epoll.In); err != nil {
			c.close()
			return
		}
		s.turn(c)
		return
	}
	if c.h2 != nil {
		s.readH2(c)
		return
	}
	n, errno := epoll.Read(c.fd, c.buf[c.n:])
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return
	case errno != 0 || n == 0:
		c.close()
		return
	}
	c.n += n
	s.turn(c)
}

// turn answers what the buffer holds in the connection's protocol, which the first bytes of it tell.
func (s *Server) turn(c *conn) {
	switch {
	case c.h2 != nil:
		s.pump(c)
	case c.echo:
		s.echo(c)
	case c.n >= 3 && string(c.buf[:3]) == frame.Preface[:3]:
		s.startH2(c)
	default:
		s.serve(c)
	}
}

// serve answers the requests in the buffer until one is incomplete or an answer does not fit into the socket.
func (s *Server) serve(c *conn) {
	pos := 0
	for c.open && len(c.out) == 0 && !c.last {
		k := min(c.skip, c.n-pos)
		pos, c.skip = pos+k, c.skip-k
		if c.skip > 0 || pos == c.n {
			break
		}
		head := bytes.Index(c.buf[pos:c.n], []byte("\r\n\r\n"))
		if head < 0 {
			break
		}
		text := c.buf[pos : pos+head+4]
		out, body, last := s.respond(text)
		pos, c.skip, c.last = pos+head+4, body, last
		if out == nil {
			out, c.echo = s.upgrade(text)
		}
		s.send(c, out)
		if c.echo {
			break
		}
	}
	if !c.open {
		return
	}
	if pos > 0 {
		c.n = copy(c.buf[:], c.buf[pos:c.n])
	}
	if c.n == headLimit && len(c.out) == 0 && c.skip == 0 {
		c.close()
	}
}

// send writes b; what the kernel does not take waits in c.out for the socket to drain. It reports whether c is open.
func (s *Server) send(c *conn, b []byte) bool {
	for len(b) > 0 {
		n, errno := epoll.Send(c.fd, b)
		switch errno {
		case 0:
			b = b[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			c.out = b
			if err := s.poll.Change(c.fd, epoll.Out); err != nil {
				c.close()
			}
			return c.open
		default:
			c.close()
			return false
		}
	}
	if c.last {
		c.close()
	}
	return c.open
}

// respond chooses the answer to a request head, says how long the request's body is, and whether the connection must
// end because where the next request begins is not known. No answer at all means that the request asks for WebSocket.
func (s *Server) respond(head []byte) (out []byte, body int, last bool) {
	method, rest, _ := bytes.Cut(head, []byte(" "))
	target, _, _ := bytes.Cut(rest, []byte(" "))
	switch string(method) {
	case "GET":
		if bytes.HasSuffix(target, []byte("/ws")) {
			return nil, 0, false
		}
	case "POST", "PUT":
		n, ok := contentLength(head)
		if !ok {
			return s.plain.lengthRequired, 0, true
		}
		body = n
	default:
		return s.plain.badMethod, 0, true
	}
	out, ok := s.canned[string(target[bytes.LastIndexByte(target, '/')+1:])]
	if !ok {
		out = s.plain.notFound
	}
	return out, body, false
}

// contentLength finds the field in a head; ok is false when it is missing or not a length.
func contentLength(head []byte) (n int, ok bool) {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found || !bytes.EqualFold(name, []byte("content-length")) {
			continue
		}
		n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
		return n, err == nil && n >= 0
	}
	return 0, false
}
