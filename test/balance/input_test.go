// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// TestBadClusters: a cluster that makes no sense is refused, with the field, the reason and
// the remedy. The guide to clusters has them in a table.
func TestBadClusters(t *testing.T) {
	static := func(fields string, endpoints ...string) proxytest.Edge {
		return proxytest.Edge{Routes: toLB, Clusters: cluster(fields, endpoints...)}
	}
	one := group("", "up")
	provided := "load_balancing_policy: {policies: [{typed_extension_config: {name: p, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided}}}]}"
	for name, c := range map[string]struct {
		edge proxytest.Edge
		want []string
	}{
		"a host of weight 0":        {static("", group("", "up load_balancing_weight: 0")), []string{"endpoints[0].lb_endpoints[0].load_balancing_weight", "at least 1"}},
		"a locality of weight 0":    {static("", group("load_balancing_weight: 0", "up")), []string{"endpoints[0].load_balancing_weight", "at least 1"}},
		"weights beyond 32 bits":    {static("", group("", "up load_balancing_weight: 4294967295", "a load_balancing_weight: 1")), []string{"endpoints[0]", "more than 4294967295"}},
		"localities beyond 32 bits": {static("", group("locality: {zone: x}, load_balancing_weight: 4294967295", "up"), group("locality: {zone: y}, load_balancing_weight: 1", "a")), []string{"endpoints", "4294967295"}},
		"a split of nothing":        {proxytest.Edge{Routes: `- {match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: up, weight: 0}]}}}`}, []string{"weighted_clusters", "sum up to 0"}},
		"a split without clusters":  {proxytest.Edge{Routes: `- {match: {prefix: /}, route: {weighted_clusters: {clusters: []}}}`}, []string{"weighted_clusters.clusters"}},
		"a route to no cluster":     {proxytest.Edge{Routes: `- {match: {prefix: /}, route: {cluster: nowhere}}`}, []string{"cluster", "nowhere"}},
		"a name in STATIC":          {static("", "{lb_endpoints: [{endpoint: {address: {socket_address: {address: db.test, port_value: 1}}}}]}"), []string{"db.test", "STRICT_DNS"}},
		"two names in LOGICAL_DNS":  {static("type: LOGICAL_DNS", group("", "up", "a")), []string{"LOGICAL_DNS"}},
		"endpoints of EDS":          {static("type: EDS\neds_cluster_config: {eds_config: {path_config_source: {path: /tmp/x.yaml}}}", one), []string{"load_assignment", "EDS"}},
		"two policies' fields":      {static("common_lb_config: {locality_weighted_lb_config: {}}\n"+typed("round_robin.v3.RoundRobin", ""), one), []string{"common_lb_config", "load_balancing_policy"}},
		"a policy that is missing":  {static("lb_policy: LOAD_BALANCING_POLICY_CONFIG", one), []string{"load_balancing_policy", "is missing"}},
		"a policy that is unknown":  {static("load_balancing_policy: {policies: [{typed_extension_config: {name: mine, typed_config: {\"@type\": type.googleapis.com/envoy.config.core.v3.BindConfig}}}]}", one), []string{"load_balancing_policy.policies", "mine", "known are"}},
		"provided by STATIC":        {static(provided, one), []string{"CLUSTER_PROVIDED"}},
		"ORIGINAL_DST in turn":      {proxytest.Edge{Routes: toLB, Clusters: "- {name: lb, type: ORIGINAL_DST, lb_policy: ROUND_ROBIN}\n"}, []string{"lb_policy", "CLUSTER_PROVIDED"}},
		"an aggregate of itself":    {proxytest.Edge{Routes: toLB, Clusters: "- {name: lb, lb_policy: CLUSTER_PROVIDED, cluster_type: {name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [lb]}}}\n"}, []string{"names itself"}},
		"a maglev table of 1000":    {static("lb_policy: MAGLEV\nmaglev_lb_config: {table_size: 1000}", one), []string{"maglev_lb_config.table_size", "prime"}},
		"a ring of less than none":  {static("lb_policy: RING_HASH\nring_hash_lb_config: {minimum_ring_size: 2000, maximum_ring_size: 1000}", one), []string{"ring_hash_lb_config.minimum_ring_size"}},
		"a threshold of 150 %":      {static("common_lb_config: {healthy_panic_threshold: {value: 150}}", one), []string{"healthy_panic_threshold"}},
		"150 % ejected":             {static("outlier_detection: {max_ejection_percent: 150}", one), []string{"max_ejection_percent"}},
		"a check of no kind":        {static("health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1}]", one), []string{"health_checks[0]"}},
		"subsets by no keys":        {static("lb_subset_config: {subset_selectors: [{keys: []}]}", one), []string{"subset_selectors[0]", "no keys"}},
		"retries to the dead":       {proxytest.Edge{Routes: "- {match: {prefix: /}, route: {cluster: up, retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 1s, max_interval: 0.5s}}}}"}, []string{"max_interval", "base_interval"}},
	} {
		t.Run(name, func(t *testing.T) {
			up := proxytest.NewUpstream(t, proxytest.Answer())
			_, err := proxytest.TryStart(t, c.edge.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr(), "a": "127.0.0.1:1"}})
			if err == nil {
				t.Fatal("it is not refused")
			}
			t.Log(err)
			if strings.Contains(err.Error(), `"lb" does not exist`) {
				t.Error("what was refused is said not to exist")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v does not tell %q", err, w)
				}
			}
		})
	}
}

