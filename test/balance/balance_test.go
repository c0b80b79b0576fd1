// SPDX-License-Identifier: Apache-2.0

// Package balance tests load balancing through the whole proxy: each policy chooses
// hosts once, as its configuration in Envoy's words asks.
package balance

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/internal/reserve"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// names are the hosts; each answers with its name.
var names = []string{"a", "b", "c", "d"}

type fixture struct {
	*proxytest.Proxy
	t     *testing.T
	addrs map[string]string
}

// start runs a proxy in front of the hosts; extra goes into the head of their answers.
func start(t *testing.T, e proxytest.Edge, extra map[string]string) *fixture {
	t.Helper()
	f := &fixture{t: t, addrs: map[string]string{}}
	for _, n := range names {
		answer := "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n" + extra[n] + "\r\n" + n
		up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
			for {
				if _, err := s.Request(); err != nil {
					return
				}
				if s.Send(answer) != nil {
					return
				}
			}
		})
		f.addrs[n] = up.Addr()
	}
	f.addrs["up"] = f.addrs["a"]
	f.addrs["dead"] = reserve.TCP(t)
	f.Proxy = proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: f.addrs})
	return f
}

// get sends one request with further header lines and returns who answered, or the
// status if no host did.
func (f *fixture) get(lines ...string) string {
	f.t.Helper()
	return name(f.Do("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + strings.Join(lines, "") + "\r\n"))
}

func name(r *proxytest.Response) string {
	if r.StatusCode != 200 {
		return fmt.Sprint(r.StatusCode)
	}
	return r.Content
}

// count sends requests over one connection and counts who answers.
func (f *fixture) count(n int, line func(i int) string) map[string]int {
	f.t.Helper()
	out, c := map[string]int{}, f.Dial()
	for i := range n {
		h := ""
		if line != nil {
			h = line(i)
		}
		out[name(c.Do("GET / HTTP/1.1\r\nhost: x\r\n"+h+"\r\n"))]++
	}
	return out
}

func (f *fixture) counted(got map[string]int, want ...string) {
	f.t.Helper()
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
		f.t.Errorf("answers are of %v, want of %v: %v", keys, want, got)
	}
}

func (f *fixture) near(got map[string]int, n string, share, by float64) {
	f.t.Helper()
	sum := 0
	for _, v := range got {
		sum += v
	}
	if s := float64(got[n]) / float64(sum); math.Abs(s-share) > by {
		f.t.Errorf("the share of %s is %.2f, want %.2f: %v", n, s, share, got)
	}
}

// cluster is the cluster "lb" with the hosts; fields are on further lines.
func cluster(fields string, endpoints ...string) string {
	return "- name: lb\n  load_assignment: {cluster_name: lb, endpoints: [" + strings.Join(endpoints, ", ") + "]}\n" + indent(fields)
}

func indent(s string) string {
	var b strings.Builder
	for l := range strings.Lines(s) {
		b.WriteString("  " + l)
	}
	return b.String() + "\n"
}

// group is one locality's endpoints; each host may have fields after a space.
func group(fields string, hosts ...string) string {
	var list []string
	for _, h := range hosts {
		n, more, _ := strings.Cut(h, " ")
		if more != "" {
			more = ", " + more
		}
		list = append(list, "{endpoint: {address: {{"+n+"}}}"+more+"}")
	}
	if fields != "" {
		fields += ", "
	}
	return "{" + fields + "lb_endpoints: [" + strings.Join(list, ", ") + "]}"
}

// typed is a load_balancing_policy of one extension.
func typed(message, fields string) string {
	return "load_balancing_policy: " + policy(message, fields)
}

func policy(message, fields string) string {
	if fields != "" {
		fields = ", " + fields
	}
	return `{policies: [{typed_extension_config: {name: p, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.` + message + fields + `}}}]}`
}

const toLB = `- {match: {prefix: /}, route: {cluster: lb}}`

const byHeader = `- {match: {prefix: /}, route: {cluster: lb, hash_policy: [{header: {header_name: x-key}}]}}`

func key(i int) string { return fmt.Sprintf("x-key: user-%d\r\n", i) }

func TestSpreading(t *testing.T) {
	for name, fields := range map[string]string{
		"old round robin":   "lb_policy: ROUND_ROBIN",
		"old least request": "lb_policy: LEAST_REQUEST",
		"old random":        "lb_policy: RANDOM",
		"round robin":       typed("round_robin.v3.RoundRobin", ""),
		"least request":     typed("least_request.v3.LeastRequest", "selection_method: FULL_SCAN"),
		"random":            typed("random.v3.Random", ""),
		"client side":       typed("client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", ""),
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, proxytest.Edge{Routes: toLB, Clusters: cluster(fields, group("", "a", "b", "c"))}, nil)
			f.counted(f.count(120, nil), "a", "b", "c")
		})
	}
}

