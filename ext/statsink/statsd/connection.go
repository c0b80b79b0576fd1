// SPDX-License-Identifier: Apache-2.0

// Package statsd is the sink envoy.stat_sinks.statsd: statistics as lines of statsd, in datagrams or over a connection to a
// cluster. How lines look is the matter of proxy/stats/statsd.
package statsd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"time"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stats/sink"
	"weir.dev/weir/proxy/stats/statsd"
)

const (
	// patience bounds how long a snapshot may take, a connection included.
	patience = 5 * time.Second
	// chunk is how many bytes of lines are written at once.
	chunk = 16 << 10
	// glance is how long it is looked whether the other side has closed the connection.
	glance = time.Millisecond
)

// connection is a sink that keeps a connection from one snapshot to the next.
type connection struct {
	dial     func(context.Context) (net.Conn, error)
	writer   *statsd.Writer
	overflow *stats.Counter // snapshots that were not taken in time
	log      *slog.Logger

	conn   net.Conn
	buf    []byte
	failed bool // the last snapshot was not sent
}

// Flush implements sink.Sink.
func (c *connection) Flush(ctx context.Context, s *sink.Snapshot) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := c.send(ctx, s)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.overflow.Inc()
	}
	if err != nil {
		c.Close()
		if !c.failed {
			c.log.Warn("statistics could not be sent", "reason", err)
		}
	}
	c.failed = err != nil
}

func (c *connection) send(ctx context.Context, s *sink.Snapshot) error {
	if c.conn != nil && c.left() {
		c.Close()
	}
	if c.conn == nil {
		conn, err := c.dial(ctx)
		if err != nil {
			return err
		}
		c.conn = conn
	}
	if err := c.conn.SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetWriteDeadline(time.Unix(1, 0)) // If it is closed, nobody writes.
	})
	defer stop()
	c.buf = c.buf[:0]
	var err error
	for i := 0; i < len(s.Metrics) && err == nil; i++ {
		c.writer.Lines(&s.Metrics[i], func(line []byte) { c.buf = append(append(c.buf, line...), '\n') })
		if len(c.buf) >= chunk {
			err = c.write()
		}
	}
	if err == nil {
		err = c.write()
	}
	return err
}

func (c *connection) write() error {
	_, err := c.conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

// left reports whether the other side has closed the connection. What it says is not of interest.
func (c *connection) left() bool {
	if err := c.conn.SetReadDeadline(time.Now().Add(glance)); err != nil {
		return true
	}
	var said [512]byte
	_, err := c.conn.Read(said[:])
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// Close implements sink.Sink.
func (c *connection) Close() {
	if c.conn != nil {
		_ = c.conn.Close() // Nobody waits for more.
		c.conn = nil
	}
}
