// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir.dev/weir/test/bench/epoll"
)

// resend is after how long a datagram that has no answer is taken for lost, and another one sent.
const resend = 200 * time.Millisecond

// A udpclient is a closed loop of datagrams: every socket has one on its way and waits for its echo. Loss is a proxy's
// right, so a lost datagram is only not counted as answered.
type udpclient struct {
	loop
	ping []byte
	all  []*udpconn
}

// A udpconn is one socket of it, and so one session of the proxy.
type udpconn struct {
	c   *udpclient
	fd  int
	at  time.Duration
	buf [2 << 10]byte
}

// datagrams runs the closed loop.
func datagrams(spec Spec, hooks Hooks) (Result, error) {
	l, err := newLoop(spec)
	if err != nil {
		return Result{}, err
	}
	c := &udpclient{loop: l, ping: bytes.Repeat([]byte("w"), spec.Length)}
	defer c.close()
	to := &unix.SockaddrInet4{Addr: c.addr.Addr().As4(), Port: int(c.addr.Port())}
	for range spec.Conns {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return c.res, fmt.Errorf("open socket: %w", err)
		}
		if err := unix.Connect(fd, to); err != nil {
			epoll.CloseFd(fd)
			return c.res, fmt.Errorf("connect to %s: %w", c.addr, err)
		}
		cn := &udpconn{c: c, fd: fd}
		c.all = append(c.all, cn)
		if err := c.add(fd, cn); err != nil {
			return c.res, err
		}
		if err := cn.send(); err != nil {
			return c.res, err
		}
	}
	// The timer's descriptor wakes the loop to look for datagrams that were lost.
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return c.res, fmt.Errorf("open timer: %w", err)
	}
	every := unix.NsecToTimespec(int64(resend))
	if err := c.add(fd, &udptimer{c: c, fd: fd}); err != nil {
		return c.res, err
	}
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		return c.res, fmt.Errorf("set timer: %w", err)
	}
	return c.closed(hooks)
}

func (cn *udpconn) send() error {
	cn.at = cn.c.now()
	_, errno := epoll.Send(cn.fd, cn.c.ping)
	if errno != 0 && errno != syscall.EAGAIN && errno != syscall.ECONNREFUSED {
		return fmt.Errorf("send a datagram: %w", errno)
	}
	return nil
}

func (cn *udpconn) readable() error {
	n, errno := epoll.Read(cn.fd, cn.buf[:])
	switch {
	case errno == syscall.ECONNREFUSED:
		cn.c.res.Broken++
		return nil // The timer sends the next.
	case errno != 0:
		return nil
	case n != len(cn.c.ping):
		cn.c.res.BadLength++
	default:
		cn.c.res.Answered++
		cn.c.res.Bytes += uint64(n)
	}
	return cn.send()
}

// A udptimer sends again what was lost.
type udptimer struct {
	c  *udpclient
	fd int
}

func (t *udptimer) readable() error {
	var count [8]byte
	_, _ = epoll.Read(t.fd, count[:]) // How often it rang does not matter.
	for _, cn := range t.c.all {
		if t.c.now()-cn.at < resend {
			continue
		}
		if err := cn.send(); err != nil {
			return err
		}
	}
	return nil
}
