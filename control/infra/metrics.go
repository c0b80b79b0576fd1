// SPDX-License-Identifier: Apache-2.0

package infra

import (
	"fmt"
	"regexp"
	"slices"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/graph"
)

// metricsPath is where proxies tell Prometheus their statistics, at the port graph.ReadyPort.
const metricsPath = "/stats/prometheus"

// metricsCluster leads from there to the admin.
const metricsCluster = "prometheus_stats"

// scraped adds to the annotations of a Pod by which many find what to ask for statistics; a
// Gateway's own win.
func (w *writer) scraped(annotations map[string]string) {
	if m := w.plan.Parameters.Metrics; m != nil && m.Disable {
		return
	}
	for name, value := range map[string]string{"scrape": "true", "port": fmt.Sprint(graph.ReadyPort), "path": metricsPath} {
		if name = "prometheus.io/" + name; annotations[name] == "" {
			annotations[name] = value
		}
	}
}

// measured returns Weir's own bootstrap with which statistics there are, and how they are told.
func measured(own fields, m *v1alpha1.MetricsParameters) fields {
	if m == nil {
		return own
	}
	if len(m.Include) > 0 {
		patterns := []any{}
		for _, n := range m.Include {
			patterns = append(patterns, pattern(n))
		}
		own["stats_config"] = fields{"stats_matcher": fields{"inclusion_list": fields{"patterns": patterns}}}
	}
	sinks := []any{}
	for _, text := range m.Sinks {
		sink, err := readYAML(text)
		if err != nil {
			panic("BUG: a sink cannot be read: " + err.Error())
		}
		sinks = append(sinks, sink)
	}
	if len(sinks) > 0 {
		own["stats_sinks"] = sinks
	}
	manager := at(own, []string{"static_resources", "listeners", "0", "filter_chains", "0", "filters", "0", "typed_config"}).(fields)
	if m.Disable {
		host := at(manager, []string{"route_config", "virtual_hosts", "0"}).(fields)
		host["routes"] = host["routes"].([]any)[1:]
		without(own, "clusters", metricsCluster)
		return own
	}
	if m.Compression != nil {
		manager["http_filters"] = slices.Insert(manager["http_filters"].([]any), 0, any(compressor(*m.Compression, value(m.MinCompressed, 30))))
	}
	return own
}

// badNames finds what proxies would not start with.
func badNames(list []v1alpha1.NameMatch) []Problem {
	var out []Problem
	for i, n := range list {
		if n.Regex == nil {
			continue
		}
		if _, err := regexp.Compile(*n.Regex); err != nil {
			out = append(out, Problem{"metrics", fmt.Sprintf("include[%d].regex is not a regular expression: %v", i, err)})
		}
	}
	return out
}

// pattern is a matcher of names, in terms of Envoy's StringMatcher.
func pattern(n v1alpha1.NameMatch) fields {
	out := fields{}
	put(out, "exact", n.Exact)
	put(out, "prefix", n.Prefix)
	put(out, "suffix", n.Suffix)
	if n.Regex != nil {
		out["safe_regex"] = fields{"regex": *n.Regex}
	}
	return out
}

// compressor is the filter that compresses what is told.
func compressor(name string, least uint32) fields {
	message := map[string]string{"gzip": "gzip.compressor.v3.Gzip", "brotli": "brotli.compressor.v3.Brotli", "zstd": "zstd.compressor.v3.Zstd"}[name]
	return fields{"name": "envoy.filters.http.compressor", "typed_config": fields{
		"@type":                     "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor",
		"response_direction_config": fields{"common_config": fields{"min_content_length": least}},
		"compressor_library": fields{"name": name, "typed_config": fields{
			"@type": "type.googleapis.com/envoy.extensions.compression." + message,
		}},
	}}
}

// asks has statistics be asked for where the admin is, which parameters may have at another port.
func asks(b fields, admin any) {
	clusters, _ := at(b, []string{"static_resources", "clusters"}).([]any)
	for _, c := range clusters {
		if at(c, []string{"name"}) != metricsCluster {
			continue
		}
		to, ok := at(c, []string{"load_assignment", "endpoints", "0", "lb_endpoints", "0", "endpoint", "address", "socket_address"}).(fields)
		if ok && admin != nil {
			to["port_value"] = admin
		}
	}
}
