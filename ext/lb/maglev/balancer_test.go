// SPDX-License-Identifier: Apache-2.0

package maglev

import (
	"fmt"
	"net/netip"
	"testing"

	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/balancertest"
	"weir.dev/weir/proxy/upstream/hashing"
)

func TestConformance(t *testing.T) {
	balancertest.Run(t, New(Config{}), balancertest.Options{Weighted: true, Hashed: true})
}

func TestConformanceWithBoundedLoad(t *testing.T) {
	c := Config{Hash: hashing.Options{Balance: 125}}
	balancertest.Run(t, New(c), balancertest.Options{Weighted: true, Hashed: true})
}

// hosts makes 127.0.0.1:90 and those after it.
func hosts(edit func(i int, e *upstream.Endpoint), weights ...uint32) []*upstream.Host {
	var out []*upstream.Host
	for i, w := range weights {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(90+i))
		e := upstream.Endpoint{Address: address.IP(at), Weight: w}
		if edit != nil {
			edit(i, &e)
		}
		out = append(out, upstream.NewHost(e, nil, 1))
	}
	return out
}

// TestTableIsEnvoys has the tables that Envoy's own tests list.
func TestTableIsEnvoys(t *testing.T) {
	ones := []uint32{1, 1, 1, 1, 1, 1}
	hostname := func(i int, e *upstream.Endpoint) { e.Hostname = fmt.Sprint(90 + i) }
	hashKey := func(i int, e *upstream.Endpoint) {
		e.Metadata = streaminfo.Metadata{"envoy.lb": {"hash_key": fmt.Sprint(90 + i)}}
	}
	byName := []int{2, 5, 0, 3, 4, 1, 0}
	for _, tt := range []struct {
		name   string
		config Config
		hosts  []*upstream.Host
		want   []int
	}{
		{"one", Config{Size: 7}, hosts(nil, 1), []int{0, 0, 0, 0, 0, 0, 0}},
		{"addresses", Config{Size: 7}, hosts(nil, ones...), []int{2, 4, 0, 1, 5, 0, 3}},
		{"hostnames", Config{Size: 7, Hash: hashing.Options{UseHostname: true}}, hosts(hostname, ones...), byName},
		{"hash keys", Config{Size: 7}, hosts(hashKey, ones...), byName},
		{"bounded", Config{Size: 7, Hash: hashing.Options{UseHostname: true, Balance: 200}}, hosts(hostname, ones...), byName},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := balancertest.Balancer(New(tt.config), 1, tt.hosts...)
			for i := range 21 {
				got := b.Pick(&upstream.PickContext{Hash: uint64(i), HasHash: true})
				if want := tt.hosts[tt.want[i%7]]; got != want {
					t.Errorf("hash %d goes to %v, want %v", i, got.Address, want.Address)
				}
			}
		})
	}
}

func TestPartsAreEven(t *testing.T) {
	list := balancertest.Hosts(make([]uint32, 1000)...)
	shares := make([]float64, len(list))
	for i := range shares {
		shares[i] = 0.001
	}
	got := New(Config{}).Build(upstream.NewPrioritySet(list, upstream.SetOptions{PanicThreshold: 50}))
	m := meter{}
	got.(upstream.Measured).Measure(nil, m)
	if m["maglev_lb.min_entries_per_host"] != 65 || m["maglev_lb.max_entries_per_host"] != 66 {
		t.Errorf("entries per host are %v, want 65 to 66", m)
	}
}

type meter map[string]int64

func (m meter) Gauge(name string, v int64) { m[name] = v }

func (m meter) Count(name string, n uint64) { m[name] += int64(n) }

func TestKeysStay(t *testing.T) {
	balancertest.Moves(t, New(Config{}), balancertest.Hosts(make([]uint32, 100)...), 20_000, 0.02)
	balancertest.Moves(t, New(Config{}), balancertest.Hosts(make([]uint32, 1000)...), 20_000, 0.02)
}

func TestAttemptsGoElsewhere(t *testing.T) {
	b := balancertest.Balancer(New(Config{}), 1, balancertest.Hosts(make([]uint32, 10)...)...)
	seen := map[*upstream.Host]bool{}
	for attempt := range uint32(40) {
		seen[b.Pick(&upstream.PickContext{Hash: 7, HasHash: true, Attempt: attempt})] = true
	}
	if len(seen) < 5 {
		t.Errorf("40 attempts found %d hosts of 10", len(seen))
	}
}

func TestTableSizeIsAPrime(t *testing.T) {
	for size, ok := range map[uint64]bool{8: false, 7: true, 65537: true, 65536: false, 1: false, 5000011: true} {
		_, err := compile(&maglevv3.Maglev{TableSize: wrapperspb.UInt64(size)})
		if (err == nil) != ok {
			t.Errorf("size %d: error %v", size, err)
		}
	}
}

func BenchmarkBuild1000(b *testing.B) {
	set := upstream.NewPrioritySet(balancertest.Hosts(make([]uint32, 1000)...), upstream.SetOptions{PanicThreshold: 50})
	p := New(Config{})
	for b.Loop() {
		p.Build(set)
	}
}

func TestThousandHosts(t *testing.T) {
	const n, keys = 1000, 400_000
	list := balancertest.Hosts(make([]uint32, n)...)
	for i := range n / 10 {
		list[i*10].SetFlags(upstream.FailedActiveHC, 0)
	}
	got := balancertest.Count(balancertest.Balancer(New(Config{}), 1, list...), keys)
	var counts []int
	var shares []float64
	for i, h := range list {
		if i%10 == 0 {
			if got[h] > 0 {
				t.Errorf("host %d is down and has %d keys", i, got[h])
			}
			continue
		}
		counts, shares = append(counts, got[h]), append(shares, 1.0/900)
	}
	// Hosts have 72 or 73 places of the table, which adds about 4 % to the statistic.
	if x, limit := balancertest.ChiSquare(counts, shares), balancertest.Limit999(899)*1.1; x > limit {
		t.Errorf("chi-square is %.0f, above %.0f", x, limit)
	}
}
