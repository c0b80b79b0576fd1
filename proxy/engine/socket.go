// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir.dev/weir/proxy/address"
)

// A SocketOption is set on a socket before it is bound (Envoy's SocketOption).
type SocketOption struct {
	Level, Name int
	Int         int
	Bytes       []byte // used instead of Int if not nil
}

func (o SocketOption) apply(fd int) error {
	var err error
	if o.Bytes != nil {
		err = unix.SetsockoptString(fd, o.Level, o.Name, string(o.Bytes))
	} else {
		err = unix.SetsockoptInt(fd, o.Level, o.Name, o.Int)
	}
	if err != nil {
		return fmt.Errorf("socket option level %d name %d: %w", o.Level, o.Name, err)
	}
	return nil
}

// KeepAlive asks the kernel to probe an idle peer; zero fields are the
// kernel's defaults.
type KeepAlive struct {
	Probes         int
	Time, Interval time.Duration
}

// Options are the socket options of the probes, SO_KEEPALIVE included.
func (k KeepAlive) Options() []SocketOption {
	o := []SocketOption{{Level: unix.SOL_SOCKET, Name: unix.SO_KEEPALIVE, Int: 1}}
	add := func(name, v int) {
		if v > 0 {
			o = append(o, SocketOption{Level: unix.IPPROTO_TCP, Name: name, Int: v})
		}
	}
	add(unix.TCP_KEEPCNT, k.Probes)
	add(unix.TCP_KEEPIDLE, int(k.Time/time.Second))
	add(unix.TCP_KEEPINTVL, int(k.Interval/time.Second))
	return o
}

// DialOptions say how a connection is made.
type DialOptions struct {
	Timeout time.Duration // 0 is none
	Source  address.Addr  // bound to before connecting, if valid
	Options []SocketOption
	// Bound are set after the socket is bound, before it connects.
	Bound []SocketOption
}

// ErrBind is returned when a connection could not be bound to its source.
var ErrBind = errors.New("bind to source")

// ErrDialTimeout is returned when a connection was not made in time.
var ErrDialTimeout = errors.New("connect timeout")

