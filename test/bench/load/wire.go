// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir.dev/weir/test/bench/epoll"
)

// A wire is a connected socket, in cleartext or in TLS.
type wire struct {
	fd     int
	secure *tls.Conn
	raw    *socket
}

// connect opens a wire and shakes hands where the spec asks for TLS; proto is what must be agreed on by ALPN.
func (l *loop) connect(source netip.Addr, proto string) (wire, error) {
	fd, err := epoll.Dial(l.addr, source)
	if err != nil {
		return wire{}, err
	}
	w := wire{fd: fd}
	if len(l.spec.Cert) == 0 {
		return w, nil
	}
	w.raw = &socket{fd: fd, patient: true}
	w.secure = tls.Client(w.raw, clientTLS(l.spec, proto))
	if err := w.secure.Handshake(); err != nil {
		epoll.CloseFd(fd)
		return wire{}, fmt.Errorf("shake hands with %s: %w", l.addr, err)
	}
	w.raw.patient = false
	return w, nil
}

// clientTLS allows one way only, so that every proxy does the same work: TLS 1.3, X25519, AES-128-GCM (which
// crypto/tls offers first and the proxies are told to take), and a full handshake, as there is no session cache. The
// certificate is compared and not verified: the client's time is not what is measured.
func clientTLS(spec Spec, proto string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   []tls.CurveID{tls.X25519},
		ServerName:         "bench.test",
		NextProtos:         []string{proto},
		InsecureSkipVerify: true,
		VerifyConnection: func(st tls.ConnectionState) error {
			switch {
			case st.DidResume:
				return fmt.Errorf("the session was resumed: not a full handshake")
			case st.CipherSuite != tls.TLS_AES_128_GCM_SHA256:
				return fmt.Errorf("cipher suite %s, and not the one that all must use", tls.CipherSuiteName(st.CipherSuite))
			case len(st.PeerCertificates) != 1 || !bytes.Equal(st.PeerCertificates[0].Raw, spec.Cert):
				return fmt.Errorf("another certificate than the one that all must show")
			case st.NegotiatedProtocol != proto:
				return fmt.Errorf("protocol %q by ALPN in place of %q", st.NegotiatedProtocol, proto)
			}
			return nil
		},
	}
}

// event says that the socket has something to read again.
func (w *wire) event() {
	if w.raw != nil {
		w.raw.drained = false
	}
}

// read reads what is there into b: EAGAIN when nothing is, 0 with no error at the end. In TLS it must be called until it
// says EAGAIN or all that is wanted has come, as what was read of the socket already makes no event.
func (w *wire) read(b []byte) (int, syscall.Errno) {
	if w.secure == nil {
		return epoll.Read(w.fd, b)
	}
	n, err := w.secure.Read(b)
	return n, number(err)
}

// write sends b, which the socket is expected to take whole.
func (w *wire) write(b []byte) (int, syscall.Errno) {
	if w.secure == nil {
		return epoll.Send(w.fd, b)
	}
	n, err := w.secure.Write(b)
	return n, number(err)
}

// discard is read where nobody looks at the bytes.
func (w *wire) discard(scratch []byte) (int, syscall.Errno) {
	if w.secure == nil {
		return epoll.Discard(w.fd, scratch)
	}
	return w.read(scratch)
}

// number is the errno of an error of TLS; what is not the socket's is a broken protocol.
func number(err error) syscall.Errno {
	if err == nil || errors.Is(err, io.EOF) {
		return 0
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return syscall.EPROTO
}

// A socket is a non-blocking descriptor as crypto/tls wants it. EAGAIN is a temporary error to it, after which it can be
// called again, but not during the handshake: then the socket is patient and waits.
type socket struct {
	fd      int
	patient bool
	// drained says that the last read did not fill its buffer, so that another would only say EAGAIN.
	drained bool
}

// handshakeLimit is how long a patient socket waits, in milliseconds.
const handshakeLimit = 10_000

func (s *socket) Read(b []byte) (int, error) {
	if s.drained {
		return 0, syscall.EAGAIN
	}
	for {
		n, errno := epoll.Read(s.fd, b)
		switch {
		case errno == syscall.EAGAIN && s.patient:
			if err := s.await(); err != nil {
				return 0, err
			}
		case errno == syscall.EINTR:
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.EOF
		default:
			s.drained = !s.patient && n < len(b)
			return n, nil
		}
	}
}

func (s *socket) await() error {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, handshakeLimit)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		default:
			return nil
		}
	}
}

func (s *socket) Write(b []byte) (int, error) {
	n, errno := epoll.Send(s.fd, b)
	if errno != 0 {
		return 0, errno
	}
	if n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// Close leaves the descriptor to the loop that opened it.
func (s *socket) Close() error { return nil }

// The rest of net.Conn has no use here.
func (s *socket) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *socket) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetReadDeadline(time.Time) error  { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }
