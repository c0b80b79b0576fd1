// SPDX-License-Identifier: Apache-2.0

package router

import (
	"strconv"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream"
)

// filters returns the chain that attempts to reach the chosen host pass: its cluster's,
// otherwise the router's own; nil if there is none.
func (q *request) filters() *stream.Chain {
	if c := q.host.Cluster; c != nil && c.HTTP.Filters != nil {
		return c.HTTP.Filters
	}
	return q.w.f.filters
}

// enter runs the request through the filters in front of the host that was chosen.
// passed is false if one has replied, or failed as out has it. What leaves HTTP here
// passes none.
func (q *request) enter() (out outcome, passed bool) {
	chain := q.filters()
	if chain == nil || q.raw {
		return outcome{}, true
	}
	if q.branch == nil {
		q.branch = new(stream.Branch)
	}
	q.branched = true
	q.branch.Begin(q.s)
	err := chain.Enter(q.branch)
	q.branch.Join()
	if err != nil {
		return outcome{err: err, reset: filterReset(err)}, false
	}
	return outcome{}, !q.s.Replied()
}

// message returns the request as it is sent.
func (q *request) message() *stream.Message {
	if q.branched {
		return &q.branch.Request
	}
	return &q.s.Request
}

// comeBack runs the response through the filters, which may change its status.
func (q *request) comeBack() (status int, err error) {
	b := q.branch
	b.Respond(q.s.Response, &q.head)
	err = q.filters().Return(b)
	b.Join()
	if err != nil || q.s.Replied() {
		return 0, err
	}
	q.s.Response = b.Response
	status, _ = strconv.Atoi(string(q.head.Get(header.Status)))
	q.s.Info.Status = status
	return status, nil
}

// endBranch tells the filters that the attempt is over.
func (q *request) endBranch() {
	if !q.branched {
		return
	}
	q.branch.End(q.filters())
	q.branched = false
}

// filterReset sorts an error of a filter, or of what it waited for.
func filterReset(err error) reset {
	switch {
	case err == nil:
		return noReset
	case isTryLimit(err):
		return resetTry
	}
	return resetStream
}

// branch returns the copy as the filters in front of its host see it.
func (sh *shadow) branch(t *engine.Task, h *upstream.Host) *stream.Branch {
	s := &stream.Stream{Request: sh.request}
	s.Begin(t, mirrored{})
	s.Info.Protocol, s.Info.ClusterName, s.Info.ClusterMetadata = sh.protocol, h.Cluster.Name, h.Cluster.Metadata
	u := &s.Info.Upstream
	u.HostName, u.HostAddress, u.HostMetadata, u.Locality = h.Hostname, h.Address, h.Metadata, h.Locality
	b := new(stream.Branch)
	b.Begin(s)
	return b
}

// mirrored owns the stream of a copy, for which nobody waits.
type mirrored struct{}

// Match returns nil: the copy has no route of its own.
func (mirrored) Match(*stream.Stream) *route.Route { return nil }

// Inform does nothing.
func (mirrored) Inform(*stream.Stream, *header.Map) error { return nil }

// Explain knows of nothing.
func (mirrored) Explain(error) *stream.Error { return nil }

// Localise does nothing.
func (mirrored) Localise(*stream.Stream) {}
