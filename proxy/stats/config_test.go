// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"strings"
	"testing"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
)

func bucketsConfig(prefix string, bounds ...float64) *metricsv3.StatsConfig {
	return &metricsv3.StatsConfig{HistogramBucketSettings: []*metricsv3.HistogramBucketSettings{{
		Match:   &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}},
		Buckets: bounds,
	}}}
}

func parse(t *testing.T, js string) (*Config, error) {
	t.Helper()
	var p metricsv3.StatsConfig
	if err := protojson.Unmarshal([]byte(js), &p); err != nil {
		t.Fatal(err)
	}
	return ParseConfig(&p)
}

// labels writes tags as "name=value" with Envoy's prefix left out.
func labels(tags []Tag) string {
	var out []string
	for _, t := range tags {
		out = append(out, strings.TrimPrefix(t.Name, "envoy.")+"="+t.Value)
	}
	return strings.Join(out, " ")
}

func TestDefaultTags(t *testing.T) {
	tests := []struct{ name, extracted, tags string }{
		{"server.uptime", "server.uptime", ""},
		{"cluster.web.upstream_cx_total", "cluster.upstream_cx_total", "cluster_name=web"},
		{"cluster.web.upstream_rq_200", "cluster.upstream_rq", "response_code=200 cluster_name=web"},
		{"cluster.web.external.upstream_rq_5xx", "cluster.external.upstream_rq_xx", "response_code_class=5 cluster_name=web"},
		{"cluster.web.upstream_rq_timeout", "cluster.upstream_rq_timeout", "cluster_name=web"},
		{"cluster.g.grpc.pkg_Svc.Method.success", "cluster.grpc.success", "grpc_bridge_method=Method grpc_bridge_service=pkg_Svc cluster_name=g"},
		{"http.in.downstream_rq_2xx", "http.downstream_rq_xx", "response_code_class=2 http_conn_manager_prefix=in"},
		{"http.in.user_agent.ios.downstream_cx_total", "http.user_agent.downstream_cx_total", "http_user_agent=ios http_conn_manager_prefix=in"},
		{"http.in.fault.down.aborts_injected", "http.fault.aborts_injected", "fault_downstream_cluster=down http_conn_manager_prefix=in"},
		{"http.in.rds.route_1.v2.update_success", "http.rds.update_success", "rds_route_config=route_1.v2 http_conn_manager_prefix=in"},
		{"http.p.ext_authz.authpfx.denied", "http.ext_authz.denied", "ext_authz_prefix=authpfx http_conn_manager_prefix=p"},
		{"listener.127.0.0.1_3012.http.in.downstream_rq_5xx", "listener.http.downstream_rq_xx", "response_code_class=5 http_conn_manager_prefix=in listener_address=127.0.0.1_3012"},
		{"listener.[__1]_80.downstream_cx_total", "listener.downstream_cx_total", "listener_address=[__1]_80"},
		{"listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", ""},
		{"listener.admin.http.admin.downstream_cx_total", "listener.admin.http.downstream_cx_total", "http_conn_manager_prefix=admin"},
		{"listener.0.0.0.0_80.worker_1.downstream_cx_active", "listener.worker_downstream_cx_active", "worker_id=1 listener_address=0.0.0.0_80"},
		{"listener.0.0.0.0_443.ssl.ciphers.ECDHE-RSA-AES", "listener.ssl.ciphers", "ssl_cipher=ECDHE-RSA-AES listener_address=0.0.0.0_443"},
		{"listener.0.0.0.0_443.ssl.versions.TLSv1.3", "listener.ssl.versions", "ssl_version=TLSv1.3 listener_address=0.0.0.0_443"},
		{"vhost.v.vcluster.c.upstream_rq_total", "vhost.vcluster.upstream_rq_total", "virtual_cluster=c virtual_host=v"},
		{"vhost.v.route.r.upstream_rq_503", "vhost.route.upstream_rq", "response_code=503 virtual_host=v route=r"},
		{"tcp.p.downstream_cx_total", "tcp.downstream_cx_total", "tcp_prefix=p"},
		{"in.http_local_rate_limit.ok", "http_local_rate_limit.ok", "local_http_ratelimit_prefix=in"},
		{"connection_limit.p.limited_connections", "connection_limit.limited_connections", "connection_limit_prefix=p"},
		{"r.rbac.allowed", "rbac.allowed", "rbac_prefix=r"},
		{"http.h.rbac.prefix.allowed", "http.rbac.allowed", "rbac_http_prefix=prefix http_conn_manager_prefix=h"},
		{"http.h.rbac.policy.pol.denied", "http.rbac.policy.denied", "rbac_policy_name=pol http_conn_manager_prefix=h"},
		{"http.h.rbac.prefix.policy.pol.shadow_denied", "http.rbac.policy.shadow_denied", "rbac_http_prefix=prefix rbac_policy_name=pol http_conn_manager_prefix=h"},
		{"proxy_proto.not_found_disallowed", "proxy_proto.not_found_disallowed", ""},
		{"proxy_proto.versions.v2.error", "proxy_proto.error", "proxy_protocol_version=2"},
		{"proxy_proto.p.versions.v2.error", "proxy_proto.error", "proxy_protocol_version=2 proxy_protocol_prefix=p"},
		{"mongo.m.collection.c.callsite.s.query.total", "mongo.collection.callsite.query.total", "mongo_callsite=s mongo_collection=c mongo_prefix=m"},
	}
	c := DefaultConfig()
	for _, tt := range tests {
		extracted, tags := c.extract(tt.name)
		if d := cmp.Diff([]string{tt.extracted, tt.tags}, []string{extracted, labels(tags)}); d != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, d)
		}
	}
}

