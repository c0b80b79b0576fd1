// SPDX-License-Identifier: Apache-2.0

package match

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestCIDRs(t *testing.T) {
	set := NewCIDRs(netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("192.168.1.7/32"),
		netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("::ffff:1.2.3.0/120"))
	for a, want := range map[string]bool{
		"10.2.3.4": true, "10.1.3.4": true, "11.0.0.0": false, "192.168.1.7": true, "192.168.1.6": false, "::ffff:10.0.0.1": true,
		"2001:db8:1::": true, "2001:db9::": false, "::1": true, "::2": false, "1.2.3.4": true, "1.2.4.4": false,
	} {
		if got := set.Contains(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	if set.Contains(netip.Addr{}) || (&CIDRs{}).Contains(netip.MustParseAddr("1.1.1.1")) {
		t.Error("nothing is contained")
	}
	all := NewCIDRs(netip.MustParsePrefix("0.0.0.0/0"))
	if !all.Contains(netip.MustParseAddr("255.255.255.255")) || all.Contains(netip.MustParseAddr("::1")) {
		t.Error("0.0.0.0/0 is all of v4")
	}
}

func TestCIDRsEqualScan(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	addr := func() netip.Addr {
		if r.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{byte(r.IntN(2)), byte(r.IntN(3)), 0, byte(r.IntN(256))})
		}
		return netip.AddrFrom16([16]byte{byte(r.IntN(2)), 7: byte(r.IntN(2)), 8: byte(r.IntN(3)), 15: byte(r.IntN(256))})
	}
	for range 500 {
		var list []netip.Prefix
		for range r.IntN(20) {
			a := addr()
			list = append(list, netip.PrefixFrom(a, r.IntN(a.BitLen()+1)).Masked())
		}
		set := NewCIDRs(list...)
		for range 50 {
			a := addr().Unmap()
			want, most := false, -1
			for i, p := range list {
				if p.Addr().Unmap().Is4() == a.Is4() && p.Addr().Is4In6() == false && p.Contains(a) {
					want = true
					if most < 0 || p.Bits() > list[most].Bits() {
						most = i
					}
				}
			}
			if got := set.Contains(a); got != want {
				t.Fatalf("%s in %v: %v", a, list, got)
			}
			if ids := set.longest(nil, a); want && int(ids[len(ids)-1]) != most {
				t.Fatalf("%s in %v: longest is %d, want %d", a, list, ids[len(ids)-1], most)
			}
		}
	}
}
