// SPDX-License-Identifier: Apache-2.0

package originaldst

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

func TestMain(m *testing.M) { leak.Main(m) }

func at(s string) address.Addr { return address.IP(netip.MustParseAddrPort(s)) }

func TestDestination(t *testing.T) {
	redirected := func() *streaminfo.Connection {
		return &streaminfo.Connection{Local: at("192.0.2.1:80"), DirectLocal: at("10.0.0.1:15001")}
	}
	noted := redirected()
	noted.FilterState = streaminfo.FilterState{stateKey: {Text: "192.0.2.9:9"}}
	told := redirected()
	told.Metadata = streaminfo.Metadata{"ns": {"a": map[string]any{"b": "192.0.2.8:8"}}}
	direct := &streaminfo.Connection{Local: at("10.0.0.1:15001"), DirectLocal: at("10.0.0.1:15001")}
	head := func(v string) *header.Map {
		var h header.Map
		h.Add(header.NewName("x-dst"), v)
		return &h
	}
	byHeader := &policy{header: header.NewName("x-dst")}
	for _, tt := range []struct {
		name    string
		policy  *policy
		pick    upstream.PickContext
		want    string
		invalid uint64
	}{
		{"restored", &policy{}, upstream.PickContext{Connection: redirected()}, "192.0.2.1:80", 0},
		{"not redirected", &policy{}, upstream.PickContext{Connection: direct}, "", 0},
		{"port", &policy{port: 8080}, upstream.PickContext{Connection: redirected()}, "192.0.2.1:8080", 0},
		{"filter state", &policy{}, upstream.PickContext{Connection: noted}, "192.0.2.9:9", 0},
		{"metadata", &policy{namespace: "ns", path: []string{"a", "b"}}, upstream.PickContext{Connection: told}, "192.0.2.8:8", 0},
		{"header", byHeader, upstream.PickContext{Connection: redirected(), Headers: head("[2001:db8::1]:443")}, "[2001:db8::1]:443", 0},
		{"header not trusted", &policy{}, upstream.PickContext{Connection: redirected(), Headers: head("192.0.2.7:7")}, "192.0.2.1:80", 0},
		{"header is nonsense", byHeader, upstream.PickContext{Connection: redirected(), Headers: head("example.com:80")}, "", 1},
		{"header is a path", byHeader, upstream.PickContext{Connection: redirected(), Headers: head("/run/docker.sock")}, "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := &upstream.Stats{}
			b := tt.policy.Balancer(&upstream.Env{Loops: 1, Stats: st})
			h := b.Pick(&tt.pick)
			got := ""
			if h != nil {
				got = h.Address.String()
			}
			if got != tt.want || st.OriginalDstHostInvalid.Value() != tt.invalid {
				t.Errorf("%q, %d invalid", got, st.OriginalDstHostInvalid.Value())
			}
			if h != nil && b.Pick(&tt.pick) != h {
				t.Error("the same destination is another host the second time")
			}
		})
	}
}

// TestCleanup: a host goes when nobody has used it for an interval, unless there is
// a connection to it.
func TestCleanup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &policy{}
		d := &Discovery{policy: p, every: time.Minute}
		if err := d.Start(func([]upstream.Endpoint, error) {}); err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		b := p.Balancer(&upstream.Env{Loops: 1, Stats: &upstream.Stats{}})
		c := &upstream.PickContext{Connection: &streaminfo.Connection{Local: at("192.0.2.1:80")}}
		h := b.Pick(c)
		h.AddConnections(1)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if b.Pick(c) != h {
			t.Error("a host went that there was a connection to")
		}
		h.AddConnections(-1)
		time.Sleep(150 * time.Second)
		synctest.Wait()
		if b.Pick(c) == h {
			t.Error("a host stayed that nobody used")
		}
	})
}
