// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/proxy/streaminfo"
)

// durationOp is %DURATION% in milliseconds; a stream that has not ended counts
// until now.
func durationOp(_ string, o *Options) (Operator, error) {
	now := clock(o)
	return number(func(s *streaminfo.Stream) (int64, bool) {
		d := s.Duration
		if d == 0 && !s.Start.IsZero() {
			d = now().Sub(s.Start)
		}
		return d.Milliseconds(), true
	})("", false)
}

// since makes an operator that prints the milliseconds from the start to a
// moment.
func since(at func(*streaminfo.Timing) int64) entry {
	return entry{bare, number(func(s *streaminfo.Stream) (int64, bool) {
		n := at(&s.Timing)
		return n / int64(time.Millisecond), n != 0
	})}
}

func responseTx(s *streaminfo.Stream) (int64, bool) {
	from, to := s.Timing.UpstreamFirstRx, s.Timing.DownstreamLastTx
	return (to - from) / int64(time.Millisecond), from != 0 && to != 0
}

// point is a moment of a stream in nanoseconds since its start.
type point func(*streaminfo.Stream) (int64, bool)

func timing(at func(*streaminfo.Timing) int64) point {
	return func(s *streaminfo.Stream) (int64, bool) {
		n := at(&s.Timing)
		return n, n != 0
	}
}

// ofConn is a moment of the connection, which is before the stream began.
func ofConn(at func(*streaminfo.Connection) time.Time) point {
	return func(s *streaminfo.Stream) (int64, bool) {
		if s.Conn == nil || s.Start.IsZero() {
			return 0, false
		}
		t := at(s.Conn)
		return int64(t.Sub(s.Start)), !t.IsZero()
	}
}

// points are the moments that %COMMON_DURATION% knows by itself.
var points = map[string]point{
	"DS_RX_BEG":      func(*streaminfo.Stream) (int64, bool) { return 0, true },
	"DS_RX_END":      timing(func(t *streaminfo.Timing) int64 { return t.RequestEnd }),
	"US_CX_BEG":      timing(func(t *streaminfo.Timing) int64 { return t.UpstreamConnect }),
	"US_CX_END":      timing(func(t *streaminfo.Timing) int64 { return t.UpstreamConnected }),
	"US_HS_END":      timing(func(t *streaminfo.Timing) int64 { return t.UpstreamHandshaked }),
	"US_TX_BEG":      timing(func(t *streaminfo.Timing) int64 { return t.UpstreamFirstTx }),
	"US_TX_END":      timing(func(t *streaminfo.Timing) int64 { return t.UpstreamLastTx }),
	"US_RX_BEG":      timing(func(t *streaminfo.Timing) int64 { return t.UpstreamFirstRx }),
	"US_RX_BODY_BEG": timing(func(t *streaminfo.Timing) int64 { return t.UpstreamBodyRx }),
	"US_RX_END":      timing(func(t *streaminfo.Timing) int64 { return t.UpstreamLastRx }),
	"DS_TX_BEG":      timing(func(t *streaminfo.Timing) int64 { return t.DownstreamFirstTx }),
	"DS_TX_END":      timing(func(t *streaminfo.Timing) int64 { return t.DownstreamLastTx }),
	"DS_CX_BEG":      ofConn(func(c *streaminfo.Connection) time.Time { return c.Start }),
	"DS_CX_END":      ofConn(func(c *streaminfo.Connection) time.Time { return c.End }),
}

func pointOf(name string) point {
	if p, ok := points[name]; ok {
		return p
	}
	// Any other name is a point that a filter may set.
	return func(s *streaminfo.Stream) (int64, bool) {
		n, ok := s.Timing.Points[name]
		return n, ok
	}
}

var units = map[string]int64{"": 1e6, "ms": 1e6, "us": 1e3, "ns": 1}

// commonDuration reads "START:END:PRECISION".
func commonDuration(arg string, _ bool) (Operator, error) {
	parts := strings.Split(arg, ":")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts[:2], "") {
		return Operator{}, fmt.Errorf("%q is not START:END or START:END:PRECISION", arg)
	}
	precision := ""
	if len(parts) == 3 {
		precision = parts[2]
	}
	unit, ok := units[precision]
	if !ok || len(parts) == 3 && precision == "" {
		return Operator{}, fmt.Errorf("%q is none of the precisions ms, us, ns", precision)
	}
	from, to := pointOf(parts[0]), pointOf(parts[1])
	return number(func(s *streaminfo.Stream) (int64, bool) {
		a, okA := from(s)
		b, okB := to(s)
		return (b - a) / unit, okA && okB
	})("", false)
}
