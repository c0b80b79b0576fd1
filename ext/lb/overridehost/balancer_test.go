// SPDX-License-Identifier: Apache-2.0

package overridehost

import (
	"testing"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/balancertest"
)

// turns is a policy to fall back on.
type turns struct{}

func (turns) BuildList(hosts []*upstream.Host) upstream.Table { return &list{hosts: hosts} }

type list struct{ hosts []*upstream.Host }

func (l *list) Balancer(*upstream.Env) upstream.Balancer { return &walker{list: l} }

type walker struct {
	*list
	next int
}

func (w *walker) Pick(*upstream.PickContext) *upstream.Host {
	w.next++
	return w.hosts[w.next%len(w.hosts)]
}

func config() Config {
	return Config{
		Sources:  []Source{{Header: header.NewName("x-hosts")}, {Namespace: "ns", Path: []string{"a", "b"}}},
		Fallback: upstream.Layered(turns{}, upstream.LayerOptions{}),
	}
}

func TestConformance(t *testing.T) {
	balancertest.Run(t, New(config()), balancertest.Options{})
}

func TestEachTryTakesTheNext(t *testing.T) {
	hosts := balancertest.Hosts(1, 1, 1, 1)
	hosts[2].SetFlags(upstream.FailedActiveHC, 0)
	cfg := config()
	cfg.Selected = Source{Namespace: "out", Path: []string{"x", "chosen"}}
	b := balancertest.Balancer(New(cfg), 1, hosts...)
	var h header.Map
	h.Add(header.NewName("x-hosts"), "10.0.0.3:80, nonsense,10.9.9.9:80 , 10.0.0.2:80")
	info := &streaminfo.Stream{Metadata: streaminfo.Metadata{"ns": {"a": map[string]any{"b": "10.0.0.1:80"}}}}
	c := &upstream.PickContext{Headers: &h, Stream: info}
	for i, want := range []int{3, 2, 1} {
		got := b.Pick(c)
		if got != hosts[want] {
			t.Fatalf("try %d goes to %v, want %v", i, got.Address, hosts[want].Address)
		}
		if v, _ := info.Metadata.Lookup("out", "x", "chosen"); v != got.Address.String() {
			t.Errorf("the metadata has %v, want %v", v, got.Address)
		}
	}
	if got := b.Pick(c); got == nil || got == hosts[2] {
		t.Errorf("after the list %v is picked, want a healthy host", got)
	}
}
