// SPDX-License-Identifier: Apache-2.0

// Package dynamicforwardproxy resolves the host that a request is for, before the
// router sends it there through a dynamic forward proxy cluster
// (envoy.filters.http.dynamic_forward_proxy).
package dynamicforwardproxy

import (
	"errors"
	"strconv"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dnscache"
)

// Filter loads the names of requests into a cache.
type Filter struct {
	name      string
	cache     *dnscache.Cache
	clusters  *upstream.Manager
	timeout   time.Duration
	fromState bool
}

// rewrite is the per-route configuration: the host to ask for in place of the
// request's.
type rewrite struct {
	literal string
	header  header.Name
}

// Request waits until the host is resolved, and answers 503 if it cannot be.
func (f *Filter) Request(s *stream.Stream) error {
	r := s.Route()
	if r == nil || r.Forward == nil {
		return nil
	}
	f.rewrite(s)
	host, port := string(s.Request.Header.Get(header.Authority)), f.port(s, r)
	if f.fromState {
		if o, ok := s.Info.FilterState[dnscache.HostKey]; ok {
			host = o.Text
		}
		if o, ok := s.Info.FilterState[dnscache.PortKey]; ok {
			if n, err := strconv.ParseUint(o.Text, 10, 16); err == nil && n > 0 {
				port = uint16(n)
			}
		}
	}
	n, ok := dnscache.ParseName(host, port)
	if !ok {
		refuse(s, "DNS resolution failure", "dns_resolution_failure")
		return nil
	}
	e, err := f.cache.Load(n)
	switch {
	case errors.Is(err, dnscache.ErrPending):
		refuse(s, "Dynamic forward proxy pending request overflow", "dynamic_forward_proxy_pending_request_overflow")
	case err != nil:
		refuse(s, "DNS cache overflow", "dns_cache_overflow")
	case !e.Await(s.Running(), f.timeout) || e.Err() != nil:
		s.Info.Flags |= streaminfo.DNSResolutionFailed
		refuse(s, "DNS resolution failure", "dns_resolution_failure")
	default:
		if s.Info.FilterState == nil {
			s.Info.FilterState = streaminfo.FilterState{}
		}
		s.Info.FilterState[dnscache.HostKey] = streaminfo.StateObject{Text: n.Host}
		s.Info.FilterState[dnscache.PortKey] = streaminfo.StateObject{Text: strconv.Itoa(int(n.Port))}
	}
	return nil
}

// rewrite swaps the request's host as the route asks.
func (f *Filter) rewrite(s *stream.Stream) {
	w, ok := stream.RouteConfig[*rewrite](s, f.name)
	if !ok {
		return
	}
	to := w.literal
	if !w.header.IsZero() {
		to = string(s.Request.Header.Get(w.header))
	}
	if to != "" {
		s.Request.Header.Set(header.Authority, to)
	}
}

// port is that of a host that names none: 443 if the cluster's connections are
// secured, 80 otherwise.
func (f *Filter) port(s *stream.Stream, r *route.Route) uint16 {
	ref := r.Cluster(&route.Request{Header: s.Request.Header, Info: &s.Info, Random: s.Random})
	if c := f.clusters.Get(ref.Name); c != nil && c.Transport.Transport != nil && c.Transport.Transport.Secure() {
		return 443
	}
	return 80
}

func refuse(s *stream.Stream, body, details string) {
	s.Reply(stream.Reply{Status: 503, Body: body, Details: details})
}

// Response does nothing.
func (*Filter) Response(*stream.Stream) error { return nil }
