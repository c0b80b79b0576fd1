// SPDX-License-Identifier: Apache-2.0

package awstest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// A Service is any service of AWS: it answers whose signature a request has, or why it
// has none.
type Service struct {
	// Addr is where it is served, without TLS.
	Addr string

	mu   sync.Mutex
	seen []Request
}

// A Request is one that a Service got, signed or not.
type Request struct {
	Method, Host, URI string
	Header            http.Header
	Body              string
}

// NewService starts a service by its name in signatures.
func NewService(t testing.TB, a *Account, name string) *Service {
	t.Helper()
	s := &Service{}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.seen = append(s.seen, Request{r.Method, r.Host, r.RequestURI, r.Header, string(body)})
		s.mu.Unlock()
		key, err := a.Verify(r, body, name)
		if err != nil {
			refuse(w, http.StatusForbidden, "InvalidSignatureException", err.Error())
			return
		}
		fmt.Fprintf(w, "%s is %s", key, body)
	}))
	t.Cleanup(h.Close)
	s.Addr = h.Listener.Addr().String()
	return s
}

// Requests are those that came so far.
func (s *Service) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}
