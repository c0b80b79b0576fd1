// SPDX-License-Identifier: Apache-2.0

package tcpproxy

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/proxy/upstream/outlier"
	"weir.dev/weir/proxy/upstream/pool"
)

// Reasons of a session that never reached an upstream, as Envoy numbers them in
// %DOWNSTREAM_LOCAL_CLOSE_REASON%.
const (
	connectFailed = iota
	noHealthyUpstream
	limitExceeded
	noRoute
)

// refuse ends a session that has no upstream.
func (s *session) refuse(flag streaminfo.Flags, reason int) bool {
	s.flags |= flag
	s.conn.Info.CloseReason = "tcp_initializion_failure:" + strconv.Itoa(reason)
	return false
}

// connect makes the upstream connection, at as many hosts as it may try.
func (s *session) connect(t *engine.Task) bool {
	s.connecting = t
	s.conn.Socket.Watch(s)
	defer func() {
		s.connecting = nil
		s.conn.Socket.Unwatch()
	}()
	cfg := &s.w.p.cfg
	for {
		ref := s.route()
		if !s.use(ref.cluster) {
			s.w.stats.CxNoRoute.Inc()
			return s.refuse(streaminfo.NoClusterFound, noRoute)
		}
		err := s.attempt(t, ref)
		var lost *pool.ConnectError
		var interrupted *engine.Interrupted
		switch {
		case s.over:
			return false
		case err == nil:
			return true
		case errors.As(err, &interrupted):
			if errors.Is(err, errGone) {
				s.flags |= streaminfo.DownstreamConnectionTermination
			}
			return false
		case errors.Is(err, errNoHost):
			return s.refuse(streaminfo.NoHealthyUpstream, noHealthyUpstream)
		case errors.Is(err, pool.ErrOverflow):
			return s.refuse(streaminfo.UpstreamOverflow, limitExceeded)
		case errors.As(err, &lost):
			s.failure = lost.Reason()
		default:
			s.failure = err.Error()
		}
		s.flags |= streaminfo.UpstreamConnectionFailure
		if s.attempts >= cfg.attempts {
			s.cluster.Stats.CxConnectAttemptsExceeded.Inc()
			return s.refuse(streaminfo.UpstreamRetryLimitExceeded, connectFailed)
		}
		if !s.backOff(t) {
			return false
		}
	}
}

var errNoHost = errors.New("no healthy upstream")

// attempt tries one host.
func (s *session) attempt(t *engine.Task, ref weighted) error {
	if s.host != nil {
		s.failed = append(s.failed, s.host)
		s.host = nil
	}
	tunnelled := s.tunnelled()
	if !tunnelled && !s.cluster.Cluster().Resources(breaker.Default).Connections.CanAcquire() {
		s.cluster.Stats.CxOverflow.Inc()
		return pool.ErrOverflow
	}
	host, _ := s.cluster.Pick(s.pick(ref))
	if host == nil {
		s.cluster.Stats.CxNoneHealthy.Inc()
		return errNoHost
	}
	s.host = host
	s.attempts++
	if s.dialled = engine.Nano(); s.attempts > 1 {
		s.failure = ""
	}
	if tunnelled {
		err := s.openTunnel(t, host)
		s.connected = engine.Nano()
		s.judge(host, err)
		return err
	}
	up, err := pool.ConnectTCP(s.cluster, t, host, breaker.Default, s.options())
	s.judge(host, err)
	if err != nil {
		return err
	}
	if s.over {
		up.Close()
		return errOver
	}
	s.connected = engine.Nano()
	s.up = up
	return nil
}

// judge tells outlier detection what became of a connection. What was refused or ended on
// this side says nothing of the host.
func (s *session) judge(h *upstream.Host, err error) {
	loop := s.cluster.Loop()
	var lost *pool.ConnectError
	var interrupted *engine.Interrupted
	switch {
	case err == nil:
		h.Outlier.Outcome(loop, outlier.ConnectedFinal, 0)
	case errors.As(err, &lost) && lost.Timeout():
		h.Outlier.Outcome(loop, outlier.TimedOut, 0)
	case errors.Is(err, pool.ErrOverflow), errors.Is(err, errOver), errors.As(err, &interrupted):
	default:
		h.Outlier.Outcome(loop, outlier.Failed, 0)
	}
}

// backOff waits before the next attempt.
func (s *session) backOff(t *engine.Task) bool {
	cfg := &s.w.p.cfg
	if cfg.backoffBase <= 0 {
		t.Yield()
		return !s.over
	}
	// Envoy's jittered exponential back-off: up to base * (2^n - 1), at most max.
	top := float64(cfg.backoffBase) * float64((uint64(1)<<min(s.attempts, 32))-1)
	top = min(top, float64(cfg.backoffMax))
	return t.Sleep(time.Duration(s.w.rand.Float64()*top)) == nil && !s.over
}

// route chooses the cluster: one of the weighted ones, or the one that a filter
// before this one named, or the configured one.
func (s *session) route() weighted {
	cfg := &s.w.p.cfg
	if len(cfg.weighted) > 0 {
		at := s.w.rand.Uint64N(cfg.total)
		for _, w := range cfg.weighted {
			if at < uint64(w.weight) {
				return w
			}
			at -= uint64(w.weight)
		}
	}
	if o, ok := s.conn.Info.FilterState[ClusterKey]; ok {
		return weighted{cluster: o.Text}
	}
	return weighted{cluster: cfg.cluster, metadata: cfg.metadata}
}

// use takes the cluster of a name.
func (s *session) use(name string) bool {
	c := s.w.p.clusters.Get(name)
	if s.cluster != nil {
		s.cluster.Drop()
		s.cluster = nil
	}
	if c == nil {
		return false
	}
	s.cluster = c.Worker(s.w.loop.ID())
	s.cluster.Hold()
	return true
}

// pick tells the balancer of the connection.
func (s *session) pick(ref weighted) *upstream.PickContext {
	c := &s.w.pick
	*c = upstream.PickContext{Connection: s.conn.Info, Attempted: s.failed, Metadata: criteria(ref.metadata, s.conn.Info.Metadata["envoy.lb"])}
	switch h := &s.w.p.cfg.hash; {
	case h.sourceIP && !s.conn.Info.Remote.IsUnix():
		var buf [64]byte
		c.Hash, c.HasHash = match.XXH64(string(s.conn.Info.Remote.AppendIP(buf[:0])), 0), true
	case h.key != "":
		if o, ok := s.conn.Info.FilterState[h.key]; ok {
			c.Hash, c.HasHash = match.XXH64(o.Text, 0), true
		}
	}
	return c
}

// criteria merges the configured metadata match with what filters noted of the
// connection, which goes first.
func criteria(configured, noted map[string]any) []upstream.MetadataCriterion {
	if len(configured)+len(noted) == 0 {
		return nil
	}
	all := map[string]any{}
	maps.Copy(all, configured)
	maps.Copy(all, noted)
	out := make([]upstream.MetadataCriterion, 0, len(all))
	for k, v := range all {
		out = append(out, upstream.MetadataCriterion{Key: k, Value: v})
	}
	slices.SortFunc(out, func(a, b upstream.MetadataCriterion) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// options are what the connection asks of its upstream's transport socket.
func (s *session) options() *upstream.TransportOptions {
	o := &upstream.TransportOptions{Downstream: s.conn.Info}
	o.FromState(s.conn.Info.FilterState)
	return o
}