func TestHashing(t *testing.T) {
	for name, fields := range map[string]string{
		"old ring hash":   "lb_policy: RING_HASH\nring_hash_lb_config: {minimum_ring_size: 512, hash_function: MURMUR_HASH_2}",
		"old maglev":      "lb_policy: MAGLEV\nmaglev_lb_config: {table_size: 1031}\ncommon_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 150}}",
		"ring hash":       typed("ring_hash.v3.RingHash", "minimum_ring_size: 512"),
		"maglev":          typed("maglev.v3.Maglev", "table_size: 1031"),
		"the cluster's":   "lb_policy: MAGLEV\n" + `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, hash_policy: [{header: {header_name: x-key}}]}}`,
		"own hash policy": typed("maglev.v3.Maglev", "consistent_hashing_lb_config: {hash_policy: [{header: {header_name: x-key}}]}"),
	} {
		t.Run(name, func(t *testing.T) {
			routes := byHeader
			if strings.Contains(fields, "hash_policy") {
				routes = toLB
			}
			f := start(t, proxytest.Edge{Routes: routes, Clusters: cluster(fields, group("", names...))}, nil)
			f.counted(f.count(60, key), names...)
			for i := range 10 {
				if x, y := f.get(key(i)), f.get(key(i)); x != y {
					t.Errorf("key %d went to %s and to %s", i, x, y)
				}
			}
			stat := "maglev_lb.max_entries_per_host"
			if strings.Contains(name, "ring") {
				stat = "ring_hash_lb.size"
			}
			if f.Gauge("cluster.lb."+stat) == 0 {
				t.Errorf("%s is 0", stat)
			}
		})
	}
}

func TestHashCookie(t *testing.T) {
	routes := `- match: {prefix: /}
  route:
    cluster: lb
    hash_policy:
    - {header: {header_name: x-none}, terminal: true}
    - {cookie: {name: session, ttl: 60s, path: /app, attributes: [{name: SameSite, value: Lax}]}}`
	f := start(t, proxytest.Edge{Routes: routes, Clusters: cluster("lb_policy: MAGLEV", group("", names...))}, nil)
	r := f.Do("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	m := regexp.MustCompile(`^session="([0-9a-f]{16})"; Max-Age=60; Path=/app; SameSite=Lax; HttpOnly$`).FindStringSubmatch(r.Header.Get("set-cookie"))
	if m == nil {
		t.Fatalf("set-cookie is %q", r.Header.Values("set-cookie"))
	}
	for range 5 {
		again := f.Do("GET / HTTP/1.1\r\nhost: x\r\ncookie: session=" + m[1] + "\r\n\r\n")
		if again.Content != r.Content || again.Header.Get("set-cookie") != "" {
			t.Errorf("with the cookie %s answers instead of %s, and sets %q", again.Content, r.Content, again.Header.Get("set-cookie"))
		}
	}
}

func TestRetryOfAHashGoesElsewhere(t *testing.T) {
	routes := `- match: {prefix: /}
  route:
    cluster: lb
    hash_policy: [{header: {header_name: x-key}}]
    retry_policy:
      retry_on: connect-failure
      num_retries: 3
      host_selection_retry_max_attempts: 8
      retry_host_predicate:
      - name: previous_hosts
        typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}`
	for _, p := range []string{"MAGLEV", "RING_HASH"} {
		f := start(t, proxytest.Edge{Routes: routes, Clusters: cluster("lb_policy: "+p, group("", "dead", "a", "b"))}, nil)
		f.counted(f.count(40, key), "a", "b")
	}
}

func TestLocalities(t *testing.T) {
	east := group("locality: {zone: east}, load_balancing_weight: 3", "a")
	west := group("locality: {zone: west}, load_balancing_weight: 1", "b", "c")
	for name, fields := range map[string]string{
		"old":          "common_lb_config: {locality_weighted_lb_config: {}}",
		"round robin":  typed("round_robin.v3.RoundRobin", "locality_lb_config: {locality_weighted_lb_config: {}}"),
		"wrr locality": typed("wrr_locality.v3.WrrLocality", "endpoint_picking_policy: "+policy("round_robin.v3.RoundRobin", "")),
		"maglev":       typed("maglev.v3.Maglev", "locality_weighted_lb_config: {}"),
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, proxytest.Edge{Routes: toLB, Clusters: cluster(fields, east, west)}, nil)
			f.near(f.count(200, nil), "a", 0.75, 0.12)
		})
	}
}

