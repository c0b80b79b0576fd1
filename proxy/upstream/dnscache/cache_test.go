// SPDX-License-Identifier: Apache-2.0

package dnscache

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	dfpcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &dfpcommonv3.DnsCacheConfig{})
}

// fake answers with what it is told.
type fake struct {
	mu    sync.Mutex
	addrs map[string][]netip.Addr
	asked int
}

func (f *fake) set(name string, addrs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addrs[name] = nil
	for _, a := range addrs {
		f.addrs[name] = append(f.addrs[name], netip.MustParseAddr(a))
	}
}

func (f *fake) Lookup(_ context.Context, name string, _ upstream.DNSFamily) (dns.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if len(f.addrs[name]) == 0 {
		return dns.Answer{}, dns.ErrNoSuchName
	}
	return dns.Answer{Addrs: f.addrs[name]}, nil
}

func config() Config {
	return Config{Name: "c", HostTTL: 3 * time.Minute, MaxHosts: 2, DNS: upstream.DNSConfig{Refresh: time.Minute}}
}

func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{addrs: map[string][]netip.Addr{}}
		f.set("a.test", "192.0.2.1", "192.0.2.2")
		c := newCache(config(), f)
		defer c.close()
		var got []upstream.Endpoint
		cancel := c.Subscribe(func(e []upstream.Endpoint) { got = e })
		defer cancel()
		n := Name{"a.test", 443}
		e, err := c.Load(n)
		if err != nil {
			t.Fatal(err)
		}
		<-e.Done()
		if e.Err() != nil || len(got) != 1 || got[0].Key != "a.test:443" || got[0].Address.String() != "192.0.2.1:443" || len(got[0].Addresses) != 1 || got[0].Hostname != "a.test" {
			t.Fatalf("%v %+v", e.Err(), got)
		}
		f.set("a.test", "192.0.2.9")
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if len(got) != 1 || got[0].Address.String() != "192.0.2.9:443" {
			t.Errorf("after a refresh: %+v", got)
		}
		// What was resolved stays while resolving fails.
		f.set("a.test")
		if _, err := c.Load(n); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(got) != 1 || e.Err() != nil {
			t.Errorf("after failures: %+v", got)
		}
		// And goes when nobody has asked for it.
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if len(got) != 0 || len(c.entries) != 0 {
			t.Errorf("after its time: %+v", got)
		}
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{addrs: map[string][]netip.Addr{}}
		f.set("a", "192.0.2.1")
		cfg := config()
		cfg.MaxPending = 1
		cfg.Preresolve = []Name{{"a", 1}}
		c := newCache(cfg, f)
		defer c.close()
		if _, err := c.Load(Name{"b", 1}); !errors.Is(err, ErrPending) && err != nil {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		e, err := c.Load(Name{"b", 1})
		if err != nil {
			t.Fatal(err)
		}
		<-e.Done()
		if !errors.Is(e.Err(), dns.ErrNoSuchName) {
			t.Errorf("%v", e.Err())
		}
		if _, err := c.Load(Name{"d", 1}); !errors.Is(err, ErrFull) {
			t.Errorf("%v", err)
		}
	})
}

// TestAllow: addresses that the filter does not let pass are as if they were not
// there.
func TestAllow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{addrs: map[string][]netip.Addr{}}
		f.set("a", "127.0.0.1", "192.0.2.1")
		f.set("b", "127.0.0.1")
		cfg := config()
		cfg.Allow = func(ip netip.Addr) bool { return !ip.IsLoopback() }
		c := newCache(cfg, f)
		defer c.close()
		for name, ok := range map[string]bool{"a": true, "b": false} {
			e, err := c.Load(Name{name, 80})
			if err != nil {
				t.Fatal(err)
			}
			<-e.Done()
			if (e.Err() == nil) != ok {
				t.Errorf("%s: %v", name, e.Err())
			}
		}
		if got := c.endpoints(); len(got) != 1 || got[0].Address.String() != "192.0.2.1:80" {
			t.Errorf("%+v", got)
		}
	})
}

func TestForgetFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{addrs: map[string][]netip.Addr{}}
		cfg := config()
		cfg.ForgetFailures = true
		c := newCache(cfg, f)
		defer c.close()
		e, err := c.Load(Name{"a", 80})
		if err != nil {
			t.Fatal(err)
		}
		<-e.Done()
		if e.Err() == nil || len(c.entries) != 0 {
			t.Errorf("%v, %d entries", e.Err(), len(c.entries))
		}
	})
}

func TestSet(t *testing.T) {
	s := NewSet(dns.NewSource("", ""))
	a, releaseA, err := s.Get(config())
	if err != nil {
		t.Fatal(err)
	}
	b, releaseB, err := s.Get(config())
	if err != nil || a != b {
		t.Fatalf("%v: two caches of one name", err)
	}
	other := config()
	other.Key = "x"
	if _, _, err := s.Get(other); err == nil {
		t.Error("two configurations share a name")
	}
	releaseA()
	releaseA()
	if len(s.m) != 1 {
		t.Error("the cache went while it was used")
	}
	releaseB()
	if len(s.m) != 0 {
		t.Error("the cache stayed")
	}
}

func TestParseName(t *testing.T) {
	for in, want := range map[string]Name{
		"a.TEST": {"a.test", 80}, "a.test:8080": {"a.test", 8080}, "[::1]": {"::1", 80}, "[::1]:443": {"::1", 443}, "192.0.2.1:1": {"192.0.2.1", 1},
		"": {}, ":80": {}, "a:0": {}, "a:70000": {}, "a:b": {}, "[::1": {}, "[x]": {}, "[::1]x": {}, "a:": {"a", 80},
	} {
		got, ok := ParseName(in, 80)
		if got != want || ok != (want != Name{}) {
			t.Errorf("%q: %+v %v", in, got, ok)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"a:1", "[::1]:2", "x", "[", "]:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := ParseName(s, 80)
		if !ok {
			return
		}
		if again, ok := ParseName(n.String(), 80); !ok || again != n {
			t.Errorf("%q is %+v, which is %q, which is %+v", s, n, n.String(), again)
		}
	})
}