// TestNoHostToUse: what a request is answered where the configuration, or the world, leaves no
// host for it.
func TestNoHostToUse(t *testing.T) {
	down := "health_status: UNHEALTHY"
	subsets := "lb_subset_config: {fallback_policy: NO_FALLBACK, subset_selectors: [{keys: [v]}]}"
	route := func(fields string) string { return "- {match: {prefix: /}, route: {cluster: lb" + fields + "}}" }
	for name, c := range map[string]struct {
		routes, clusters string
		log              string
	}{
		"no hosts":                  {toLB, "- {name: lb, load_assignment: {cluster_name: lb}}\n", "503 UH no_healthy_upstream"},
		"no health, no panic":       {toLB, cluster("common_lb_config: {healthy_panic_threshold: {value: 0}}", group("", "a "+down)), "503 UH no_healthy_upstream"},
		"no health, panic":          {toLB, cluster("", group("", "a "+down)), "200 - via_upstream"},
		"panic that fails":          {toLB, cluster("common_lb_config: {zone_aware_lb_config: {fail_traffic_on_panic: true}}", group("", "a "+down)), "503 UH no_healthy_upstream"},
		"a name of nothing":         {toLB, "- {name: lb, type: STRICT_DNS, wait_for_warm_on_init: false, load_assignment: {cluster_name: lb, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: nothing.invalid, port_value: 1}}}}]}]}}\n", "503 UH no_healthy_upstream"},
		"a logical name of nothing": {toLB, "- {name: lb, type: LOGICAL_DNS, wait_for_warm_on_init: false, load_assignment: {cluster_name: lb, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: nothing.invalid, port_value: 1}}}}]}]}}\n", "503 UH no_healthy_upstream"},
		"endpoints nobody has":      {toLB, "- {name: lb, type: EDS, eds_cluster_config: {eds_config: {path_config_source: {path: /nothing/there.yaml}, initial_fetch_timeout: 0.05s}}}\n", "503 UH no_healthy_upstream"},
		"no such subset":            {route(", metadata_match: {filter_metadata: {envoy.lb: {v: none}}}"), cluster(subsets, group("", "a")), "503 UH no_healthy_upstream"},
		"clusters that are not":     {toLB, "- {name: lb, lb_policy: CLUSTER_PROVIDED, cluster_type: {name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [none, neither]}}}\n", "503 UH no_healthy_upstream"},
		"a destination unknown":     {route(""), "- {name: lb, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}\n", "503 UH no_healthy_upstream"},
		"a cluster of no name":      {"- {match: {prefix: /}, route: {cluster_header: x-nothing}}", "", "503 NC cluster_not_found"},
		"all is to be dropped":      {toLB, "- {name: lb, load_assignment: {cluster_name: lb, policy: {drop_overloads: [{category: all, drop_percentage: {numerator: 100}}]}, endpoints: [" + group("", "a") + "]}}\n", "503 DO drop_overload"},
		"nobody listens":            {toLB, cluster("", group("", "dead")), "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"},
		"no request may wait":       {toLB, cluster("circuit_breakers: {thresholds: [{max_pending_requests: 0}]}", group("", "a")), "503 UO upstream_reset_before_response_started{overflow}"},
		"no request may run":        {toLB, cluster("circuit_breakers: {thresholds: [{max_requests: 0}]}", group("", "a")), "503 UO upstream_reset_before_response_started{overflow}"},
		"no connection but one":     {toLB, cluster("circuit_breakers: {thresholds: [{max_connections: 0}]}", group("", "a")), "200 - via_upstream"},
		"localities without weight": {toLB, cluster("common_lb_config: {locality_weighted_lb_config: {}}", group("locality: {zone: x}", "a"), group("locality: {zone: y}", "b")), "200 - via_upstream"},
		"the same host twice":       {toLB, cluster("", group("", "a load_balancing_weight: 1", "a load_balancing_weight: 7")), "200 - via_upstream"},
		"a priority left out":       {toLB, cluster("", group("priority: 2", "a")), "200 - via_upstream"},
		"a hash of nothing":         {byHeader, cluster("lb_policy: MAGLEV", group("", "a", "b")), "200 - via_upstream"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, proxytest.Edge{Routes: c.routes, Clusters: c.clusters, AccessLog: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"}, nil)
			f.get()
			if got := f.LogLines(1)[0]; got != c.log {
				t.Errorf("the log has %q, want %q", got, c.log)
			}
		})
	}
}
