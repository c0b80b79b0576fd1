// SPDX-License-Identifier: Apache-2.0

package faultlab

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// checked asks for health often enough for a test.
const checked = "health_checks: [{timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /health}}]"

func newHosts(t *testing.T, names ...string) []*host {
	var out []*host
	for _, n := range names {
		out = append(out, newHost(t, n))
	}
	return out
}

// TestRollingRestart restarts every backend while requests run, of which none fails: killed,
// with the retry policy as it is; told beforehand by discovery or by health checks, without
// any.
func TestRollingRestart(t *testing.T) {
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		hosts := newHosts(t, "a", "b", "c", "d")
		w := start(t, setup{routes: toC(retried), clusters: cluster(endpoints(hosts))})
		l := w.startLoad(200, "/")
		for range 2 {
			for _, h := range hosts {
				h.kill()
				l.more(40)
				h.start()
				comesBack(l, h)
			}
		}
		l.noneBad()
	})
	t.Run("taken out by discovery", func(t *testing.T) {
		t.Parallel()
		hosts := newHosts(t, "a", "b", "c", "d")
		eds := newResource(t, clusterLoadAssignment, endpoints(hosts))
		w := start(t, setup{routes: toC(""), clusters: discovered(eds)})
		l := w.startLoad(200, "/")
		for i, h := range hosts {
			rest := append(append([]*host(nil), hosts[:i]...), hosts[i+1:]...)
			eds.write(endpoints(rest))
			w.waitStat("cluster.c.membership_total", 3)
			h.stop() // It finishes what it has.
			l.more(40)
			h.start()
			eds.write(endpoints(hosts))
			comesBack(l, h)
		}
		l.noneBad()
	})
	t.Run("taken out by its health", func(t *testing.T) {
		t.Parallel()
		hosts := newHosts(t, "a", "b", "c", "d")
		w := start(t, setup{routes: toC(""), clusters: cluster(endpoints(hosts), checked)})
		l := w.startLoad(200, "/")
		for _, h := range hosts {
			h.tell(ails)
			w.waitStat("cluster.c.membership_healthy", 3)
			h.stop()
			l.more(40)
			h.start()
			comesBack(l, h)
		}
		l.noneBad()
	})
}

// comesBack waits until a host answers again.
func comesBack(l *load, h *host) {
	l.t.Helper()
	before := l.answers()[h.name]
	eventually(l.t, h.name+" to answer", func() (string, bool) { return fmt.Sprint(l.answers()), l.answers()[h.name] > before })
}

func (w *weir) waitStat(name string, want int) {
	w.t.Helper()
	w.eventually(name, func() (string, bool) { n := w.stat(name); return fmt.Sprint(n), n == want })
}

// TestHostsComeAndGo changes the hosts of a cluster a hundred times while requests run, of
// which none fails.
func TestHostsComeAndGo(t *testing.T) {
	t.Parallel()
	hosts := newHosts(t, "a", "b", "c", "d", "e")
	text := endpoints(hosts)
	eds := newResource(t, clusterLoadAssignment, text)
	w := start(t, setup{routes: toC(""), clusters: discovered(eds)})
	l := w.startLoad(300, "/")
	r := rand.New(rand.NewPCG(4, 4))
	if n := w.stat("cluster.c.init_fetch_timeout"); n != 0 {
		t.Error("the proxy waited in vain for the endpoints")
	}
	base := w.stat("cluster.c.update_success")
	for i := range 100 {
		n, before := 0, text
		for text == before { // What is the same again is no change.
			r.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
			n = 1 + r.IntN(len(hosts))
			text = endpoints(hosts[:n])
		}
		eds.write(text)
		w.waitStat("cluster.c.update_success", base+i+1)
		if got := w.stat("cluster.c.membership_total"); got != n {
			t.Errorf("change %d left %d hosts, want %d", i, got, n)
		}
	}
	l.noneBad()
}

// TestSplitChanges moves traffic from one cluster to another in steps while requests run, of
// which none fails: each step's share is what it says.
func TestSplitChanges(t *testing.T) {
	t.Parallel()
	a, b := newHost(t, "a"), newHost(t, "b")
	split := func(second int) string {
		return routeTable(fmt.Sprintf("{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: one, weight: %d}, {name: two, weight: %d}]}}}", 100-second, second))
	}
	of := func(name string, h *host) string {
		return "  - {name: " + name + ", load_assignment: {cluster_name: " + name + ", endpoints: [" + group("", h) + "]}}\n"
	}
	rds := newResource(t, routeConfiguration, split(0))
	w := start(t, setup{rds: rds.path, clusters: of("one", a) + of("two", b)})
	l := w.startLoad(400, "/")
	base := w.stat("http.edge.rds.edge.update_success")
	for i, second := range []int{10, 30, 50, 70, 90, 100} {
		rds.write(split(second))
		w.waitStat("http.edge.rds.edge.update_success", base+i+1)
		before := l.answers()
		l.more(200)
		after := l.answers()
		x, y := after["a"]-before["a"], after["b"]-before["b"]
		share := 100 * y / (x + y)
		t.Logf("%3d %% to the second: %d of %d", second, y, x+y)
		// Of 200 draws four standard deviations are 14 of a hundred; a few under way had the last split.
		if share < second-18 || share > second+18 {
			t.Errorf("the second cluster got %d %%, want %d", share, second)
		}
	}
	l.noneBad()
}