func TestParseConfigTags(t *testing.T) {
	const name = "cluster.web.upstream_rq_200"
	tests := []struct{ name, config, extracted, tags string }{
		{"added and fixed", `{"stats_tags":[{"tag_name":"pod","fixed_value":"p1"},{"tag_name":"what","regex":"upstream(_rq)"}]}`,
			"cluster.upstream", "pod=p1 response_code=200 what=_rq cluster_name=web"},
		{"no defaults", `{"use_all_default_tags":false,"stats_tags":[{"tag_name":"c","regex":"^cluster\\.(([^.]+)\\.)"}]}`,
			"cluster.upstream_rq_200", "c=web"},
		{"one default", `{"use_all_default_tags":false,"stats_tags":[{"tag_name":"envoy.response_code"}]}`,
			"cluster.web.upstream_rq", "response_code=200"},
		{"default wins", `{"stats_tags":[{"tag_name":"envoy.cluster_name","regex":"(cluster)"}]}`,
			"cluster.upstream_rq", "response_code=200 cluster_name=web"},
		{"override", `{"allow_default_tag_overrides":true,"stats_tags":[{"tag_name":"envoy.cluster_name","regex":"^cluster\\.((w)eb\\.)"}]}`,
			"cluster.upstream_rq", "response_code=200 cluster_name=w"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse(t, tt.config)
			if err != nil {
				t.Fatal(err)
			}
			extracted, tags := c.extract(name)
			if d := cmp.Diff([]string{tt.extracted, tt.tags}, []string{extracted, labels(tags)}); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestLookAhead reads a rule that Envoy's own were once written like.
func TestLookAhead(t *testing.T) {
	c, err := parse(t, `{"use_all_default_tags":false,"stats_tags":[{"tag_name":"c","regex":"^listener(?=\\.).*?\\.http\\.(([^.]+)\\.)"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"listener.http.web.rq":               {"listener.http.rq", "c=web"},
		"listener.0.0.0.0_80.http.web.rq":    {"listener.0.0.0.0_80.http.rq", "c=web"},
		"listener.0.0.0.0_80.http.web.rq_xx": {"listener.0.0.0.0_80.http.rq_xx", "c=web"},
		"listeners.a.http.web.rq":            {"listeners.a.http.web.rq", ""},
	} {
		extracted, tags := c.extract(name)
		if d := cmp.Diff(want, []string{extracted, labels(tags)}); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
}

func TestStatsMatcher(t *testing.T) {
	tests := []struct{ name, config, want string }{
		{"reject all", `{"reject_all":true}`, ""},
		{"reject none", `{"reject_all":false}`, "a.b ab.c cd"},
		{"exclude", `{"exclusion_list":{"patterns":[{"prefix":"a."},{"safe_regex":{"regex":"c."}}]}}`, "ab.c"},
		{"include", `{"inclusion_list":{"patterns":[{"suffix":".C","ignore_case":true},{"exact":"cd"}]}}`, "ab.c cd"},
		{"contains", `{"inclusion_list":{"patterns":[{"contains":"b"}]}}`, "a.b ab.c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse(t, `{"stats_matcher":`+tt.config+`}`)
			if err != nil {
				t.Fatal(err)
			}
			s := NewStore()
			for _, n := range []string{"a.b", "ab.c", "cd"} {
				s.Scope("").Counter(n).Inc()
			}
			s.Configure(c)
			var got []string
			s.Visit(func(m Metric) { got = append(got, m.Name) })
			if strings.Join(got, " ") != tt.want {
				t.Errorf("shown %q, want %q", got, tt.want)
			}
			s.Configure(nil)
			if n := len(values(s)); n != 3 {
				t.Errorf("%d shown by default, want 3", n)
			}
		})
	}
}

func TestParseConfigRefuses(t *testing.T) {
	tests := []struct{ name, config, want string }{
		{"unknown default", `{"stats_tags":[{"tag_name":"x"}]}`, `stats_tags[0]: "x" is not a default tag`},
		{"no name", `{"stats_tags":[{"regex":"(a)"}]}`, "stats_tags[0].tag_name"},
		{"look-ahead", `{"stats_tags":[{"tag_name":"x","regex":"^a(?=b)(c)"}]}`, "RE2"},
		{"no group", `{"stats_tags":[{"tag_name":"x","regex":"a"}]}`, "no capture group"},
		{"long", `{"stats_tags":[{"tag_name":"x","regex":"(` + strings.Repeat("a", 512) + `)"}]}`, "longer than 512"},
		{"empty matcher", `{"stats_matcher":{}}`, "stats_matcher: is empty"},
		{"empty list", `{"stats_matcher":{"exclusion_list":{}}}`, "exclusion_list.patterns: is empty"},
		{"bad pattern", `{"stats_matcher":{"inclusion_list":{"patterns":[{"exact":"a"},{"safe_regex":{"regex":"("}}]}}}`, "inclusion_list.patterns[1]: safe_regex"},
		{"custom", `{"stats_matcher":{"inclusion_list":{"patterns":[{"custom":{"name":"lua"}}]}}}`, `"lua" is not supported`},
		{"empty pattern", `{"stats_matcher":{"inclusion_list":{"patterns":[{}]}}}`, "is empty"},
		{"no buckets", `{"histogram_bucket_settings":[{"match":{"prefix":"a"}}]}`, "settings[0].buckets: is empty"},
		{"zero bucket", `{"histogram_bucket_settings":[{"match":{"prefix":"a"},"buckets":[1,0]}]}`, "not above 0"},
		{"same bucket", `{"histogram_bucket_settings":[{"match":{"prefix":"a"},"buckets":[1,1]}]}`, "twice"},
		{"no match", `{"histogram_bucket_settings":[{"buckets":[1]}]}`, "settings[0].match"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(t, tt.config)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
