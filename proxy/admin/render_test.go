// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
)

func clusters() *fake {
	f := newFake()
	f.clusters = []ClusterStatus{{
		Name: "web", EDSServiceName: "web-eds", AddedViaAPI: true,
		Default: Thresholds{1024, 1024, 1024, 3}, High: Thresholds{1, 2, 3, 4},
		Outlier: &OutlierStatus{-1, 50.5, -1, -1},
		Hosts: []HostStatus{{
			Address: "10.0.0.1:80", Hostname: "h", Health: FailedActiveHC | FailedEDSHealth, Weight: 2, Priority: 1,
			Region: "r", Zone: "z", SubZone: "s", Canary: true, SuccessRate: -1, LocalOriginSuccessRate: 99.5,
			Stats: []HostStat{{"rq_total", 7, false}, {"cx_active", 1, true}},
		}},
	}}
	return f
}

func TestClustersText(t *testing.T) {
	const want = `web::observability_name::web
web::outlier::success_rate_average::-1
web::outlier::success_rate_ejection_threshold::50.5
web::outlier::local_origin_success_rate_average::-1
web::outlier::local_origin_success_rate_ejection_threshold::-1
web::default_priority::max_connections::1024
web::default_priority::max_pending_requests::1024
web::default_priority::max_requests::1024
web::default_priority::max_retries::3
web::high_priority::max_connections::1
web::high_priority::max_pending_requests::2
web::high_priority::max_requests::3
web::high_priority::max_retries::4
web::added_via_api::true
web::eds_service_name::web-eds
web::10.0.0.1:80::cx_active::1
web::10.0.0.1:80::rq_total::7
web::10.0.0.1:80::hostname::h
web::10.0.0.1:80::health_flags::/failed_active_hc/failed_eds_health
web::10.0.0.1:80::weight::2
web::10.0.0.1:80::region::r
web::10.0.0.1:80::zone::z
web::10.0.0.1:80::sub_zone::s
web::10.0.0.1:80::canary::true
web::10.0.0.1:80::priority::1
web::10.0.0.1:80::success_rate::-1
web::10.0.0.1:80::local_origin_success_rate::99.5
`
	if d := cmp.Diff(want, get(t, clusters(), "/clusters")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if got := HealthFlags(0).String(); got != "healthy" {
		t.Errorf("no flag is %q", got)
	}
}

// wantJSON compares JSON without regard to order and spaces.
func wantJSON(t *testing.T, want, got string) {
	t.Helper()
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if d := cmp.Diff(w, g); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestClustersJSON(t *testing.T) {
	wantJSON(t, `{"cluster_statuses":[{"name":"web","added_via_api":true,"observability_name":"web","eds_service_name":"web-eds",
		"success_rate_ejection_threshold":{"value":50.5},
		"circuit_breakers":{"thresholds":[
			{"max_connections":1024,"max_pending_requests":1024,"max_requests":1024,"max_retries":3},
			{"priority":"HIGH","max_connections":1,"max_pending_requests":2,"max_requests":3,"max_retries":4}]},
		"host_statuses":[{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}},
			"stats":[{"name":"rq_total","value":"7"},{"name":"cx_active","value":"1","type":"GAUGE"}],
			"health_status":{"failed_active_health_check":true,"eds_health_status":"UNHEALTHY"},
			"local_origin_success_rate":{"value":99.5},"weight":2,"hostname":"h","priority":1,
			"locality":{"region":"r","zone":"z","sub_zone":"s"}}]}]}`, get(t, clusters(), "/clusters?format=json"))
}

func TestListeners(t *testing.T) {
	f := newFake()
	f.listeners = []ListenerStatus{{"a", []string{"0.0.0.0:80", "[::]:80"}}, {"b", []string{"/run/b.sock"}}}
	if got, want := get(t, f, "/listeners"), "a::0.0.0.0:80\na::[::]:80\nb::/run/b.sock\n"; got != want {
		t.Errorf("got %q", got)
	}
	wantJSON(t, `{"listener_statuses":[
		{"name":"a","local_address":{"socket_address":{"address":"0.0.0.0","port_value":80}},
		 "additional_local_addresses":[{"socket_address":{"address":"::","port_value":80}}]},
		{"name":"b","local_address":{"pipe":{"path":"/run/b.sock"}}}]}`, get(t, f, "/listeners?format=json"))
}

func TestServerInfo(t *testing.T) {
	body := get(t, newFake(), "/server_info")
	for _, want := range []string{
		"{\n \"version\": \"abc/1.0/Clean/RELEASE/Go\",\n \"state\": \"LIVE\",", `"uptime_current_epoch": "90s"`, `"uptime_all_epochs": "90s"`,
		`"hot_restart_version": "disabled"`, `"concurrency": 2`, `"id": "n1"`, `"drain_strategy": "Gradual"`, `"base_id": "0"`,
		`"config_yaml": "[redacted]"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("lacks %s in %s", want, body)
		}
	}
}

func TestCerts(t *testing.T) {
	body := get(t, newFake(), "/certs")
	body = regexp.MustCompile(`"expiration_time": "[^"]+"`).ReplaceAllString(body, `"expiration_time": "T"`)
	wantJSON(t, `{"certificates":[{"ca_cert":[],"cert_chain":[{"path":"/c.pem","serial_number":"abc","days_until_expiration":"10",
		"valid_from":"1970-01-01T00:00:00Z","expiration_time":"T",
		"subject_alt_names":[{"dns":"a.example"},{"uri":"spiffe://x"},{"ip_address":"10.0.0.1"}]}]}]}`, body)
}

func TestMemory(t *testing.T) {
	var m map[string]string
	if err := json.Unmarshal([]byte(get(t, newFake(), "/memory")), &m); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"allocated", "heap_size", "total_thread_cache", "total_physical_bytes"} {
		if m[k] == "" || m[k] == "0" {
			t.Errorf("%s is %q", k, m[k])
		}
	}
}

func TestParseConfig(t *testing.T) {
	const file = `{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/dev/null"`
	tests := []struct {
		name, config string
		want         Config
		listens      bool
		err          string
	}{
		{"none", `{}`, Config{}, false, ""},
		{"tcp", `{"address":{"socket_address":{"address":"::1","port_value":9901}},"profile_path":"/p","access_log_path":"/l","ignore_global_conn_limit":true}`,
			Config{Network: "tcp", Address: "[::1]:9901", ProfilePath: "/p", AccessLogs: []string{"/l"}}, true, ""},
		{"unix", `{"address":{"pipe":{"path":"/s","mode":384}},"access_log":[{"typed_config":` + file + `}}]}`,
			Config{Network: "unix", Address: "/s", SocketMode: 0o600, AccessLogs: []string{"/dev/null"}}, true, ""},
		{"name", `{"address":{"socket_address":{"address":"localhost","port_value":1}}}`, Config{}, false, `admin.address.socket_address.address: "localhost" is not an IP address`},
		{"udp", `{"address":{"socket_address":{"protocol":"UDP","address":"::1","port_value":1}}}`, Config{}, false, "protocol: UDP"},
		{"port", `{"address":{"socket_address":{"address":"::1","port_value":70000}}}`, Config{}, false, "above 65535"},
		{"named port", `{"address":{"socket_address":{"address":"::1","named_port":"x"}}}`, Config{}, false, "named_port"},
		{"mode", `{"address":{"pipe":{"path":"/s","mode":512}}}`, Config{}, false, "pipe.mode: 01000"},
		{"no path", `{"address":{"pipe":{}}}`, Config{}, false, "pipe.path: is empty"},
		{"internal", `{"address":{"envoy_internal_address":{"server_listener_name":"x"}}}`, Config{}, false, "must be a socket_address or a pipe"},
		{"options", `{"socket_options":[{"level":1,"name":2,"int_value":3}]}`, Config{}, false, "admin.socket_options: is not supported"},
		{"format", `{"access_log":[{"typed_config":` + file + `,"log_format":{"text_format_source":{"inline_string":"x"}}}}]}`, Config{}, false, "admin.access_log[0]: typed_config: a format"},
		{"filter", `{"access_log":[{"filter":{"not_health_check_filter":{}},"typed_config":` + file + `}}]}`, Config{}, false, "filter: is not supported"},
		{"other log", `{"access_log":[{"typed_config":{"@type":"type.googleapis.com/envoy.config.core.v3.Node"}}]}`, Config{}, false, "FileAccessLog"},
		{"paths", `{"allow_paths":[{"exact":"/a"},{}]}`, Config{}, false, "admin.allow_paths[1]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p bootstrapv3.Admin
			if err := protojson.Unmarshal([]byte(tt.config), &p); err != nil {
				t.Fatal(err)
			}
			got, listens, err := ParseConfig(&p)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" || listens != tt.listens {
				t.Errorf("listens %v (-want +got)\n%s", listens, d)
			}
		})
	}
}

func TestParseAllowPaths(t *testing.T) {
	var p bootstrapv3.Admin
	const js = `{"allow_paths":[{"exact":"/a"},{"prefix":"/p"},{"suffix":".S","ignore_case":true},{"contains":"c"},{"safe_regex":{"regex":"/r."}}]}`
	if err := protojson.Unmarshal([]byte(js), &p); err != nil {
		t.Fatal(err)
	}
	c, _, err := ParseConfig(&p)
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range []string{"/a", "/px", "/x.s", "/xcx", "/r1"} {
		for j, f := range c.AllowPaths {
			if f(path) != (i == j) {
				t.Errorf("pattern %d on %s: %v", j, path, f(path))
			}
		}
	}
}
