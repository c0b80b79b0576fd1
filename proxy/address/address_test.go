// SPDX-License-Identifier: Apache-2.0

package address

import (
	"net/netip"
	"testing"
)

func TestAddr(t *testing.T) {
	tests := []struct{ in, ip, port string }{
		{"10.0.0.1:80", "10.0.0.1", "80"},
		{"[2001:db8::1]:443", "2001:db8::1", "443"},
		{"/run/weir.sock", "/run/weir.sock", ""},
		{"@abstract", "@abstract", ""},
	}
	for _, tt := range tests {
		a, err := Parse(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.String(); got != tt.in {
			t.Errorf("%s prints as %s", tt.in, got)
		}
		if got := string(a.AppendIP(nil)); got != tt.ip {
			t.Errorf("%s: ip %s", tt.in, got)
		}
		if got := string(a.AppendPort(nil)); got != tt.port {
			t.Errorf("%s: port %s", tt.in, got)
		}
	}
	if _, err := Parse("localhost:80"); err == nil {
		t.Error("a name is not an address")
	}
	mapped := IP(netip.MustParseAddrPort("[::ffff:10.0.0.1]:80"))
	if mapped.String() != "10.0.0.1:80" {
		t.Errorf("a v4-mapped address prints as %s", mapped)
	}
	if (Addr{}).IsValid() || (Addr{}).String() != "" {
		t.Error("the zero Addr is valid")
	}
}
