// SPDX-License-Identifier: Apache-2.0

package ringhash

import (
	"fmt"
	"math"
	"net/netip"
	"testing"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/balancertest"
	"weir.dev/weir/proxy/upstream/hashing"
)

func TestConformance(t *testing.T) {
	// The shares of a ring are by chance: k places of a host vary by their root.
	balancertest.Run(t, New(Config{MinSize: 1 << 13}), balancertest.Options{Weighted: true, Hashed: true, Spread: 16})
}

func TestConformanceWithBoundedLoad(t *testing.T) {
	c := Config{MinSize: 1 << 13, Hash: hashing.Options{Balance: 125}}
	balancertest.Run(t, New(c), balancertest.Options{Weighted: true, Hashed: true, Spread: 16})
}

// hosts makes 127.0.0.1:FIRST and those after it.
func hosts(first int, edit func(i int, e *upstream.Endpoint), weights ...uint32) []*upstream.Host {
	var out []*upstream.Host
	for i, w := range weights {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(first+i))
		e := upstream.Endpoint{Address: address.IP(at), Weight: w}
		if edit != nil {
			edit(i, &e)
		}
		out = append(out, upstream.NewHost(e, nil, 1))
	}
	return out
}

func pick(b upstream.Balancer, hash uint64, attempt uint32) *upstream.Host {
	return b.Pick(&upstream.PickContext{Hash: hash, HasHash: true, Attempt: attempt})
}

// TestRingIsEnvoys has the positions that Envoy's own tests list.
func TestRingIsEnvoys(t *testing.T) {
	ones := []uint32{1, 1, 1, 1, 1, 1}
	hostname := func(i int, e *upstream.Endpoint) { e.Hostname = fmt.Sprint(90 + i) }
	hashKey := func(i int, e *upstream.Endpoint) {
		e.Metadata = streaminfo.Metadata{"envoy.lb": {"hash_key": fmt.Sprint(90 + i)}}
	}
	named := map[uint64]int{
		0: 5, math.MaxUint64: 5, 1975508444536362413: 5, 2376063919839173711: 5, 2386806903309390596: 3, 6749904478991551885: 4,
		6803900775736438537: 3, 7225015537174310577: 2, 8787465352164086522: 0, 11282020843382717940: 2, 13723418369486627818: 1,
		13776502110861797421: 0, 14338313586354474791: 1, 15364271037087512980: 4,
	}
	for _, tt := range []struct {
		name   string
		config Config
		hosts  []*upstream.Host
		want   map[uint64]int
	}{
		{"xxhash", Config{MinSize: 12}, hosts(90, nil, ones...), map[uint64]int{
			0: 4, math.MaxUint64: 4, 833437586790550860: 4, 833437586790550861: 2, 928266305478181108: 2, 1033482794131418490: 0,
			3551244743356806947: 5, 3551244743356806948: 3, 3851675632748031481: 3, 5583722120771150861: 1, 6311230543546372928: 1,
			7700377290971790572: 3, 13144177310400110813: 5, 13444792449719432967: 2, 15516499411664133160: 4, 16117243373044804880: 0,
		}},
		{"murmur", Config{MinSize: 12, Murmur: true}, hosts(80, nil, ones...), map[uint64]int{
			0: 5, math.MaxUint64: 5, 1358027074129602068: 5, 1358027074129602069: 3, 7224494972555149682: 4, 7701421856454313576: 1,
			8649315368077433379: 2, 8739448859063030639: 4, 9887544217113020895: 1, 10150910876324007730: 2, 15168472011420622455: 3,
			15427156902705414897: 0, 16375050414328759093: 5, 17613279263364193813: 0,
		}},
		{"hostname", Config{MinSize: 12, Hash: hashing.Options{UseHostname: true}}, hosts(90, hostname, ones...), named},
		{"hash key", Config{MinSize: 12}, hosts(90, hashKey, ones...), named},
		{"hostname, bounded", Config{MinSize: 12, Hash: hashing.Options{UseHostname: true, Balance: 200}}, hosts(90, hostname, ones...), named},
		{"weights in a tiny ring", Config{MinSize: 6, MaxSize: 6}, hosts(90, nil, 1, 2, 3), map[uint64]int{
			928266305478181108: 2, 4443673547860492590: 2, 5583722120771150861: 1, 6311230543546372928: 1,
			13444792449719432967: 2, 16117243373044804889: 0,
		}},
		{"two hosts", Config{MinSize: 3}, hosts(80, nil, 1, 1), map[uint64]int{
			0: 0, 5454692015285649509: 0, 7859399908942313493: 1, 13838424394637650569: 0, 16064866803292627174: 1,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := balancertest.Balancer(New(tt.config), 1, tt.hosts...)
			for hash, i := range tt.want {
				if got := pick(b, hash, 0); got != tt.hosts[i] {
					t.Errorf("hash %d goes to %v, want %v", hash, got.Address, tt.hosts[i].Address)
				}
			}
		})
	}
}

// A host that is refused gives way to those at the next places.
func TestAttemptsGoRoundTheRing(t *testing.T) {
	list := hosts(90, nil, 1, 1, 1, 1, 1, 1)
	b := balancertest.Balancer(New(Config{MinSize: 12}), 1, list...)
	for attempt, want := range map[uint32]int{0: 4, 1: 2, 2: 0, 13: 2} {
		if got := pick(b, 0, attempt); got != list[want] {
			t.Errorf("attempt %d goes to %v, want %v", attempt, got.Address, list[want].Address)
		}
	}
}

func TestKeysStay(t *testing.T) {
	const n, keys = 1000, 20_000
	weights := make([]uint32, n)
	all := balancertest.Hosts(weights...)
	p := New(Config{MinSize: 99_900})
	balancertest.Moves(t, p, all, keys, 0.004)
}

func TestBusyHostGivesWay(t *testing.T) {
	list := balancertest.Hosts(1, 1, 1, 1)
	b := balancertest.Balancer(New(Config{MinSize: 1024, Hash: hashing.Options{Balance: 150}}), 1, list...)
	const hash = 12345
	home := pick(b, hash, 0)
	home.AddRequests(8) // Of 9 slots and a half, it may have 4.
	other := pick(b, hash, 0)
	if other == home {
		t.Fatal("the busy host is picked")
	}
	for range 10 {
		if got := pick(b, hash, 0); got != other {
			t.Fatalf("the same hash goes to %v, then to %v", other.Address, got.Address)
		}
	}
	home.AddRequests(-8)
	if got := pick(b, hash, 0); got != home {
		t.Errorf("the hash does not return to %v", home.Address)
	}
	home.AddRequests(8)
	if n := testing.AllocsPerRun(100, func() { pick(b, hash, 0) }); n > 1 { // The context.
		t.Errorf("a bounded pick allocates %v times", n)
	}
}

func BenchmarkBuild1000(b *testing.B) {
	list := balancertest.Hosts(make([]uint32, 1000)...)
	set := upstream.NewPrioritySet(list, upstream.SetOptions{PanicThreshold: 50})
	p := New(Config{})
	for b.Loop() {
		p.Build(set)
	}
}
