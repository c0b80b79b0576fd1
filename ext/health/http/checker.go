// SPDX-License-Identifier: Apache-2.0

// Package http asks hosts whether they are well by a request of HTTP
// (envoy.health_checkers.http).
package http

import (
	"io"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream/health"
)

// span is statuses from a first to below an end.
type span struct{ from, to int }

// checker is a compiled HttpHealthCheck.
type checker struct {
	host, path, method  string
	speak               health.Speak
	alpn                bool
	send, receive       health.Payload
	buffer              uint64 // how much of a response is searched; 0 is all
	expected, retriable []span
	service             *match.String // nil takes any
	remove              []header.Name
	add                 *route.Headers
}

// Session returns what asks one host.
func (c *checker) Session(p *health.Probe) health.Session {
	return &session{checker: c, probe: p, client: p.Client(c.speak, c.alpn)}
}

type session struct {
	*checker
	probe  *health.Probe
	client *health.Client
}

// Close closes the connection that is kept.
func (s *session) Close() { s.client.Close() }

// Check makes one request.
func (s *session) Check(t *engine.Task) (health.Result, error) {
	var h header.Map
	m := stream.Message{Header: &h}
	h.Add(header.Method, s.method)
	h.Add(header.Authority, s.probe.Name(s.host))
	h.Add(header.Path, s.path)
	h.Add(header.Scheme, scheme(s.probe.Secure()))
	h.Add(header.UserAgent, "Envoy/HC")
	if len(s.send) > 0 {
		body := s.send[0]
		m.Body, m.Length = stream.NewBytes(body), int64(len(body))
	}
	for _, n := range s.remove {
		h.Del(n)
	}
	host := s.probe.Host()
	info := &streaminfo.Stream{}
	info.Upstream.HostName, info.Upstream.HostAddress, info.Upstream.HostMetadata, info.Upstream.Locality = host.Hostname, host.Address, host.Metadata, host.Locality
	info.ClusterName = host.Cluster.Name
	s.add.Apply(&h, info)
	return s.client.Do(t, &m, s.judge)
}

func scheme(secure bool) string {
	if secure {
		return "https"
	}
	return "http"
}

// judge tells what a response says of its host.
func (s *session) judge(r *health.Response) (health.Result, error) {
	res := health.Result{Verdict: health.Failed, Status: r.Status, Exclude: r.Header.Has(header.XEnvoyImmediateHealthCheckFail)}
	// Reading the body may end what the head is a view of.
	degraded := r.Header.Has(header.XEnvoyDegraded)
	service := string(r.Header.Get(header.XEnvoyUpstreamHealthcheckedCluster))
	if len(s.receive) > 0 {
		found, err := s.search(r)
		if err != nil {
			return health.Result{}, err
		}
		if !found {
			return res, nil
		}
	}
	if !within(s.expected, r.Status) {
		if within(s.retriable, r.Status) {
			res.Verdict = health.FailedRetriable
		}
		return res, nil
	}
	if s.service != nil && s.verify() {
		s.probe.Verifying()
		if !s.service.Match(service) {
			return health.Result{Verdict: health.Failed, Status: r.Status}, nil
		}
	}
	res = health.Result{Verdict: health.Passed, Status: r.Status}
	if degraded {
		res.Verdict = health.PassedDegraded
	}
	return res, nil
}

// verify reports whether the host's name is to be compared; an operator may switch it off.
func (s *session) verify() bool {
	f, ok := s.probe.Runtime().Fraction("health_check.verify_cluster")
	return !ok || f.Enabled(0)
}

func within(spans []span, status int) bool {
	for _, s := range spans {
		if status >= s.from && status < s.to {
			return true
		}
	}
	return false
}

// search looks for what a response must contain in as much of it as is to be looked at.
func (s *session) search(r *health.Response) (bool, error) {
	search := s.receive.Search()
	for left := s.buffer; r.Body != nil; {
		p, err := r.Body.Next()
		if err != nil && err != io.EOF {
			return false, err
		}
		if s.buffer > 0 {
			p = p[:min(uint64(len(p)), left)]
			left -= uint64(len(p))
		}
		if search.Feed(p) {
			if err == io.EOF {
				r.Body = nil
			}
			return true, nil
		}
		if err == io.EOF {
			r.Body = nil
		}
	}
	return false, nil
}
