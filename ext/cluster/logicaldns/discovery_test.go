// SPDX-License-Identifier: Apache-2.0

package logicaldns

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers are given in turn; "" fails.
type answers struct {
	list []string
	at   int
}

func (a *answers) Lookup(context.Context, string, upstream.DNSFamily) (dns.Answer, error) {
	text := a.list[min(a.at, len(a.list)-1)]
	a.at++
	if text == "" {
		return dns.Answer{}, errors.New("no luck")
	}
	var out dns.Answer
	for _, s := range strings.Fields(text) {
		out.Addrs = append(out.Addrs, netip.MustParseAddr(s))
	}
	return out, nil
}

func TestOneHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := upstream.Target{Name: "big.test", Port: 443, Endpoint: upstream.Endpoint{Weight: 1}}
		d := New(target, upstream.DNSConfig{}, &answers{list: []string{"10.0.0.1 10.0.0.2 10.0.0.3", "", "10.0.0.2 10.0.0.1"}})
		var got []upstream.Endpoint
		failures := 0
		if err := d.Start(func(list []upstream.Endpoint, err error) {
			if err != nil {
				failures++
			}
			got = append(got, list...)
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		d.Close()
		if len(got) != 2 || failures != 1 {
			t.Fatalf("told %v and %d failures", got, failures)
		}
		if got[0].Key != got[1].Key || got[0].Key == "" {
			t.Errorf("the host has keys %q and %q", got[0].Key, got[1].Key)
		}
		if got[0].Address.String() != "10.0.0.1:443" || len(got[0].Addresses) != 2 || got[1].Address.String() != "10.0.0.2:443" || got[0].Hostname != "big.test" {
			t.Errorf("told %+v", got)
		}
	})
}

func TestFactory(t *testing.T) {
	f := Factory(dns.NewSource("/nonexistent", "/nonexistent"))
	name := upstream.Target{Name: "a", Port: 80}
	ip := upstream.Target{Endpoint: upstream.Endpoint{Address: address.IP(netip.MustParseAddrPort("10.0.0.1:80"))}}
	pipe := upstream.Target{Endpoint: upstream.Endpoint{Address: address.Unix("/p")}}
	for _, tt := range []struct {
		targets []upstream.Target
		err     string
	}{
		{[]upstream.Target{name}, ""},
		{[]upstream.Target{ip}, ""},
		{nil, "there are 0"},
		{[]upstream.Target{name, name}, "there are 2 (use type STRICT_DNS for several)"},
		{[]upstream.Target{pipe}, "a pipe is not a name (use type STATIC)"},
	} {
		_, err := f.New(&upstream.DiscoveryConfig{Targets: tt.targets})
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%d targets: %v, want %q", len(tt.targets), err, tt.err)
		}
	}
}

func TestCloseWithoutStart(t *testing.T) {
	New(upstream.Target{Name: "a"}, upstream.DNSConfig{}, nil).Close()
}
