// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/stats"
)

// guard counts what a peer does to the connection's cost. The limits that Envoy
// has are Envoy's and counted alike. Beyond them it has three buckets, which fill
// with time up to their size:
//
//   - resets by a client of streams younger than a second that were not answered
//     (CVE-2023-44487). An answered stream puts one back, so that a client which
//     cancels some of many requests is not taken for one that cancels all.
//   - glitches: frames on closed streams, stream errors, requests beyond the limit
//     of concurrent ones. A correct peer causes them around resets only.
//   - SETTINGS, for each costs a walk over the streams.
type guard struct {
	c          *conn
	streams    uint64 // header blocks of the peer
	dataSent   uint64
	empties    uint32
	priorities uint64
	updates    uint64
	lateBytes  int
	lates      int
	resets     bucket
	glitches   bucket
	settingsIn bucket
}

// bucket holds tokens in thousandths.
type bucket struct {
	tokens, size, rate int64 // rate in tokens per second
	last               int64
}

func (b *bucket) init(size, rate int64, now int64) {
	*b = bucket{tokens: size * 1000, size: size * 1000, rate: rate, last: now}
}

// take takes n tokens and reports whether they were there.
func (b *bucket) take(n, now int64) bool {
	if d := (now - b.last) / 1_000_000; d > 0 { // milliseconds
		b.tokens = min(b.size, b.tokens+d*b.rate)
		b.last = now
	}
	b.tokens -= n * 1000
	return b.tokens >= 0
}

func (b *bucket) give(n int64) { b.tokens = min(b.size, b.tokens+n*1000) }

const (
	// glitchRate is how many a second are put up with for ever.
	glitchRate = 16
	// settingsMost and settingsRate are far above what any peer needs.
	settingsMost, settingsRate = 64, 8
	// youth is how long after its beginning a reset is premature: one second.
	youth = 1_000_000_000
	// lateMost and lateFrames are how much may arrive on streams that were reset
	// before it counts as a glitch: what was on its way may be a window full.
	lateMost, lateFrames = 256 << 10, 16
)

func (g *guard) init(c *conn) {
	g.c = c
	now := c.loop.Now()
	g.resets.init(int64(c.lim.MaxPrematureResets), int64(c.lim.PrematureResetRate), now)
	g.glitches.init(int64(c.lim.MaxGlitches), glitchRate, now)
	g.settingsIn.init(settingsMost, settingsRate, now)
}

// empty counts frames of header blocks and DATA without payload that end nothing.
func (g *guard) empty(yes bool) bool {
	if !yes {
		g.empties = 0
		return true
	}
	if g.empties++; g.empties <= g.c.lim.MaxConsecutiveInboundEmptyFrames {
		return true
	}
	g.c.st.EmptyFlood.Inc()
	g.c.fail(errEmpty)
	return false
}

func (g *guard) priority() bool {
	g.priorities++
	if g.priorities <= uint64(g.c.lim.MaxInboundPriorityFramesPerStream)*(1+g.streams) {
		return true
	}
	g.c.st.PriorityFlood.Inc()
	g.c.fail(errPriorities)
	return false
}

func (g *guard) windowUpdate() bool {
	g.updates++
	streams := g.streams
	if g.c.client {
		streams = uint64(g.c.last+1) / 2
	}
	if g.updates <= 5+2*(streams+uint64(g.c.lim.MaxInboundWindowUpdateFramesPerDataFrame)*g.dataSent) {
		return true
	}
	g.c.st.WindowUpdateFlood.Inc()
	g.c.fail(errUpdates)
	return false
}

func (g *guard) settings() bool {
	if g.settingsIn.take(1, g.c.loop.Now()) {
		return true
	}
	g.c.st.SettingsFlood.Inc()
	g.c.fail(errSettings)
	return false
}

// reset counts the peer's reset of a stream.
func (g *guard) reset(s *exchange) bool {
	if g.c.client || s.answered || g.c.loop.Now()-s.born > youth || g.resets.take(1, g.c.loop.Now()) {
		return true
	}
	g.c.st.ResetFlood.Inc()
	g.c.fail(errResets)
	return false
}

func (g *guard) answered() { g.resets.give(1) }

// refused counts a request that was refused for the number of streams.
func (g *guard) refused() { g.few(0, &g.c.st.RefusedFlood, errRefusals) }

// late counts a frame with n bytes of content on a stream that has ended.
func (g *guard) late(n int) { g.few(n, &g.c.st.LateFlood, errLates) }

// few counts a frame that a correct peer may send for a while.
func (g *guard) few(n int, flood *stats.Counter, e *ConnectionError) {
	g.lateBytes += n
	g.lates++
	if g.lateBytes >= lateMost || g.lates >= lateFrames {
		g.lateBytes, g.lates = 0, 0
		g.spend(flood, e)
	}
}

// streamError counts a frame for which a stream was reset here.
func (g *guard) streamError() { g.spend(&g.c.st.StreamErrorFlood, errStreamErrors) }

// closedStream counts a frame on a stream that has long been closed.
func (g *guard) closedStream() { g.spend(&g.c.st.LateFlood, errLates) }

// spend takes a glitch and ends the connection if there is none left: the statistic
// and the reason are those of the last.
func (g *guard) spend(flood *stats.Counter, e *ConnectionError) {
	if g.c.err != nil || g.glitches.take(1, g.c.loop.Now()) {
		return
	}
	flood.Inc()
	g.c.fail(e)
}

var (
	errPushSetting    = &ConnectionError{Code: frame.ProtocolError, Reason: "SETTINGS_ENABLE_PUSH of a server"}
	errConnectSetting = &ConnectionError{Code: frame.ProtocolError, Reason: "SETTINGS_ENABLE_CONNECT_PROTOCOL taken back"}
)
