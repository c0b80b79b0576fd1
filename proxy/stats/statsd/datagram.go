// SPDX-License-Identifier: Apache-2.0

package statsd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"syscall"
	"time"

	"weir.dev/weir/proxy/stats/sink"
)

// A Target is where datagrams are sent: network "udp" and an IP address with a port, or "unixgram" and the path of a socket.
type Target struct{ Network, Address string }

// Datagrams is a sink that sends lines in datagrams. It needs nobody to be there: what is not received is lost, as in Envoy.
type Datagrams struct {
	to     Target
	most   int
	writer *Writer
	log    *slog.Logger

	conn   net.Conn
	buf    []byte
	failed bool // the last snapshot was not sent
}

var _ sink.Sink = (*Datagrams)(nil)

// NewDatagrams returns a sink. Each datagram has as many lines as fit into most bytes, but at least one.
func NewDatagrams(to Target, f Format, most int, log *slog.Logger) *Datagrams {
	return &Datagrams{to: to, most: most, writer: NewWriter(f), log: log}
}

// Flush implements sink.Sink.
func (d *Datagrams) Flush(_ context.Context, s *sink.Snapshot) {
	err := d.open()
	for i := range s.Metrics {
		if err != nil {
			break
		}
		d.writer.Lines(&s.Metrics[i], func(line []byte) { err = errors.Join(err, d.add(line)) })
	}
	if err == nil {
		err = d.send()
	}
	d.buf = d.buf[:0]
	if err != nil && !d.failed {
		d.log.Warn("statistics could not be sent", "address", d.to.Address, "reason", err)
	}
	d.failed = err != nil
	if d.failed {
		d.Close() // The socket's file may have been made anew.
	}
}

// patience bounds how long a socket whose reader is slow is waited for.
const patience = time.Second

// open opens the socket, if it is not open: there may be no way to the address yet.
func (d *Datagrams) open() (err error) {
	if d.conn == nil {
		if d.conn, err = net.Dial(d.to.Network, d.to.Address); err != nil {
			d.conn = nil
			return err
		}
	}
	return d.conn.SetWriteDeadline(time.Now().Add(patience))
}

func (d *Datagrams) add(line []byte) error {
	if len(d.buf) > 0 {
		if len(d.buf)+1+len(line) <= d.most {
			d.buf = append(append(d.buf, '\n'), line...)
			return nil
		}
		if err := d.send(); err != nil {
			return err
		}
	}
	d.buf = append(d.buf, line...)
	return nil
}

func (d *Datagrams) send() error {
	if len(d.buf) == 0 {
		return nil
	}
	_, err := d.conn.Write(d.buf)
	if d.unheard(err) {
		// It is about a datagram before; this one was not sent.
		if _, err = d.conn.Write(d.buf); d.unheard(err) {
			err = nil
		}
	}
	d.buf = d.buf[:0]
	if errors.Is(err, syscall.EMSGSIZE) {
		return nil // A line that is longer than datagrams can be is nobody's.
	}
	return err
}

// unheard reports whether an error tells that nobody has the port at the moment.
func (d *Datagrams) unheard(err error) bool {
	return d.to.Network == "udp" && errors.Is(err, syscall.ECONNREFUSED)
}

// Close implements sink.Sink.
func (d *Datagrams) Close() {
	if d.conn != nil {
		_ = d.conn.Close() // There is nothing in it.
		d.conn = nil
	}
}
