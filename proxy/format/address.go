// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/streaminfo"
)

// end picks an address of a stream; the zero Addr if there is none.
type end func(*streaminfo.Stream) address.Addr

func downstream(get func(*streaminfo.Connection) address.Addr) end {
	return func(s *streaminfo.Stream) address.Addr {
		if s.Conn == nil {
			return address.Addr{}
		}
		return get(s.Conn)
	}
}

var (
	downstreamLocal        = downstream(func(c *streaminfo.Connection) address.Addr { return c.Local })
	downstreamDirectLocal  = downstream(func(c *streaminfo.Connection) address.Addr { return c.DirectLocal })
	downstreamDirectRemote = downstream(func(c *streaminfo.Connection) address.Addr { return c.DirectRemote })
)

func downstreamRemote(s *streaminfo.Stream) address.Addr {
	if s.Remote.IsValid() || s.Conn == nil {
		return s.Remote
	}
	return s.Conn.Remote
}

func upstreamHost(s *streaminfo.Stream) address.Addr   { return s.Upstream.HostAddress }
func upstreamLocal(s *streaminfo.Stream) address.Addr  { return s.Upstream.Local }
func upstreamRemote(s *streaminfo.Stream) address.Addr { return s.Upstream.Remote }

func withPort(get end) entry {
	run := Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		a := get(c.Stream)
		return a.Append(dst), a.IsValid()
	}}
	return entry{bare, func(string, bool) (Operator, error) { return run, nil }}
}

// withoutPort takes the length of a prefix: the address is masked to it and
// printed as a CIDR range.
func withoutPort(get end) entry {
	return entry{takes, func(arg string, _ bool) (Operator, error) {
		bits := -1
		if arg != "" {
			n, err := strconv.Atoi(arg)
			if err != nil || n < 0 || n > 128 {
				return Operator{}, fmt.Errorf("%q is not the length of a prefix, 0 to 128", arg)
			}
			bits = n
		}
		return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
			a := get(c.Stream)
			if bits < 0 || a.IsUnix() || !a.IsValid() {
				return a.AppendIP(dst), a.IsValid()
			}
			p, err := a.Addr().WithZone("").Prefix(bits)
			if err != nil {
				// A prefix that only IPv6 has, on an IPv4 address.
				return dst, false
			}
			return p.AppendTo(dst), true
		}}, nil
	}}
}

func justPort(get end) entry {
	return entry{bare, number(func(s *streaminfo.Stream) (int64, bool) {
		a := get(s)
		return int64(a.Port()), a.IsValid() && !a.IsUnix()
	})}
}

// noEndpoint is the ID of an internal address; IP and Unix addresses, which
// are all there are, have none.
var noEndpoint = entry{bare, text(func(*streaminfo.Stream) string { return "" })}

// hostName is %UPSTREAM_HOST_NAME%: the host's name, or else its address.
func hostName(port bool) Constructor {
	run := Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		u := &c.Stream.Upstream
		return appendHost(dst, u.HostName, u.HostAddress, port), u.HostName != "" || u.HostAddress.IsValid()
	}}
	return func(string, bool) (Operator, error) { return run, nil }
}

func appendHost(dst []byte, name string, a address.Addr, port bool) []byte {
	switch {
	case name == "" && port:
		return a.Append(dst)
	case name == "":
		return a.AppendIP(dst)
	case port:
		return append(dst, name...)
	}
	return append(dst, stripPort(name)...)
}

// stripPort removes ":80" from a host's name; a bare IPv6 address has no port.
func stripPort(name string) string {
	i := strings.LastIndexByte(name, ':')
	if i < 0 || i == len(name)-1 {
		return name
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return name
	}
	for _, c := range name[i+1:] {
		if c < '0' || c > '9' {
			return name
		}
	}
	return name[:i]
}

// attempted prints the hosts tried, joined by commas.
func attempted(names, port bool) Constructor {
	run := Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		u := &c.Stream.Upstream
		for i, a := range u.HostsAttempted {
			if i > 0 {
				dst = append(dst, ',')
			}
			name := ""
			if names && i < len(u.HostNamesAttempted) {
				name = u.HostNamesAttempted[i]
			}
			dst = appendHost(dst, name, a, port)
		}
		return dst, len(u.HostsAttempted) > 0
	}}
	return func(string, bool) (Operator, error) { return run, nil }
}

func connectionsAttempted(string, bool) (Operator, error) {
	return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		ids := c.Stream.Upstream.ConnectionIDsAttempted
		for i, id := range ids {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, id, 10)
		}
		return dst, len(ids) > 0
	}}, nil
}
