// SPDX-License-Identifier: Apache-2.0

package subset

import (
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/balancertest"
)

// turns is the policy within.
type turns struct{}

func (turns) BuildList(hosts []*upstream.Host) upstream.Table { return list2(hosts) }

type list2 []*upstream.Host

func (l list2) Balancer(*upstream.Env) upstream.Balancer { return &walker{hosts: l} }

type walker struct {
	hosts []*upstream.Host
	next  int
}

func (w *walker) Pick(*upstream.PickContext) *upstream.Host {
	w.next++
	return w.hosts[w.next%len(w.hosts)]
}

func within() upstream.Policy { return upstream.Layered(turns{}, upstream.LayerOptions{}) }

func TestConformance(t *testing.T) {
	balancertest.Run(t, New(Config{Fallback: AnyEndpoint, Policy: within()}), balancertest.Options{})
}

// host makes the host with a number and metadata.
func host(i int, lb map[string]any) *upstream.Host {
	e := balancertest.Host(i, 1).Endpoint
	e.Metadata = streaminfo.Metadata{"envoy.lb": lb}
	return upstream.NewHost(e, nil, 1)
}

func want(m map[string]any) []upstream.MetadataCriterion {
	var out []upstream.MetadataCriterion
	for k, v := range m {
		out = append(out, upstream.MetadataCriterion{Key: k, Value: v})
	}
	slices.SortFunc(out, func(a, b upstream.MetadataCriterion) int { return strings.Compare(a.Key, b.Key) })
	return out
}

type kv = map[string]any

func TestWhoServes(t *testing.T) {
	hosts := []*upstream.Host{
		host(0, kv{"stage": "prod", "version": "1"}),
		host(1, kv{"stage": "prod", "version": "2", "tags": []any{"x", "y"}}),
		host(2, kv{"stage": "dev", "version": "2", "n": 3.0, "on": true}),
		host(3, kv{"stage": "dev", "tags": []any{"y"}, "deep": kv{"a": 1.0}}),
	}
	any4, none := []int{0, 1, 2, 3}, []int{}
	both := []Selector{{Keys: []string{"stage", "version"}}, {Keys: []string{"stage"}}}
	falling := func(f Fallback) []Selector {
		return []Selector{{Keys: []string{"version", "stage"}, Fallback: f, FallbackKeys: []string{"stage"}}, {Keys: []string{"stage"}}}
	}
	for _, tt := range []struct {
		name   string
		config Config
		ask    kv
		want   []int
	}{
		{"two keys", Config{Fallback: NoFallback, Selectors: both}, kv{"version": "2", "stage": "prod"}, []int{1}},
		{"one key", Config{Fallback: NoFallback, Selectors: both}, kv{"stage": "dev"}, []int{2, 3}},
		{"no subset, no fallback", Config{Fallback: NoFallback, Selectors: both}, kv{"stage": "test"}, none},
		{"no subset, any", Config{Fallback: AnyEndpoint, Selectors: both}, kv{"stage": "test"}, any4},
		{"no subset, default", Config{Fallback: DefaultSubset, Default: kv{"version": "2"}, Selectors: both}, kv{"stage": "test"}, []int{1, 2}},
		{"no criteria, default", Config{Fallback: DefaultSubset, Default: kv{"version": "1"}, Selectors: both}, nil, []int{0}},
		{"empty default is all", Config{Fallback: DefaultSubset, Selectors: both}, nil, any4},
		{"default is empty, panic", Config{Fallback: DefaultSubset, Default: kv{"version": "9"}, PanicAny: true, Selectors: both}, nil, any4},
		{"selector: none", Config{Fallback: AnyEndpoint, Selectors: falling(NoFallback)}, kv{"stage": "prod", "version": "9"}, none},
		{"selector: any", Config{Fallback: NoFallback, Selectors: falling(AnyEndpoint)}, kv{"stage": "prod", "version": "9"}, any4},
		{"selector: default", Config{Fallback: NoFallback, Default: kv{"on": true}, Selectors: falling(DefaultSubset)}, kv{"stage": "prod", "version": "9"}, []int{2}},
		{"selector: keys", Config{Fallback: NoFallback, Selectors: falling(KeysSubset)}, kv{"stage": "prod", "version": "9"}, []int{0, 1}},
		{"selector: keys in vain", Config{Fallback: AnyEndpoint, Selectors: falling(KeysSubset)}, kv{"stage": "test", "version": "9"}, any4},
		{"number", Config{Fallback: NoFallback, Selectors: []Selector{{Keys: []string{"n"}}}}, kv{"n": 3.0}, []int{2}},
		{"bool", Config{Fallback: NoFallback, Selectors: []Selector{{Keys: []string{"on"}}}}, kv{"on": true}, []int{2}},
		{"struct", Config{Fallback: NoFallback, Selectors: []Selector{{Keys: []string{"deep"}}}}, kv{"deep": kv{"a": 1.0}}, []int{3}},
		{"text is no number", Config{Fallback: NoFallback, Selectors: []Selector{{Keys: []string{"n"}}}}, kv{"n": "3"}, none},
		{"list as any", Config{Fallback: NoFallback, ListAsAny: true, Selectors: []Selector{{Keys: []string{"tags"}}}}, kv{"tags": "y"}, []int{1, 3}},
		{"list as it is", Config{Fallback: NoFallback, Selectors: []Selector{{Keys: []string{"tags"}}}}, kv{"tags": []any{"y"}}, []int{3}},
		{"more than selectors have", Config{Fallback: NoFallback, Selectors: both}, kv{"stage": "dev", "other": "1"}, none},
		{"redundant keys", Config{Fallback: NoFallback, RedundantKeys: true, Selectors: both}, kv{"stage": "dev", "other": "1"}, []int{2, 3}},
		{"single host", Config{Fallback: NoFallback, Selectors: []Selector{{Keys: []string{"stage"}, SingleHost: true}}}, kv{"stage": "dev"}, []int{2}},
		{"fallback list", Config{Fallback: NoFallback, FallbackList: true, Selectors: both},
			kv{"stage": "prod", fallbackKey: []any{kv{"version": "9"}, kv{"version": "2", "stage": "dev"}}}, []int{2}},
		{"fallback list in vain", Config{Fallback: NoFallback, FallbackList: true, Selectors: both},
			kv{"stage": "prod", fallbackKey: []any{kv{"version": "9"}}}, none},
		{"empty fallback list", Config{Fallback: NoFallback, FallbackList: true, Selectors: both}, kv{"stage": "prod", fallbackKey: []any{}}, []int{0, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Policy = within()
			b := balancertest.Balancer(New(tt.config), 1, hosts...)
			c := &upstream.PickContext{Metadata: want(tt.ask)}
			got := map[*upstream.Host]int{}
			for range 40 {
				got[b.Pick(c)]++
			}
			for i, h := range hosts {
				if picked := got[h] > 0; picked != slices.Contains(tt.want, i) {
					t.Errorf("host %d was picked %d times, want hosts %v", i, got[h], tt.want)
				}
			}
			if (got[nil] > 0) != (len(tt.want) == 0) {
				t.Errorf("%d picks gave no host", got[nil])
			}
			if _, lists := tt.ask["tags"].([]any); lists || tt.ask["deep"] != nil || raceEnabled {
				return // Such values are compared by their text.
			}
			if n := testing.AllocsPerRun(100, func() { b.Pick(c) }); n != 0 {
				t.Errorf("a pick allocates %v times", n)
			}
		})
	}
}

