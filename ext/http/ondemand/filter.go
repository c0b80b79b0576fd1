// SPDX-License-Identifier: Apache-2.0

// Package ondemand fetches what a request needs and the proxy does not have yet: virtual
// hosts, the routes of scopes, and clusters (envoy.filters.http.on_demand). The request
// waits meanwhile, for a bounded time.
//
// It does not know how routes are delivered: the connection manager does.
package ondemand

import (
	"context"
	"log/slog"
	"strings"

	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream"
)

// Filter has requests wait for what they need.
type Filter struct {
	name      string
	clusters  *upstream.Manager
	discovery *discovery // nil if clusters are not asked for
	log       *slog.Logger
}

// routeConfig is the per-route configuration: who is asked for clusters, or nobody.
type routeConfig struct{ discovery *discovery }

// steps is how often something may be fetched for one route: the routes of a scope, and
// then a virtual host of theirs.
const steps = 2

// Request waits for a route and a cluster.
func (f *Filter) Request(s *stream.Stream) error {
	for n := 0; n < steps && s.Route() == nil; n++ {
		again, err := s.Seek(defaultTimeout)
		if err != nil {
			return err
		}
		if !again {
			return nil
		}
	}
	r := s.Route()
	if r == nil || r.Forward == nil {
		return nil
	}
	d := f.discovery
	if own, ok := stream.RouteConfig[*routeConfig](s, f.name); ok {
		d = own.discovery
	}
	if d == nil {
		return nil
	}
	name := r.Cluster(&route.Request{Header: s.Request.Header, Info: &s.Info, Random: s.Random}).Name
	if name == "" || f.clusters.Get(name) != nil {
		return nil
	}
	// One that a header gives lies in the connection's memory, and is asked for beyond the request.
	return f.await(s, d, strings.Clone(name))
}

// await waits for a cluster.
func (f *Filter) await(s *stream.Stream, d *discovery, name string) error {
	return s.Await(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, d.timeout)
		defer cancel()
		q, err := d.ask(name)
		if q == nil {
			f.log.Warn("a cluster is not asked for on demand", "cluster", name, "too_many", err == nil, "error", err)
			return
		}
		defer q.Close()
		select {
		case <-q.Answered():
		case <-ctx.Done():
		}
	})
}

// Response does nothing.
func (*Filter) Response(*stream.Stream) error { return nil }
