// SPDX-License-Identifier: Apache-2.0

package strictdns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone is a fake resolver: what it holds may change.
type zone struct {
	mu    sync.Mutex
	names map[string]string // addresses joined by spaces; "fail" fails, "hang" hangs
	asked map[string]int
}

func (z *zone) set(name, addrs string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.names[name] = addrs
}

func (z *zone) Lookup(ctx context.Context, name string, _ upstream.DNSFamily) (dns.Answer, error) {
	z.mu.Lock()
	text := z.names[name]
	z.asked[name]++
	z.mu.Unlock()
	switch text {
	case "fail":
		return dns.Answer{}, errors.New("no luck")
	case "hang":
		<-ctx.Done()
		return dns.Answer{}, ctx.Err()
	}
	var a dns.Answer
	for _, s := range strings.Fields(text) {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(s))
	}
	return a, nil
}

// told collects updates as text.
type told struct {
	mu  sync.Mutex
	log []string
}

func (o *told) update(list []upstream.Endpoint, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.log = append(o.log, "error")
		return
	}
	text := ""
	for _, e := range list {
		text += fmt.Sprintf("%v=%s ", e.Address, e.Hostname)
	}
	o.log = append(o.log, text)
}

func (o *told) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	log := o.log
	o.log = nil
	return log
}

func target(name string) upstream.Target {
	return upstream.Target{Name: name, Port: 80, Endpoint: upstream.Endpoint{Weight: 1}}
}

func run(t *testing.T, names map[string]string, targets []upstream.Target, c upstream.DNSConfig, f func(*zone, *told)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		z, o := &zone{names: names, asked: map[string]int{}}, &told{}
		d := New(targets, c, z)
		if err := d.Start(o.update); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f(z, o)
		d.Close()
		o.take()
		time.Sleep(time.Hour)
		if log := o.take(); len(log) > 0 {
			t.Errorf("told after the end: %v", log)
		}
	})
}

func expect(t *testing.T, o *told, want ...string) {
	t.Helper()
	if got := o.take(); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestEveryAddressIsAHost(t *testing.T) {
	run(t, map[string]string{"a": "10.0.0.2 10.0.0.1 10.0.0.2"}, []upstream.Target{target("a")}, upstream.DNSConfig{}, func(z *zone, o *told) {
		expect(t, o, "10.0.0.1:80=a 10.0.0.2:80=a ")
		z.set("a", "10.0.0.3")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		expect(t, o, "10.0.0.3:80=a ")
	})
}

func TestLastGoodAnswerStays(t *testing.T) {
	targets := []upstream.Target{target("a"), target("b")}
	run(t, map[string]string{"a": "10.0.0.1", "b": "fail"}, targets, upstream.DNSConfig{}, func(z *zone, o *told) {
		o.take()
		z.set("a", "fail")
		z.set("b", "10.0.0.2")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		log := o.take()
		if !slices.Contains(log, "error") || !slices.Contains(log, "10.0.0.1:80=a 10.0.0.2:80=b ") {
			t.Errorf("told %q", log)
		}
		z.set("a", "") // exists, has no address
		z.set("b", "10.0.0.3")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if log := o.take(); !slices.Contains(log, "10.0.0.1:80=a 10.0.0.3:80=b ") {
			t.Errorf("told %q", log)
		}
	})
}

func TestFailureIsToldWhenAllHaveFailed(t *testing.T) {
	targets := []upstream.Target{target("a"), target("b")}
	run(t, map[string]string{"a": "fail", "b": "hang"}, targets, upstream.DNSConfig{}, func(_ *zone, o *told) {
		expect(t, o)
	})
	run(t, map[string]string{"a": "fail", "b": "fail"}, targets, upstream.DNSConfig{}, func(_ *zone, o *told) {
		expect(t, o, "error")
	})
}

func TestNamesHaveTheirOwnSchedules(t *testing.T) {
	targets := []upstream.Target{target("good"), target("bad"), target("hangs")}
	c := upstream.DNSConfig{Refresh: 10 * time.Second, FailureBase: time.Second, FailureMax: time.Second}
	run(t, map[string]string{"good": "10.0.0.1", "bad": "fail", "hangs": "hang"}, targets, c, func(z *zone, _ *told) {
		time.Sleep(19 * time.Second)
		synctest.Wait()
		z.mu.Lock()
		defer z.mu.Unlock()
		if z.asked["good"] != 2 || z.asked["bad"] < 19 || z.asked["bad"] > 40 || z.asked["hangs"] != 1 {
			t.Errorf("asked %v", z.asked)
		}
	})
}

func TestAddressesNeedNoResolver(t *testing.T) {
	fixed := upstream.Target{Endpoint: upstream.Endpoint{Address: address.IP(netip.MustParseAddrPort("10.0.0.9:80"))}}
	run(t, map[string]string{"a": "hang"}, []upstream.Target{fixed, target("a")}, upstream.DNSConfig{}, func(_ *zone, o *told) {
		expect(t, o, "10.0.0.9:80= ")
	})
	run(t, nil, nil, upstream.DNSConfig{}, func(_ *zone, o *told) { expect(t, o, "") })
}

func TestConfiguredHostnameAndCheckPortStay(t *testing.T) {
	x := target("a")
	x.Hostname, x.CheckPort = "shop", 81
	e := x.At(netip.MustParseAddr("10.0.0.1"))
	if e.Hostname != "shop" || e.Check.Address.String() != "10.0.0.1:81" {
		t.Errorf("endpoint is %+v", e)
	}
}
