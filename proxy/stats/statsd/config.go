// SPDX-License-Identifier: Apache-2.0

package statsd

import (
	_ "embed"
	"errors"
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

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
