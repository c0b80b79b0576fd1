// SPDX-License-Identifier: Apache-2.0

package statsd

import (
	"errors"
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// ParseAddress reads where datagrams are sent. As in Envoy the protocol of an address does not matter.
func ParseAddress(a *corev3.Address) (Target, error) {
	if p := a.GetPipe(); p != nil {
		if p.GetMode() != 0 {
			return Target{}, errors.New("pipe.mode: the socket is another's, who has made it: remove the field")
		}
		return Target{"unixgram", p.GetPath()}, nil
	}
	s := a.GetSocketAddress()
	switch {
	case s == nil:
		return Target{}, errors.New("must be a socket_address or a pipe")
	case s.GetNamedPort() != "":
		return Target{}, errors.New("socket_address.named_port: is not supported: use port_value")
	case s.GetResolverName() != "":
		return Target{}, errors.New("socket_address.resolver_name: is not supported: give an IP address")
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return Target{}, fmt.Errorf("socket_address.address: %q is not an IP address", s.GetAddress())
	}
	return Target{"udp", netip.AddrPortFrom(ip, uint16(s.GetPortValue())).String()}, nil
}