// Dial connects to addr.
func (t *Task) Dial(addr address.Addr, o *DialOptions) (*Conn, error) {
	fd, err := dialSocket(addr, o)
	if err != nil {
		return nil, err
	}
	c, err := t.loop.NewConn(fd, true)
	if err != nil {
		return nil, err
	}
	if err := c.awaitConnected(t, o.Timeout); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func dialSocket(addr address.Addr, o *DialOptions) (int, error) {
	sa, family := toSockaddr(addr)
	if sa == nil {
		return -1, fmt.Errorf("dial %q: no address", addr)
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", err)
	}
	if err := prepareDial(fd, family, sa, o); err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

func prepareDial(fd, family int, sa unix.Sockaddr, o *DialOptions) error {
	if family != unix.AF_UNIX {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return err
		}
	}
	if err := o.bind(fd); err != nil {
		return err
	}
	if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return nil
}

// bind applies the options and binds the socket to its source.
func (o *DialOptions) bind(fd int) error {
	for _, opt := range o.Options {
		if err := opt.apply(fd); err != nil {
			return err
		}
	}
	if o.Source.IsValid() {
		src, _ := toSockaddr(o.Source)
		if err := unix.Bind(fd, src); err != nil {
			return fmt.Errorf("%w %s: %w", ErrBind, o.Source, err)
		}
	}
	for _, opt := range o.Bound {
		if err := opt.apply(fd); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) awaitConnected(t *Task, timeout time.Duration) error {
	if timeout > 0 {
		var tm Timer
		tm.Init(c.loop, func() { c.abort(ErrDialTimeout) })
		tm.Set(int64(timeout))
		defer tm.Release()
	}
	if err := c.awaitWrite(); err != nil {
		return err
	}
	e, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if e != 0 {
		return syscall.Errno(e)
	}
	return nil
}

// ListenOptions say how a listening socket is made.
type ListenOptions struct {
	Backlog     int // 0 is 4096
	ReusePort   bool
	Transparent bool
	FreeBind    bool
	V6Only      bool
	FastOpen    int // length of the queue; 0 is off
	Options     []SocketOption
}

// Listen opens a listening socket that no loop has yet.
func Listen(addr address.Addr, o *ListenOptions) (int, error) {
	sa, family := toSockaddr(addr)
	if sa == nil {
		return -1, fmt.Errorf("listen on %q: no address", addr)
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", err)
	}
	if err := prepareListen(fd, family, sa, o); err != nil {
		closeFD(fd)
		return -1, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return fd, nil
}

func prepareListen(fd, family int, sa unix.Sockaddr, o *ListenOptions) error {
	for _, opt := range o.socketOptions(family) {
		if err := opt.apply(fd); err != nil {
			return err
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	backlog := o.Backlog
	if backlog == 0 {
		backlog = 4096
	}
	return unix.Listen(fd, backlog)
}

func (o *ListenOptions) socketOptions(family int) []SocketOption {
	var opts []SocketOption
	add := func(on bool, level, name, v int) {
		if on {
			opts = append(opts, SocketOption{Level: level, Name: name, Int: v})
		}
	}
	ip := family != unix.AF_UNIX
	add(ip, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	add(ip && o.ReusePort, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	add(ip && o.FreeBind, unix.SOL_IP, unix.IP_FREEBIND, 1)
	add(ip && o.FastOpen > 0, unix.SOL_TCP, unix.TCP_FASTOPEN, o.FastOpen)
	if family == unix.AF_INET6 {
		only := 0
		if o.V6Only {
			only = 1
		}
		add(true, unix.SOL_IPV6, unix.IPV6_V6ONLY, only)
		add(o.Transparent, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
	} else {
		add(ip && o.Transparent, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
	}
	opts = append(opts, o.Options...)
	// The sockets that it accepts take it over, so that none of them needs a call of its own.
	add(ip, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return opts
}

func toSockaddr(a address.Addr) (unix.Sockaddr, int) {
	if a.IsUnix() {
		return &unix.SockaddrUnix{Name: a.Path()}, unix.AF_UNIX
	}
	ip := a.Addr()
	switch {
	case !ip.IsValid():
		return nil, 0
	case ip.Is4():
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}, unix.AF_INET
	default:
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16(), ZoneId: zoneID(ip.Zone())}, unix.AF_INET6
	}
}

func zoneID(zone string) uint32 {
	n := uint32(0)
	for _, c := range []byte(zone) {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + uint32(c-'0')
	}
	return n
}

func fromSockaddr(sa unix.Sockaddr) address.Addr {
	switch s := sa.(type) {
	case *unix.SockaddrInet4:
		return address.IP(netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port)))
	case *unix.SockaddrInet6:
		return address.IP(netip.AddrPortFrom(netip.AddrFrom16(s.Addr), uint16(s.Port)))
	case *unix.SockaddrUnix:
		return address.Unix(s.Name)
	}
	return address.Addr{}
}

// SocketAddr returns the address that a socket is bound to.
func SocketAddr(fd int) (address.Addr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return address.Addr{}, err
	}
	return fromSockaddr(sa), nil
}

// Duplicate returns a second descriptor of a socket that no loop has yet, for
// loops that must share one.
func Duplicate(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
}

// CloseFD closes a socket that no loop has taken.
func CloseFD(fd int) { closeFD(fd) }

// SetUnixMode sets the permissions of a Unix domain socket's file; 0 leaves
// them.
func SetUnixMode(path string, mode uint32) error {
	if mode == 0 || path[0] == '@' {
		return nil
	}
	return unix.Chmod(path, mode)
}

// RemoveUnix removes the file of a Unix domain socket that is bound no more;
// other addresses have none.
func RemoveUnix(a address.Addr) {
	if a.IsUnix() && a.Path()[0] != '@' {
		// Whoever bound the path meanwhile has replaced the file, or it is gone.
		_ = unix.Unlink(a.Path())
	}
}

// FreeBind is the option to bind to an address that no interface has.
func FreeBind() SocketOption {
	return SocketOption{Level: unix.SOL_IP, Name: unix.IP_FREEBIND, Int: 1}
}
