// SPDX-License-Identifier: Apache-2.0

package infra_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/control/infra"
	"weir.dev/weir/xds/load"
)

// measuredBy is a Gateway whose proxies are run as an EnvoyProxy says.
const measuredBy = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller, parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, namespace: default, name: own}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  infrastructure: {annotations: {prometheus.io/port: "1"}}
  listeners: [{name: own, port: 19001, protocol: HTTP}, {name: dns, port: 19000, protocol: UDP}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: own}
spec: `

// What an EnvoyProxy says of statistics, and of how proxies end, is in their bootstrap and their Pods.
func TestMetrics(t *testing.T) {
	const asked, scraped = "/stats/prometheus, headers", "prometheus.io/scrape:true"
	for name, tt := range map[string]struct {
		spec      string
		has, not  []string // of the bootstrap
		pod, none []string
	}{
		"by default":             {"{}", []string{asked, "port_value: 19000"}, []string{"stats_config"}, []string{scraped, "prometheus.io/path:/stats/prometheus", "sleep:map[seconds:5]", "terminationGracePeriodSeconds:70"}, nil},
		"a Gateway's annotation": {"{}", nil, nil, []string{"prometheus.io/port:1 "}, []string{"prometheus.io/port:19001"}},
		"ports of proxies' own":  {"{}", nil, nil, []string{"name:metrics"}, nil},
		"none":                   {"{telemetry: {metrics: {prometheus: {disable: true}}}}", []string{"weir.dev/ready"}, []string{"prometheus"}, nil, []string{"prometheus.io/scrape"}},
		"some": {"{telemetry: {metrics: {matches: [{value: a}, {type: Prefix, value: b.}, {type: Suffix, value: .c}, {type: RegularExpression, value: d.*}]}}}",
			[]string{`"exact": "a"`, `"prefix": "b."`, `"suffix": ".c"`, `"regex": "d.*"`, "/stats/prometheus"}, nil, []string{scraped}, nil},
		"compressed": {"{telemetry: {metrics: {prometheus: {compression: {type: Brotli, minContentLength: 2Ki}}}}}", []string{"brotli.compressor.v3.Brotli", `"min_content_length": 2048`}, nil, nil, nil},
		"an admin of another port": {"{bootstrap: {type: Merge, value: '{admin: {address: {socket_address: {port_value: 19005}}}}'}}",
			[]string{`"port_value": 19005`}, []string{`"port_value": 19000`}, nil, nil},
		"all in place of it": {"{telemetry: {metrics: {prometheus: {compression: {type: Zstd}}}}, bootstrap: {value: '{stats_flush_interval: 2s}'}}", []string{"zstd.compressor.v3.Zstd", "2s"}, nil, nil, nil},
		"sent": {"{telemetry: {metrics: {sinks: [{type: OpenTelemetry, openTelemetry: {host: otel.example.com, headers: [{name: a, value: b}], resourceAttributes: {c: d}, reportCountersAsDeltas: true}}]}}}",
			[]string{`"envoy.stat_sinks.open_telemetry"`, `"hostname/otel.example.com/4317/grpc"`, `"authority": "otel.example.com"`, `"key": "a"`, `"c": "d"`, `"report_counters_as_deltas": true`, "/stats/prometheus"},
			[]string{"report_histograms"}, []string{scraped}, nil},
		"how long before it ends": {"{shutdown: {minDrainDuration: 1500ms, healthCheckFailureDelay: 20s, drainTimeout: 30s}}", nil, nil, []string{"sleep:map[seconds:22]", "terminationGracePeriodSeconds:57"}, nil},
		"only until checks fail":  {"{shutdown: {healthCheckFailureDelay: 3s}}", nil, nil, []string{"sleep:map[seconds:13]"}, nil},
		"at once":                 {"{shutdown: {minDrainDuration: 0s}}", nil, nil, []string{"terminationGracePeriodSeconds:65"}, []string{"preStop"}},
	} {
		t.Run(name, func(t *testing.T) {
			all := plans(t, measuredBy+tt.spec)
			if len(all) != 1 {
				t.Fatalf("there are %d plans", len(all))
			}
			for _, p := range all[0].Ports {
				if want := map[int32]int32{19001: 27001, 19000: 19000}[p.Number]; p.Bound != want {
					t.Errorf("%d is bound at %d, want %d", p.Number, p.Bound, want)
				}
			}
			bootstrap, pod := "", ""
			for _, o := range made(t, all[0], infra.Options{Image: "weir", Server: "control:18000"}) {
				switch o.Resource {
				case "configmaps":
					bootstrap = fmt.Sprint(o.Body["data"].(map[string]any)["bootstrap.yaml"])
				case "deployments":
					pod = fmt.Sprint(o.Body)
				}
			}
			if _, _, problems := load.Bootstraps([]load.Document{{Data: []byte(bootstrap)}}, load.Options{}); len(problems) > 0 {
				t.Errorf("%v of the bootstrap\n%s", problems, bootstrap)
			}
			for _, in := range []struct {
				text     string
				has, not []string
			}{{bootstrap, tt.has, tt.not}, {pod, tt.pod, tt.none}} {
				for _, want := range in.has {
					if !strings.Contains(in.text, want) {
						t.Errorf("%q is not in\n%s", want, in.text)
					}
				}
				for _, other := range in.not {
					if strings.Contains(in.text, other) {
						t.Errorf("%q is in\n%s", other, in.text)
					}
				}
			}
		})
	}
}
