// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"net/netip"
	"syscall"

	"weir.dev/weir/test/bench/epoll"
)

// A shaker is a closed loop of connections that shake hands, send one request and close. crypto/tls would need as much
// CPU for that as the servers do, so this does only what a server cannot do without: it derives the keys, and compares
// the certificate and checks Finished, but does not check the signature. A hello that offers nothing to resume and the
// server's certificate in its answer are what make a handshake a full one, so what is answered is as many full ones.
// The first connection of a run is crypto/tls's, which checks everything.
type shaker struct {
	loop
	hello   *hello
	first   []byte // the record with the hello
	request []byte
	dialled int
}

// A stage is what a connection waits for.
type stage int

const (
	greeting stage = iota // ServerHello
	proof                 // the rest of the server's flight
	answer
)

// A shake is one connection. Its socket is replaced after each answer.
type shake struct {
	c   *shaker
	fd  int
	at  stage
	buf [16 << 10]byte
	n   int
	// transcript hashes the messages, flight holds those of the server's that are not taken yet.
	transcript hash.Hash
	flight     []byte
	// proven is whether the server's certificate was seen, signed its signature.
	proven, signed bool
	secret         []byte // the handshake's
	in, out        *half
	text           []byte // the answer as far as it came
}

// handshakes runs the closed loop.
func handshakes(spec Spec, hooks Hooks) (Result, error) {
	if len(spec.Cert) == 0 {
		return Result{}, fmt.Errorf("handshakes need the certificate that the server shows")
	}
	l, err := newLoop(spec)
	if err != nil {
		return Result{}, err
	}
	c := &shaker{
		loop:    l,
		request: []byte("GET " + spec.Path + " HTTP/1.1\r\nHost: " + spec.Host + "\r\nUser-Agent: weir-bench\r\nAccept: */*\r\n\r\n"),
	}
	defer c.close()
	w, err := c.connect(netip.Addr{}, "http/1.1")
	if err != nil {
		return c.res, err
	}
	epoll.CloseFd(w.fd)
	if c.hello, err = newHello(spec.Cert); err != nil {
		return c.res, err
	}
	c.first = c.hello.record()
	for range spec.Conns {
		if err := c.dial(&shake{c: c, transcript: sha256.New()}); err != nil {
			return c.res, err
		}
	}
	return c.closed(hooks)
}

// dial connects anew and says hello. Connections come from several addresses, so that ports do not run out.
func (c *shaker) dial(s *shake) error {
	c.dialled++
	fd, err := epoll.Dial(c.addr, netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + c.dialled%sources)}))
	if err != nil {
		return err
	}
	s.fd, s.at, s.n, s.flight, s.text = fd, greeting, 0, s.flight[:0], s.text[:0]
	s.proven, s.signed, s.in, s.out = false, false, nil, nil
	s.transcript.Reset()
	s.transcript.Write(c.hello.message)
	if err := c.add(fd, s); err != nil {
		return err
	}
	return s.send(c.first)
}

func (s *shake) send(b []byte) error {
	n, errno := epoll.Send(s.fd, b)
	switch {
	case errno == syscall.EPIPE || errno == syscall.ECONNRESET:
		// The read that follows reports it: the event is pending.
		return nil
	case errno != 0:
		return fmt.Errorf("shake hands: %w", errno)
	case n < len(b):
		return fmt.Errorf("shake hands: the kernel took %d of %d bytes", n, len(b))
	}
	return nil
}

// readable reads once and takes every record that is complete.
func (s *shake) readable() error {
	n, errno := epoll.Read(s.fd, s.buf[s.n:])
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return nil
	case errno != 0 || n == 0:
		s.c.res.Broken++
		return s.again()
	}
	s.n += n
	pos := 0
	for s.n-pos >= 5 {
		length := 5 + int(binary.BigEndian.Uint16(s.buf[pos+3:]))
		if length > len(s.buf) {
			return fmt.Errorf("shake hands: a record of %d bytes", length)
		}
		if s.n-pos < length {
			break
		}
		done, err := s.record(s.buf[pos : pos+length])
		if err != nil {
			return fmt.Errorf("shake hands: %w", err)
		}
		if done {
			return s.again()
		}
		pos += length
	}
	s.n = copy(s.buf[:], s.buf[pos:s.n])
	return nil
}

// again closes the connection and opens the next.
func (s *shake) again() error {
	s.c.remove(s.fd)
	if s.c.res.Wrong() > wrongLimit {
		return nil // turn ends the run; another connection would break as well.
	}
	return s.c.dial(s)
}

