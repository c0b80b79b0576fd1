// SPDX-License-Identifier: Apache-2.0

// Package tls is TLS on event loops, downstream and upstream: Envoy's TLS contexts
// compiled for crypto/tls, the handshake with its statistics and what is told of it
// afterwards, and the layer that moves a connection's bytes ([Conn]).
//
// Certificates, what peers are verified against and session ticket keys are slots of
// proxy/secret: a context looks at each handshake whether one of them has changed,
// and if so makes its crypto/tls configuration anew. Connections that are open keep
// what they began with.
package tls

import (
	"crypto/tls"
	"sync"
	"sync/atomic"

	"weir.dev/weir/proxy/secret"
)

// settings are what does not change in a context.
type settings struct {
	min, max uint16
	suites   []uint16
	groups   []tls.CurveID
	alpn     []string

	// certificates and validation are where secrets are found; validation is nil if
	// peers are not verified.
	certificates []*secret.Slot
	validation   *secret.Slot
	// combine makes the validation of the one in the slot and the configured defaults;
	// nil takes it as it is.
	combine func(*secret.Value) (*secret.Validation, error)
	keyLog  *keyLog
	// sds tells that one of the secrets is fetched, not part of the configuration.
	sds bool

	group *secret.Group
	names *names
	// buffers are for records on their way to the socket.
	buffers sync.Pool
}

// base is the configuration that all of a context's handshakes share.
func (s *settings) base() *tls.Config {
	return &tls.Config{
		MinVersion: s.min, MaxVersion: s.max, CipherSuites: s.suites, CurvePreferences: s.groups, NextProtos: s.alpn,
		// Records are as large as they may be, as BoringSSL's: fewer of them cost less.
		DynamicRecordSizingDisabled: true,
	}
}

// material is what was found in a context's slots at one time.
type material struct {
	values     []*secret.Value // of the certificates, then validation, then ticket keys
	certs      []*secret.Certificate
	validation *secret.Validation
}

func (m *material) add(v *secret.Value) {
	m.values = append(m.values, v)
	if v.Certificate != nil {
		m.certs = append(m.certs, v.Certificate)
	}
	if v.Validation != nil {
		m.validation = v.Validation
	}
}

// slots has the newest secrets of a context, put together by make whenever one of
// them has changed. T is what is made of them.
type slots[T any] struct {
	all  []*secret.Slot
	make func(*material) (*T, error)
	// report is told of an error of make; what was made before stays in use.
	report func(error)

	mu  sync.Mutex
	cur atomic.Pointer[made[T]]
}

type made[T any] struct {
	v      *T
	values []*secret.Value
}

// load returns what is made of the newest secrets; nil if one of them has not come
// yet. In the common case it compares a few pointers. fresh tells, once for each time,
// that it was made just now.
func (s *slots[T]) load() (v *T, fresh bool) {
	m := s.cur.Load()
	if m != nil && s.same(m.values) {
		return m.v, false
	}
	return s.renew()
}

func (s *slots[T]) same(values []*secret.Value) bool {
	for i, slot := range s.all {
		if slot.Load() != values[i] {
			return false
		}
	}
	return true
}

func (s *slots[T]) renew() (v *T, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.cur.Load()
	if m != nil && s.same(m.values) {
		return m.v, false
	}
	next := &material{}
	for _, slot := range s.all {
		v := slot.Load()
		if v == nil {
			return nil, false
		}
		next.add(v)
	}
	v, err := s.make(next)
	if err != nil {
		if s.report != nil {
			s.report(err)
		}
		if m == nil {
			return nil, false
		}
		v = m.v
	}
	s.cur.Store(&made[T]{v, next.values})
	return v, err == nil
}