func TestPriorities(t *testing.T) {
	down := "health_status: UNHEALTHY"
	f := start(t, proxytest.Edge{Routes: toLB, Clusters: cluster("", group("priority: 0", "a", "b "+down), group("priority: 1", "c"))}, nil)
	got := f.count(300, nil)
	f.counted(got, "a", "c")
	f.near(got, "a", 0.7, 0.1) // 140 % of a half.
	f = start(t, proxytest.Edge{Routes: toLB, Clusters: cluster("", group("", "a", "b "+down, "c "+down))}, nil)
	f.counted(f.count(30, nil), "a", "b", "c")
	if n := f.Counter("cluster.lb.lb_healthy_panic"); n != 30 {
		t.Errorf("lb_healthy_panic is %d after 30 requests", n)
	}
	f = start(t, proxytest.Edge{Routes: toLB, Clusters: cluster("common_lb_config: {zone_aware_lb_config: {fail_traffic_on_panic: true}}", group("", "a", "b "+down, "c "+down))}, nil)
	f.counted(f.count(3, nil), "503")
}

func TestZones(t *testing.T) {
	node := "node: {id: n, cluster: n, locality: {zone: east}}\ncluster_manager: {local_cluster_name: peers}"
	peers := "- name: peers\n  load_assignment: {cluster_name: peers, endpoints: [" +
		group("locality: {zone: east}", "a") + ", " + group("locality: {zone: west}", "b") + "]}\n"
	zones := cluster("common_lb_config: {zone_aware_lb_config: {min_cluster_size: 3}}",
		group("locality: {zone: east}", "a", "b"), group("locality: {zone: west}", "c", "d"))
	f := start(t, proxytest.Edge{Bootstrap: node, Routes: toLB, Clusters: peers + zones}, nil)
	// The proxies like this one are half in each zone, as are the hosts.
	proxytest.Eventually(t, "the zones to be known", func() (string, bool) {
		got := f.count(20, nil)
		return fmt.Sprint(got), got["c"]+got["d"] == 0 && got["a"] > 0
	})
	if f.Counter("cluster.lb.lb_zone_routing_all_directly") == 0 {
		t.Error("lb_zone_routing_all_directly is 0")
	}
}

func TestSubsets(t *testing.T) {
	of := func(version string) string {
		return "metadata: {filter_metadata: {envoy.lb: {version: " + version + "}}}"
	}
	hosts := group("", "a "+of("v1"), "b "+of("v2"), "c "+of("v2"), "d "+of("v3"))
	want := func(version string) string {
		return "{match: {prefix: /, headers: [{name: v, string_match: {exact: " + version + "}}]}, route: {cluster: lb, metadata_match: {filter_metadata: {envoy.lb: {version: " + version + "}}}}}"
	}
	routes := "- " + want("v1") + "\n- " + want("v2") + "\n- " + want("v9") + "\n" + toLB
	fields := "fallback_policy: DEFAULT_SUBSET, default_subset: {version: v3}, subset_selectors: [{keys: [version]}]"
	for name, text := range map[string]string{
		"old": "lb_subset_config: {" + fields + "}",
		"new": typed("subset.v3.Subset", fields+", subset_lb_policy: "+policy("round_robin.v3.RoundRobin", "")),
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, proxytest.Edge{Routes: routes, Clusters: cluster(text, hosts)}, nil)
			ask := func(v string) map[string]int { return f.count(10, func(int) string { return "v: " + v + "\r\n" }) }
			f.counted(ask("v1"), "a")
			f.counted(ask("v2"), "b", "c")
			f.counted(ask("v9"), "d")
			f.counted(ask("none"), "d")
			for stat, want := range map[string]uint64{"lb_subsets_selected": 20, "lb_subsets_fallback": 20, "lb_subsets_created": 3} {
				if n := f.Counter("cluster.lb." + stat); n != want {
					t.Errorf("%s is %d, want %d", stat, n, want)
				}
			}
			if n := f.Gauge("cluster.lb.lb_subsets_active"); n != 3 {
				t.Errorf("lb_subsets_active is %d, want 3", n)
			}
		})
	}
}