// record takes one record; done says that the connection has done its work.
func (s *shake) record(r []byte) (done bool, err error) {
	typ, content := r[0], r[5:]
	if typ == changeCipherSpec {
		return false, nil // RFC 8446 §5: it means nothing, and may come.
	}
	if s.in != nil && typ == applicationData {
		if typ, content, err = s.in.open(r); err != nil {
			return false, err
		}
	}
	switch {
	case typ == handshakeRecord && s.at != answer:
		s.flight = append(s.flight, content...)
		return false, s.messages()
	case typ == applicationData && s.at == answer:
		s.text = append(s.text, content...)
		return s.answered()
	case typ == handshakeRecord && len(content) > 0 && content[0] == newSessionTicket:
		return false, fmt.Errorf("the server gave out a ticket, which nobody asked for")
	case typ == alert:
		return false, fmt.Errorf("alert %x", content)
	}
	return false, fmt.Errorf("a record of type %d where none belongs", typ)
}

// messages takes every message of the flight that is complete.
func (s *shake) messages() error {
	pos := 0
	for len(s.flight)-pos >= 4 {
		length := 4 + int(binary.BigEndian.Uint32(s.flight[pos:])&0xffffff)
		if len(s.flight)-pos < length {
			break
		}
		if err := s.message(s.flight[pos : pos+length]); err != nil {
			return err
		}
		pos += length
	}
	s.flight = append(s.flight[:0], s.flight[pos:]...)
	return nil
}

func (s *shake) message(m []byte) error {
	switch {
	case m[0] == serverHello && s.at == greeting:
		s.transcript.Write(m)
		s.at = proof
		return s.agree(m)
	case m[0] == encryptedExtensions && s.at == proof:
	case m[0] == certificate && s.at == proof:
		if !bytes.Contains(m, s.c.spec.Cert) {
			return fmt.Errorf("another certificate than the one that all must show")
		}
		s.proven = true
	case m[0] == certificateVerify && s.at == proof:
		s.signed = true
	case m[0] == finished && s.at == proof && s.proven && s.signed:
		return s.finish(m)
	default:
		return fmt.Errorf("a message of type %d where none belongs", m[0])
	}
	s.transcript.Write(m)
	return nil
}

// agree derives the keys of the handshake.
func (s *shake) agree(m []byte) error {
	share, err := keyShare(m)
	if err != nil {
		return err
	}
	theirs, err := ecdh.X25519().NewPublicKey(share)
	if err != nil {
		return fmt.Errorf("read the server's share: %w", err)
	}
	shared, err := s.c.hello.key.ECDH(theirs)
	if err != nil {
		return fmt.Errorf("agree on a secret: %w", err)
	}
	if s.secret, err = hkdf.Extract(sha256.New, shared, s.c.hello.derived); err != nil {
		return fmt.Errorf("derive keys: %w", err)
	}
	so := s.transcript.Sum(nil)
	if s.in, err = newHalf(s.secret, "s hs traffic", so); err != nil {
		return err
	}
	s.out, err = newHalf(s.secret, "c hs traffic", so)
	return err
}

// finish checks the server's Finished, sends the client's and the request, and derives the keys of the rest.
func (s *shake) finish(m []byte) error {
	want, err := s.in.confirm(s.transcript.Sum(nil))
	if err != nil {
		return err
	}
	if !hmac.Equal(want, m[4:]) {
		return fmt.Errorf("the server's Finished is not of this handshake")
	}
	s.transcript.Write(m)
	so, empty := s.transcript.Sum(nil), sha256.Sum256(nil)
	mine, err := s.out.confirm(so)
	if err != nil {
		return err
	}
	if err := s.send(s.out.seal(nil, handshakeRecord, append([]byte{finished, 0, 0, byte(len(mine))}, mine...))); err != nil {
		return err
	}
	derived, err := expand(s.secret, "derived", empty[:], sha256.Size)
	if err != nil {
		return err
	}
	master, err := hkdf.Extract(sha256.New, make([]byte, sha256.Size), derived)
	if err != nil {
		return fmt.Errorf("derive keys: %w", err)
	}
	if s.in, err = newHalf(master, "s ap traffic", so); err != nil {
		return err
	}
	if s.out, err = newHalf(master, "c ap traffic", so); err != nil {
		return err
	}
	s.at = answer
	return s.send(s.out.seal(nil, applicationData, s.c.request))
}

// answered counts the answer once it is whole.
func (s *shake) answered() (bool, error) {
	head, status, length, err := parseHead(s.text)
	if err != nil || head == 0 {
		return false, err
	}
	res := &s.c.res
	switch {
	case status != 200:
		res.BadStatus++
	case length != s.c.spec.Length || len(s.text) > head+length:
		res.BadLength++
	case len(s.text) < head+length:
		return false, nil
	default:
		res.Answered++
		res.Bytes += uint64(length)
	}
	return true, nil
}
