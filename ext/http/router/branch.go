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
func (t *try) filters() *stream.Chain {
	if c := t.host.Cluster; c != nil && c.HTTP.Filters != nil {
		return c.HTTP.Filters
	}
	return t.q.w.f.filters
}

// enter runs the request through the filters in front of the host that was chosen.
// passed is false if one has replied, or failed as out has it. What leaves HTTP here
// passes none.
func (t *try) enter() (out outcome, passed bool) {
	q, chain := t.q, t.filters()
	if chain == nil || q.raw {
		return outcome{}, true
	}
	chain = chain.Pin()
	if t.branch == nil {
		t.branch = new(stream.Branch)
	}
	t.branched, t.pinned = true, chain
	t.branch.Begin(q.s, t.runner())
	t.branch.Span = t.current()
	err := chain.Enter(t.branch)
	t.branch.Join()
	if err != nil {
		return outcome{err: err, reset: filterReset(err)}, false
	}
	return outcome{}, !q.s.Replied()
}

// message returns the request as it is sent.
func (t *try) message() *stream.Message {
	if t.branched {
		return &t.branch.Request
	}
	return &t.q.s.Request
}

// comeBack runs the response through the filters, which may change its status.
func (t *try) comeBack() (status int, err error) {
	b := t.branch
	b.Respond(t.response, &t.head)
	err = t.pinned.Return(b)
	b.Join()
	if err != nil || t.q.s.Replied() {
		return 0, err
	}
	t.response = b.Response
	status, _ = strconv.Atoi(string(t.head.Get(header.Status)))
	t.q.s.Info.Status = status
	return status, nil
}

// stopBranch has the filters read no more of the attempt's bodies: the exchange ends.
func (t *try) stopBranch() {
	if t.branched {
		t.pinned.Stop(&t.branch.Stream)
	}
}

// endBranch tells the filters that the attempt is over.
func (t *try) endBranch() {
	if !t.branched {
		return
	}
	t.branch.End(t.pinned)
	t.pinned.Unpin()
	t.branched, t.pinned = false, nil
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
	b.Begin(s, t)
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

// Again does nothing: the copy goes nowhere else.
func (mirrored) Again(*stream.Stream) {}

// Canonical returns the path as it is.
func (mirrored) Canonical(path []byte) ([]byte, bool) { return path, true }
