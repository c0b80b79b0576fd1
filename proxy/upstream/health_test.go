// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
)

// doctor is active health checks in the test's hand.
type doctor struct {
	cluster *upstream.Cluster
	checked func()
	hosts   []*upstream.Host
	failed  []*upstream.Host
	closed  int
}

func (d *doctor) Update(hosts []*upstream.Host) { d.hosts = hosts }
func (d *doctor) Fail(h *upstream.Host)         { d.failed = append(d.failed, h) }
func (d *doctor) Close()                        { d.closed++ }

// passes finds the hosts at some addresses healthy.
func (d *doctor) passes(addresses ...byte) {
	for _, n := range addresses {
		d.cluster.SetHealth(d.cluster.Set().ByAddress(at(n).Address), 0, upstream.FailedActiveHC|upstream.PendingActiveHC)
	}
}

func (d *doctor) fails(addresses ...byte) {
	for _, n := range addresses {
		d.cluster.SetHealth(d.cluster.Set().ByAddress(at(n).Address), upstream.FailedActiveHC, 0)
	}
}

// checkedCluster is cluster c, of which the hosts are in the hand and their health is
// the doctor's.
func checkedCluster(t *testing.T, r *rig, fields string) (*hand, *doctor) {
	t.Helper()
	hd, d := &hand{}, &doctor{}
	cx := contextOf(hd)
	cx.HealthChecks = func([]*corev3.HealthCheck, *upstream.Settings) (upstream.NewHealthChecks, []xds.Problem) {
		return func(c *upstream.Cluster, _ *stats.Scope, checked func()) upstream.HealthChecks {
			d.cluster, d.checked = c, checked
			return d
		}, nil
	}
	cfg, problems := upstream.Compile(parse(t, `{"name":"c","type":"STRICT_DNS",`+fields+`"common_lb_config":{"update_merge_window":"0s"},
		"health_checks":[{"timeout":"1s","interval":"1s","unhealthy_threshold":1,"healthy_threshold":1,"tcp_health_check":{}}],`+endpoint("name")+`}`), cx)
	if cfg == nil {
		t.Fatal(problems)
	}
	update(t, r, cfg)
	return hd, d
}

func TestHostsAreNotUsedBeforeTheyAreChecked(t *testing.T) {
	r := newRig(t, 1)
	hd, d := checkedCluster(t, r, "")
	unchecked := at(2)
	unchecked.Check.Disabled = true
	hd.tell(0, at(1), unchecked)
	if r.Get("c") != nil {
		t.Fatal("the cluster is active before its hosts were checked")
	}
	flags := func(n byte) upstream.HealthFlags { return d.cluster.Set().ByAddress(at(n).Address).Flags() }
	if flags(1) != upstream.FailedActiveHC || flags(2) != 0 || len(d.hosts) != 2 {
		t.Errorf("flags are %v and %v", flags(1), flags(2))
	}
	d.passes(1)
	d.checked()
	<-d.cluster.Warm()
	hd.tell(0, at(1), at(3))
	if flags(1) != 0 || flags(3) != upstream.FailedActiveHC {
		t.Errorf("flags are %v and, of the new host, %v", flags(1), flags(3))
	}
	// One that is asked elsewhere from now on is as new.
	elsewhere := at(1)
	elsewhere.Check.Address = at(9).Address
	hd.tell(0, elsewhere, at(3))
	if flags(1) != upstream.FailedActiveHC {
		t.Errorf("flags are %v", flags(1))
	}
	not := at(1)
	not.Check.Disabled = true
	hd.tell(0, not, at(3))
	if flags(1) != 0 {
		t.Errorf("flags of a host that is not checked any more are %v", flags(1))
	}
	r.Close()
	if d.closed != 1 {
		t.Errorf("the checks were closed %d times", d.closed)
	}
}

func TestHealthyHostsStay(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		fields := ""
		if ignore {
			fields = `"ignore_health_on_host_removal":true,`
		}
		r := newRig(t, 1)
		hd, d := checkedCluster(t, r, fields)
		unchecked := at(4)
		unchecked.Check.Disabled = true
		hd.tell(0, at(1), at(2), at(3), unchecked)
		d.passes(1, 2)
		d.checked()
		hd.tell(0, at(1))
		set := d.cluster.Set()
		if ignore {
			if len(set.Hosts) != 1 {
				t.Errorf("%d hosts", len(set.Hosts))
			}
			continue
		}
		kept := set.ByAddress(at(2).Address)
		if len(set.Hosts) != 2 || kept == nil || kept.Flags() != upstream.PendingDynamicRemoval || !kept.InCluster() || len(set.Levels[0].Healthy) != 2 {
			t.Fatalf("after the removal there are %d hosts", len(set.Hosts))
		}
		hd.tell(0, at(1), at(2))
		if f := kept.Flags(); f != 0 || !d.cluster.Set().ByAddress(at(2).Address).Same(kept) {
			t.Errorf("a host that is told of again has flags %v", f)
		}
		hd.tell(0, at(1))
		p := &fakePool{}
		kept.Local(0).Pool = p
		r.run()
		d.fails(2)
		r.run()
		if len(d.cluster.Set().Hosts) != 1 || len(d.hosts) != 1 || kept.InCluster() || p.drained == 0 {
			t.Errorf("a host that was kept and fails: %d hosts, %d checked, drained %d times", len(d.cluster.Set().Hosts), len(d.hosts), p.drained)
		}
	}
}

func TestFailHealth(t *testing.T) {
	r := newRig(t, 1)
	hd, d := checkedCluster(t, r, "")
	hd.tell(0, at(1))
	d.passes(1)
	d.checked()
	h := d.cluster.Set().Hosts[0]
	h.FailHealth()
	if len(d.failed) != 1 || !d.failed[0].Same(h) {
		t.Fatalf("told of %v", d.failed)
	}
	d.cluster.SetHealth(h, upstream.FailedActiveHC|upstream.ExcludedViaImmediateHCFail, 0)
	h.FailHealth()
	if len(d.failed) != 1 {
		t.Error("what is known is told again")
	}
}
