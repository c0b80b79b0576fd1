// SPDX-License-Identifier: Apache-2.0

package static

import (
	"net/netip"
	"strings"
	"testing"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/upstream"
)

func TestTellsOnce(t *testing.T) {
	e := upstream.Endpoint{Address: address.IP(netip.MustParseAddrPort("10.0.0.1:80")), Weight: 3}
	start, err := Factory().New(&upstream.DiscoveryConfig{Targets: []upstream.Target{{Endpoint: e}}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := start()
	if err != nil {
		t.Fatal(err)
	}
	var got []upstream.Endpoint
	calls := 0
	if err := d.Start(func(list []upstream.Endpoint, err error) {
		got, calls = list, calls+1
		if err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if calls != 1 || len(got) != 1 || got[0].Address != e.Address || got[0].Weight != 3 {
		t.Errorf("told %+v in %d calls", got, calls)
	}
}

func TestNamesAreRefused(t *testing.T) {
	_, err := Factory().New(&upstream.DiscoveryConfig{Targets: []upstream.Target{{Name: "example.com", Path: "load_assignment.x"}}})
	if err == nil || !strings.Contains(err.Error(), `load_assignment.x: "example.com" is not an IP address (use type STRICT_DNS`) {
		t.Errorf("error is %v", err)
	}
}