func TestOverrideHost(t *testing.T) {
	fields := typed("override_host.v3.OverrideHost", "override_host_sources: [{header: x-host}], fallback_policy: "+policy("round_robin.v3.RoundRobin", ""))
	f := start(t, proxytest.Edge{Routes: toLB, Clusters: cluster(fields, group("", names...))}, nil)
	for _, n := range names {
		if got := f.get("x-host: 192.0.2.1:1, " + f.addrs[n] + "\r\n"); got != n {
			t.Errorf("%s answers for %s", got, n)
		}
	}
	f.counted(f.count(20, nil), names...)
}

func TestAggregate(t *testing.T) {
	one := func(name, host string) string {
		return "- name: " + name + "\n  load_assignment: {cluster_name: " + name + ", endpoints: [" + group("", host) + "]}\n"
	}
	aggregate := `- name: lb
  lb_policy: CLUSTER_PROVIDED
  cluster_type:
    name: envoy.clusters.aggregate
    typed_config: {"@type": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [first, second]}
`
	edge := func(first string) proxytest.Edge {
		return proxytest.Edge{Routes: toLB, Clusters: aggregate + one("first", first) + one("second", "b")}
	}
	f := start(t, edge("a"), nil)
	eventually := func(want string) {
		t.Helper()
		proxytest.Eventually(t, want+" to answer", func() (string, bool) { got := f.get(); return got, got == want })
	}
	eventually("a")
	if problems := f.Update(edge("a health_status: UNHEALTHY").YAML()); len(problems) > 0 {
		t.Fatal(problems)
	}
	eventually("b")
	f.counted(f.count(10, nil), "b")
	if n := f.Counter("cluster.second.upstream_cx_total"); n == 0 {
		t.Error("the connections are not counted at the cluster of the host")
	}
	if problems := f.Update(edge("c").YAML()); len(problems) > 0 {
		t.Fatal(problems)
	}
	eventually("c")
}

func TestStatefulSession(t *testing.T) {
	filter := func(state string) string {
		return `- name: envoy.filters.http.stateful_session
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession
    stat_prefix: s
    strict: true
    status_on_strict_destination_not_found: 409
    session_state: {name: s, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.stateful_session.` + state + `}}`
	}
	hosts := cluster("", group("", names...))
	t.Run("cookie", func(t *testing.T) {
		f := start(t, proxytest.Edge{Routes: toLB, Filters: filter("cookie.v3.CookieBasedSessionState, cookie: {name: s, ttl: 60s, path: /}"), Clusters: hosts}, nil)
		r := f.Do("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
		cookie, _, _ := strings.Cut(r.Header.Get("set-cookie"), ";")
		if !strings.HasPrefix(cookie, `s="`) {
			t.Fatalf("set-cookie is %q", r.Header.Get("set-cookie"))
		}
		f.counted(f.count(10, func(int) string { return "cookie: " + cookie + "\r\n" }), r.Content)
		if n := f.Counter("http.test.stateful_session.s.routed"); n != 10 {
			t.Errorf("routed is %d, want 10", n)
		}
	})
	t.Run("header", func(t *testing.T) {
		f := start(t, proxytest.Edge{Routes: toLB, Filters: filter("header.v3.HeaderBasedSessionState, name: x-session"), Clusters: hosts}, nil)
		for _, n := range names {
			v := base64.StdEncoding.EncodeToString([]byte(f.addrs[n]))
			if got := f.get("x-session: " + v + "\r\n"); got != n {
				t.Errorf("%s answers for %s", got, n)
			}
		}
		gone := base64.StdEncoding.EncodeToString([]byte(netip.MustParseAddrPort("192.0.2.1:1").String()))
		if got := f.get("x-session: " + gone + "\r\n"); got != "409" {
			t.Errorf("for a host that is gone %s answers, want 409", got)
		}
		if n := f.Counter("http.test.stateful_session.s.failed_closed"); n != 1 {
			t.Errorf("failed_closed is %d, want 1", n)
		}
	})
}

func TestLoadReports(t *testing.T) {
	fields := typed("client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", "blackout_period: 0s, weight_update_period: 0.1s")
	report := func(cpu string) string {
		return "endpoint-load-metrics: TEXT cpu_utilization=" + cpu + ",rps_fractional=100\r\n"
	}
	f := start(t, proxytest.Edge{Routes: toLB, Clusters: cluster(fields, group("", "a", "b"))}, map[string]string{"a": report("0.2"), "b": report("0.6")})
	proxytest.Eventually(t, "a to take three quarters", func() (map[string]int, bool) {
		got := f.count(100, nil)
		return got, got["a"] >= 70 && got["a"] <= 80
	})
}
