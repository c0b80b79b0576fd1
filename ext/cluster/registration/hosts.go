// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

// answer is what a service discovery service says. Fields beyond these are its own.
type answer struct {
	Hosts *[]host `json:"hosts"`
}

type host struct {
	Address string `json:"ip_address"`
	Port    int    `json:"port"`
	Tags    struct {
		Zone   string  `json:"az"`
		Canary bool    `json:"canary"`
		Weight *uint32 `json:"load_balancing_weight"`
	} `json:"tags"`
}

// parse reads an answer. One that is wrong anywhere is refused as a whole.
func parse(body []byte) ([]upstream.Endpoint, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("the answer is not what version 1 of the API says: %w", err)
	}
	if a.Hosts == nil {
		return nil, fmt.Errorf(`the answer has no "hosts"`)
	}
	out := make([]upstream.Endpoint, 0, len(*a.Hosts))
	for i, h := range *a.Hosts {
		ip, err := netip.ParseAddr(h.Address)
		if err != nil {
			return nil, fmt.Errorf("hosts[%d].ip_address: %.60q is not an IP address", i, h.Address)
		}
		if h.Port < 1 || h.Port > 65535 {
			return nil, fmt.Errorf("hosts[%d].port: %d is not a port", i, h.Port)
		}
		e := upstream.Endpoint{Address: address.IP(netip.AddrPortFrom(ip, uint16(h.Port))), Weight: 1}
		if w := h.Tags.Weight; w != nil {
			if *w < 1 || *w > 100 {
				return nil, fmt.Errorf("hosts[%d].tags.load_balancing_weight: %d is not from 1 to 100", i, *w)
			}
			e.Weight = *w
		}
		e.Locality.Zone = h.Tags.Zone
		if h.Tags.Canary {
			e.Metadata = streaminfo.Metadata{"envoy.lb": {"canary": true}}
		}
		out = append(out, e)
	}
	return out, nil
}