func TestHealthWithinASubset(t *testing.T) {
	hosts := []*upstream.Host{host(0, kv{"v": "1"}), host(1, kv{"v": "1"}), host(2, kv{"v": "1"}), host(3, kv{"v": "2"})}
	hosts[0].SetFlags(upstream.FailedActiveHC, 0)
	b := balancertest.Balancer(New(Config{Fallback: NoFallback, Selectors: []Selector{{Keys: []string{"v"}}}, Policy: within()}), 1, hosts...)
	c := &upstream.PickContext{Metadata: want(kv{"v": "1"})}
	for range 20 {
		if h := b.Pick(c); h != hosts[1] && h != hosts[2] {
			t.Fatalf("%v was picked", h.Address)
		}
	}
}

type meter map[string]int64

func (m meter) Gauge(name string, v int64) { m[name] = v }

func (m meter) Count(name string, n uint64) { m[name] += int64(n) }

func TestSubsetsAreCounted(t *testing.T) {
	p := New(Config{Fallback: NoFallback, Selectors: []Selector{{Keys: []string{"v"}, SingleHost: true}}, Policy: within()})
	m := meter{}
	var prev upstream.Table
	for _, hosts := range [][]*upstream.Host{
		{host(0, kv{"v": "1"}), host(1, kv{"v": "1"}), host(2, kv{"v": "2"})}, {host(2, kv{"v": "2"}), host(3, kv{"v": "3"})},
	} {
		next := p.Build(upstream.NewPrioritySet(hosts, upstream.SetOptions{PanicThreshold: 50}))
		next.(upstream.Measured).Measure(prev, m)
		if prev == nil && m["lb_subsets_single_host_per_subset_duplicate"] != 1 {
			t.Errorf("one duplicate is counted as %v", m)
		}
		prev = next
	}
	if m["lb_subsets_active"] != 2 || m["lb_subsets_created"] != 3 || m["lb_subsets_removed"] != 1 {
		t.Errorf("the statistics are %v", m)
	}
}

func TestSelectorsThatMakeNoSense(t *testing.T) {
	for _, s := range []Selector{
		{}, {Keys: []string{"a", "b"}, SingleHost: true}, {Keys: []string{"a"}, FallbackKeys: []string{"a"}},
		{Keys: []string{"a"}, Fallback: KeysSubset}, {Keys: []string{"a", "b"}, Fallback: KeysSubset, FallbackKeys: []string{"c"}},
		{Keys: []string{"a", "b"}, Fallback: KeysSubset, FallbackKeys: []string{"b", "a"}},
	} {
		if s.check() == "" {
			t.Errorf("%+v is taken", s)
		}
	}
}
