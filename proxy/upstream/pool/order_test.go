// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"net/netip"
	"strings"
	"testing"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/upstream"
)

// TestOrder: families take turns, each in the order of the answer (RFC 8305 §4).
func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		given string
		first upstream.DNSFamily
		count uint32
		want  string
	}{
		{"4a 4b 6a 6b", upstream.FamilyAuto, 1, "4a 6a 4b 6b"},
		{"6a 4a 4b 4c", upstream.FamilyAuto, 1, "6a 4a 4b 4c"},
		{"4a 4b 6a 6b", upstream.FamilyV6Only, 1, "6a 4a 6b 4b"},
		{"6a 6b 6c 6d 4a 4b", upstream.FamilyAuto, 2, "6a 6b 4a 6c 6d 4b"},
		{"6a 6b 4a", upstream.FamilyV4Only, 9, "4a 6a 6b"},
		{"4a 4b", upstream.FamilyV6Only, 1, "4a 4b"},
		{"4a", upstream.FamilyAuto, 0, "4a"},
	} {
		var list []address.Addr
		for f := range strings.FieldsSeq(tt.given) {
			ip := netip.AddrFrom4([4]byte{f[1]})
			if f[0] == '6' {
				ip = netip.AddrFrom16([16]byte{15: f[1]})
			}
			list = append(list, address.IP(netip.AddrPortFrom(ip, 1)))
		}
		h := &upstream.Host{Endpoint: upstream.Endpoint{Address: list[0], Addresses: list[1:]}}
		var got []string
		for _, a := range order(h, upstream.HappyEyeballs{First: tt.first, FirstCount: tt.count}) {
			if a.Addr().Is4() {
				got = append(got, "4"+string(a.Addr().AsSlice()[0]))
			} else {
				got = append(got, "6"+string(a.Addr().AsSlice()[15]))
			}
		}
		if g := strings.Join(got, " "); g != tt.want {
			t.Errorf("%s, %v first, %d of it: %s, want %s", tt.given, tt.first, tt.count, g, tt.want)
		}
	}
}
