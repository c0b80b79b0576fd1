// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"testing"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
)

// watcher counts the hosts of a set that are gone whenever it is told.
type watcher struct {
	hosts []*upstream.Host
	gone  []int
	last  bool // end the watch at the next call
}

func (w *watcher) HostsLeft(at *upstream.Worker) {
	n := 0
	for _, h := range w.hosts {
		if !h.InCluster() {
			n++
		}
	}
	w.gone = append(w.gone, n)
	if w.last {
		at.Unwatch(w)
	}
}

// TestWatch: a watcher hears of hosts that leave and of the end of the cluster, and not
// of changed health.
func TestWatch(t *testing.T) {
	h, loop := &hand{}, &fakeLoop{}
	m := upstream.NewManager(upstream.Options{Loops: []upstream.Loop{loop}, Stats: stats.NewStore().Scope("")})
	defer m.Close()
	cfg, problems := upstream.Compile(parse(t, `{"name":"c","type":"STRICT_DNS",`+endpoint("127.0.0.1")+`}`), contextOf(h))
	if cfg == nil {
		t.Fatal(problems)
	}
	active, err := m.Update(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a, b := upstream.Endpoint{Key: "a"}, upstream.Endpoint{Key: "b"}
	h.tell(0, a, b)
	<-active
	c := m.Get("c")
	loop.run()
	first := &watcher{hosts: c.Set().Hosts}
	second := &watcher{hosts: c.Set().Hosts, last: true}
	w := c.Worker(0)
	w.Watch(second)
	w.Watch(first)
	c.SetHealth(c.Set().Hosts[0], upstream.FailedActiveHC, 0)
	loop.run()
	if len(first.gone) != 0 {
		t.Errorf("told of changed health")
	}
	h.tell(0, a)
	loop.run()
	m.Remove("c")
	m.Close()
	loop.run()
	if len(first.gone) != 2 || first.gone[0] != 1 || first.gone[1] != 2 {
		t.Errorf("hosts gone at each call: %v, want [1 2]", first.gone)
	}
	if len(second.gone) != 1 {
		t.Errorf("told %d times, want once: it ended its watch", len(second.gone))
	}
}
