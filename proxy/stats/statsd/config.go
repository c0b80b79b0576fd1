// SPDX-License-Identifier: Apache-2.0

package statsd

import (
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Compile returns a sink that sends lines to the address of a configuration, in datagrams of at most
// so many bytes; of 0 each has one line.
func Compile(a *corev3.Address, f Format, most uint64, log *slog.Logger) (*Datagrams, error) {
	if a == nil {
		return nil, errors.New("address: is missing: say where lines are read")
	}
	to, err := ParseAddress(a)
	if err != nil {
		return nil, fmt.Errorf("address.%w", err)
	}
	return NewDatagrams(to, f, int(min(most, mostBytes)), log), nil
}

// mostBytes is how many bytes a datagram of UDP can have.
const mostBytes = 65507

// ParseAddress reads where datagrams are sent. As in Envoy the protocol of an address does not matter.
func ParseAddress(a *corev3.Address) (Target, error) {
	if err := supported.Apply(a, "", nil); err != nil {
		return Target{}, err
	}
	if p := a.GetPipe(); p != nil {
		return Target{"unixgram", p.GetPath()}, nil
	}
	s := a.GetSocketAddress()
	if s == nil {
		return Target{}, errors.New("is missing: give a socket_address or a pipe")
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return Target{}, fmt.Errorf("socket_address.address: %q is not an IP address", s.GetAddress())
	}
	return Target{"udp", netip.AddrPortFrom(ip, uint16(s.GetPortValue())).String()}, nil
}
