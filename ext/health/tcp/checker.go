// SPDX-License-Identifier: Apache-2.0

// Package tcp asks hosts whether they are well by a connection, and perhaps by bytes that
// are sent and expected on it (envoy.health_checkers.tcp).
package tcp

import (
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/upstream/health"
)

// header is which PROXY protocol header begins a connection.
type header uint8

const (
	noProxy header = iota
	proxyV1        // with the connection's own ends
	proxyV2        // that the sender speaks for itself
)

// checker is a compiled TcpHealthCheck.
type checker struct {
	send    []byte
	receive health.Payload // empty only connects
	proxy   header
}

// Session returns what asks one host.
func (c *checker) Session(p *health.Probe) health.Session { return &session{checker: c, probe: p} }

type session struct {
	*checker
	probe *health.Probe
	link  *health.Link // kept from the last check
}

// Close closes the connection that is kept.
func (s *session) Close() {
	if s.link != nil {
		s.link.Close()
		s.link = nil
	}
}

// Check connects, sends and reads until all that is expected has come.
func (s *session) Check(t *engine.Task) (health.Result, error) {
	l, err := s.connect(t)
	if err != nil {
		return health.Result{}, err
	}
	err = s.exchange(l)
	if err != nil || len(s.receive) == 0 || !s.probe.Config().Reuse {
		l.Close()
		return health.Result{Verdict: health.Passed}, err
	}
	l.Rest()
	s.link = l
	return health.Result{Verdict: health.Passed}, nil
}

func (s *session) connect(t *engine.Task) (*health.Link, error) {
	l := s.link
	s.link = nil
	if l != nil && l.Take(s.probe) {
		return l, nil
	}
	l, err := s.probe.Connect(t)
	if err != nil {
		return nil, err
	}
	var hello []byte
	switch s.proxy {
	case proxyV1:
		hello = proxyproto.AppendV1(nil, l.Info.Local, l.Info.Remote)
	case proxyV2:
		hello = proxyproto.AppendLocalV2(nil)
	case noProxy:
		return l, nil
	}
	if _, err := l.Transport.Write(hello); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (s *session) exchange(l *health.Link) error {
	if len(s.send) > 0 {
		if _, err := l.Transport.Write(s.send); err != nil {
			return err
		}
	}
	if len(s.receive) == 0 {
		return nil
	}
	loop := l.Socket.Loop()
	search := s.receive.Search()
	for {
		// A host that keeps silent holds no buffer, but for what TLS needs.
		if l.Ends().Plain {
			if err := l.Socket.AwaitRead(); err != nil {
				return err
			}
		}
		found, err := s.read(l, loop, &search)
		if found || err != nil {
			return err
		}
	}
}

// read looks at one piece of what comes.
func (s *session) read(l *health.Link, loop *engine.Loop, search *health.Search) (found bool, err error) {
	b := loop.Buffer()
	defer loop.PutBuffer(b)
	n, err := l.Transport.Read(b)
	if search.Feed(b[:n]) {
		return true, nil
	}
	return false, err
}
