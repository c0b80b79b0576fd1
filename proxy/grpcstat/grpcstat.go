// SPDX-License-Identifier: Apache-2.0

// Package grpcstat counts gRPC calls in the scope of their cluster, under
// Envoy's names: cluster.CLUSTER.grpc.SERVICE.METHOD. and then 0 to 16 for each
// grpc-status, success, failure, total, request_message_count,
// response_message_count and upstream_rq_time. A name exists once it counts.
//
// Services and methods come from requests, so their number is bounded: those
// that come too late are counted without their name.
package grpcstat

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream"
)

// Limits of what is told apart.
const (
	// MaxMethods is how many methods of all services and clusters together a Set
	// tells apart.
	MaxMethods = 1000
	// MaxName is the longest service or method that has a name of its own, in
	// bytes.
	MaxName = 128
	// maxCode is the highest grpc-status with a name.
	maxCode = 16
)

// Options say what a Set counts.
type Options struct {
	// Protocol is "grpc" or "grpc-web", the word behind the cluster's name.
	Protocol string
	// All tells every method apart; otherwise only those of Only are, and the
	// rest is counted without a name.
	All bool
	// Only are methods to tell apart, by service.
	Only map[string][]string
	// Underscore replaces the dots in a service's name.
	Underscore bool
}

// A Set is the statistics of one filter. It is safe for concurrent use; finding
// a method takes no lock once it is known.
type Set struct {
	opts     Options
	store    *stats.Store
	clusters *upstream.Manager
	only     map[name]bool

	known atomic.Pointer[map[key]*Method]
	mu    sync.Mutex // who adds to known
	named int        // how many of known are methods
	scope []*stats.Scope
}

type name struct{ service, method string }

type key struct{ cluster, service, method string }

// New returns a Set. clusters tells the clusters' alternative names; it may be
// nil.
func New(store *stats.Store, clusters *upstream.Manager, o Options) *Set {
	s := &Set{opts: o, store: store, clusters: clusters, only: map[name]bool{}}
	for service, methods := range o.Only {
		for _, m := range methods {
			s.only[name{service, m}] = true
		}
	}
	s.known.Store(&map[key]*Method{})
	return s
}

// Close takes the names away.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sc := range s.scope {
		sc.Close()
	}
}

// Find returns where the request at hand is counted; nil if it goes to no cluster or
// its path is not that of a gRPC method.
func (s *Set) Find(st *stream.Stream, path []byte) *Method {
	service, method, ok := Split(path)
	if !ok {
		return nil
	}
	cluster, ok := s.cluster(st)
	if !ok {
		return nil
	}
	if !s.opts.All && !s.only[name{string(service), string(method)}] || len(service) > MaxName || len(method) > MaxName {
		service, method = nil, nil
	}
	if m := (*s.known.Load())[key{cluster, string(service), string(method)}]; m != nil {
		return m
	}
	return s.add(cluster, string(service), string(method))
}

// Split takes a path apart: /service/method, and perhaps a query.
func Split(path []byte) (service, method []byte, ok bool) {
	path, _, _ = bytes.Cut(path, []byte("?"))
	path, ok = bytes.CutPrefix(path, []byte("/"))
	if !ok {
		return nil, nil, false
	}
	service, method, ok = bytes.Cut(path, []byte("/"))
	if !ok || len(service) == 0 || len(method) == 0 || bytes.IndexByte(method, '/') >= 0 {
		return nil, nil, false
	}
	return service, method, true
}

// cluster is the name that the statistics of the request's cluster have.
func (s *Set) cluster(st *stream.Stream) (string, bool) {
	r := st.Route()
	if r == nil || r.Forward == nil {
		return "", false
	}
	ref := r.Cluster(&route.Request{Header: st.Request.Header, Info: &st.Info, Random: st.Random})
	if s.clusters == nil {
		return ref.Name, ref.Name != ""
	}
	c := s.clusters.Get(ref.Name)
	if c == nil {
		return "", false
	}
	if c.AltStatName != "" {
		return c.AltStatName, true
	}
	return c.Name, true
}

func (s *Set) add(cluster, service, method string) *Method {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.known.Load()
	if service != "" && s.named >= MaxMethods {
		service, method = "", ""
	}
	k := key{strings.Clone(cluster), service, method} // The cluster's name may be a header's.
	if m := old[k]; m != nil {
		return m
	}
	prefix := "cluster." + k.cluster + "." + s.opts.Protocol + "."
	if service != "" {
		s.named++
		if s.opts.Underscore {
			service = strings.ReplaceAll(service, ".", "_")
		}
		prefix += service + "." + method + "."
	}
	m := &Method{scope: s.store.Scope(prefix)}
	s.scope = append(s.scope, m.scope)
	next := make(map[key]*Method, len(old)+1)
	for k, m := range old {
		next[k] = m
	}
	next[k] = m
	s.known.Store(&next)
	return m
}

// Method counts the calls of one method. Its methods are safe for concurrent
// use and, on nil, do nothing.
type Method struct {
	scope                    *stats.Scope
	codes                    [maxCode + 1]counter
	success, failure, total  counter
	requestMessages, answers counter
	time                     atomic.Pointer[stats.Histogram]
}

// counter is made when it first counts.
type counter struct{ c atomic.Pointer[stats.Counter] }

func (c *counter) add(s *stats.Scope, name string, n uint64) {
	p := c.c.Load()
	if p == nil {
		p = s.Counter(name) // The same one for all who ask.
		c.c.Store(p)
	}
	p.Add(n)
}

// Status counts a call that ended with a grpc-status, given as it was sent; nil is
// none, and counts nothing. A code above 16 has no counter of its own.
func (m *Method) Status(v []byte) {
	if m == nil || v == nil {
		return
	}
	code, ok := stream.ParseGRPCStatus(v)
	if ok && code <= maxCode {
		c := &m.codes[code]
		if p := c.c.Load(); p != nil {
			p.Inc()
		} else {
			c.add(m.scope, strconv.Itoa(code), 1)
		}
	}
	if ok && code == 0 {
		m.success.add(m.scope, "success", 1)
	} else {
		m.failure.add(m.scope, "failure", 1)
	}
	m.total.add(m.scope, "total", 1)
}

// Requests counts messages of the client.
func (m *Method) Requests(n uint64) {
	if m != nil && n > 0 {
		m.requestMessages.add(m.scope, "request_message_count", n)
	}
}

// Responses counts messages of the server.
func (m *Method) Responses(n uint64) {
	if m != nil && n > 0 {
		m.answers.add(m.scope, "response_message_count", n)
	}
}

// Time records how long the upstream took.
func (m *Method) Time(d time.Duration) {
	if m == nil {
		return
	}
	h := m.time.Load()
	if h == nil {
		h = m.scope.Histogram("upstream_rq_time", stats.Milliseconds)
		m.time.Store(h)
	}
	h.Record(uint64(max(d.Milliseconds(), 0)))
}
