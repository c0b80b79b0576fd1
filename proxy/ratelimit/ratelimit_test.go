// SPDX-License-Identifier: Apache-2.0

package ratelimit_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/ratelimit"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/proxy/streaminfo"
)

func TestMain(m *testing.M) { leak.Main(m) }

// describer is a filter that writes down the descriptors of its requests.
type describer struct {
	ratelimit.Describer
	layers ratelimit.Layers
	done   bool
	text   string
	out    ratelimit.Descriptors
}

func (d *describer) Request(s *stream.Stream) error {
	remote, _ := address.Parse("10.1.2.3:4000")
	s.Info.Remote = remote
	s.Info.Metadata = streaminfo.Metadata{"jwt": {"claims": map[string]any{"sub": "ann", "age": 7.0}, "limit": map[string]any{"requests_per_unit": 42.0, "unit": "HOUR"}}}
	d.Describe(&d.out, s, d.layers, d.done)
	var lines []string
	for _, x := range d.out.List {
		var parts []string
		for _, e := range x.Entries {
			parts = append(parts, fmt.Sprintf("%s=%s", e.Key, e.Value))
		}
		line := strings.Join(parts, ",")
		if x.Unit != "" {
			line += fmt.Sprintf(" limit %d/%s", x.RequestsPerUnit, x.Unit)
		}
		if x.Counted {
			line += fmt.Sprintf(" hits %d %v", x.Hits, x.Negative)
		}
		lines = append(lines, line)
	}
	d.text = strings.Join(lines, "; ")
	d.out.Reset()
	return nil
}

func (d *describer) Response(*stream.Stream) error { return nil }

func describe(t *testing.T, d *describer, r streamtest.Route) string {
	t.Helper()
	d.Cluster = "edge"
	d.ClusterMetadata = func(name string) streaminfo.Metadata {
		return streaminfo.Metadata{"m": {"of": name}}
	}
	rig := streamtest.New(t)
	rig.AddFilter("describer", d)
	rig.Route(r)
	rig.Run(streamtest.Request{Path: "/x?q=1&r=", Header: []string{"x-user: bob", "x-user: eve", "x-cost: 3"}}, streamtest.Upstream{})
	return d.text
}

func TestActions(t *testing.T) {
	tests := []struct{ actions, rest, want string }{
		{`{"source_cluster":{}},{"destination_cluster":{}}`, "", "source_cluster=edge,destination_cluster=backend"},
		{`{"request_headers":{"header_name":"x-user","descriptor_key":"user"}}`, "", "user=bob"},
		{`{"request_headers":{"header_name":"x-none","descriptor_key":"user"}}`, "", ""},
		{`{"generic_key":{"descriptor_value":"v"}},{"request_headers":{"header_name":"x-none","descriptor_key":"user"}}`, "", ""},
		{`{"generic_key":{"descriptor_value":"v"}},{"request_headers":{"header_name":"x-none","descriptor_key":"user","skip_if_absent":true}}`, "", "generic_key=v"},
		{`{"query_parameters":{"query_parameter_name":"q","descriptor_key":"q"}},{"query_parameters":{"query_parameter_name":"z","descriptor_key":"z","skip_if_absent":true}}`, "", "q=1"},
		{`{"remote_address":{}}`, "", "remote_address=10.1.2.3"},
		{`{"masked_remote_address":{"v4_prefix_mask_len":16}}`, "", "masked_remote_address=10.1.0.0/16"},
		{`{"masked_remote_address":{}}`, "", "masked_remote_address=10.1.2.3/32"},
		{`{"remote_address_match":{"descriptor_value":"in","address_matcher":{"ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]}}}`, "", "remote_address_match=in"},
		{`{"remote_address_match":{"descriptor_value":"in","address_matcher":{"ranges":[{"address_prefix":"11.0.0.0","prefix_len":8}]}}}`, "", ""},
		{`{"generic_key":{"descriptor_value":"v","descriptor_key":"k"}}`, "", "k=v"},
		{`{"generic_key":{"descriptor_value":"%REQ(x-user)%","descriptor_key":"k"}}`, "", "k=bob"},
		{`{"generic_key":{"descriptor_value":"%REQ(x-none)%","descriptor_key":"k","default_value":"d"}}`, "", "k=d"},
		{`{"generic_key":{"descriptor_value":"%REQ(x-none)%","descriptor_key":"k"}}`, "", ""},
		{`{"header_value_match":{"descriptor_value":"m","headers":[{"name":"x-cost","string_match":{"exact":"3"}}]}}`, "", "header_match=m"},
		{`{"header_value_match":{"descriptor_value":"m","expect_match":false,"headers":[{"name":"x-cost","string_match":{"exact":"3"}}]}}`, "", ""},
		{`{"header_value_match":{"descriptor_value":"m","descriptor_key":"not","expect_match":false,"headers":[{"name":"x-cost","string_match":{"exact":"4"}}]}}`, "", "not=m"},
		{`{"query_parameter_value_match":{"descriptor_value":"m","query_parameters":[{"name":"q","string_match":{"exact":"1"}}]}}`, "", "query_match=m"},
		{`{"dynamic_metadata":{"descriptor_key":"sub","metadata_key":{"key":"jwt","path":[{"key":"claims"},{"key":"sub"}]}}}`, "", "sub=ann"},
		{`{"metadata":{"descriptor_key":"age","metadata_key":{"key":"jwt","path":[{"key":"claims"},{"key":"age"}]},"default_value":"old"}}`, "", "age=old"},
		{`{"metadata":{"descriptor_key":"none","metadata_key":{"key":"jwt","path":[{"key":"none"}]}}}`, "", ""},
		{`{"metadata":{"descriptor_key":"team","source":"ROUTE_ENTRY","metadata_key":{"key":"own","path":[{"key":"team"}]}}}`, "", "team=shop"},
		{`{"metadata":{"descriptor_key":"of","source":"CLUSTER_ENTRY","metadata_key":{"key":"m","path":[{"key":"of"}]}}}`, "", "of=backend"},
		{`{"generic_key":{"descriptor_value":"v"}}`, `,"limit":{"dynamic_metadata":{"metadata_key":{"key":"jwt","path":[{"key":"limit"}]}}}`, "generic_key=v limit 42/HOUR"},
		{`{"generic_key":{"descriptor_value":"v"}}`, `,"limit":{"dynamic_metadata":{"metadata_key":{"key":"jwt","path":[{"key":"claims"}]}}}`, "generic_key=v"},
		{`{"generic_key":{"descriptor_value":"v"}}`, `,"hits_addend":{"number":5}`, "generic_key=v hits 5 false"},
		{`{"generic_key":{"descriptor_value":"v"}}`, `,"hits_addend":{"format":"%REQ(x-cost)%","is_negative_hits":true}`, "generic_key=v hits 3 true"},
		{`{"generic_key":{"descriptor_value":"v"}}`, `,"hits_addend":{"format":"%REQ(x-user)%"}`, ""},
		{`{"generic_key":{"descriptor_value":"v"}}`, `,"stage":3`, ""},
		{`{"generic_key":{"descriptor_value":"v"}}`, `,"disable_key":"off"`, ""},
		{`{"generic_key":{"descriptor_value":"v"}}`, `,"disable_key":"on"`, "generic_key=v"},
		{`{"generic_key":{"descriptor_value":"v"}}`, `,"apply_on_stream_done":true`, ""},
	}
	for _, tt := range tests {
		d := &describer{Describer: ratelimit.Describer{Enabled: func(key string) bool { return key == "on" }}}
		r := streamtest.Route{
			EntryLimits: `{"rate_limits":[{"actions":[` + tt.actions + `]` + tt.rest + `}]}`,
			Metadata:    `{"filter_metadata":{"own":{"team":"shop"}}}`,
		}
		if got := describe(t, d, r); got != tt.want {
			t.Errorf("%s%s: %q, want %q", tt.actions, tt.rest, got, tt.want)
		}
	}
}

// TestLayers: those of the route come before those of its virtual host, if these count
// at all.
func TestLayers(t *testing.T) {
	key := func(v string) string { return `{"actions":[{"generic_key":{"descriptor_value":"` + v + `"}}]}` }
	host := `{"rate_limits":[` + key("host") + `]}`
	entry := `{"rate_limits":[` + key("a") + `,` + key("b") + `,{"stage":2,"actions":[{"generic_key":{"descriptor_value":"c"}}]},{"apply_on_stream_done":true,"actions":[{"generic_key":{"descriptor_value":"d"}}]}]}`
	tests := []struct {
		name        string
		host, entry string
		of          ratelimit.HostLimits
		stage       uint32
		done        bool
		want        string
	}{
		{"both", host, entry, ratelimit.Override, 0, false, "generic_key=a; generic_key=b"},
		{"included", host, entry, ratelimit.Include, 0, false, "generic_key=a; generic_key=b; generic_key=host"},
		{"the host alone", host, "", ratelimit.Override, 0, false, "generic_key=host"},
		{"the host, ignored", host, "", ratelimit.Ignore, 0, false, ""},
		{"included by the route", host, `{"include_vh_rate_limits":true,` + entry[1:], ratelimit.Ignore, 0, false, "generic_key=a; generic_key=b; generic_key=host"},
		{"a stage", host, entry, ratelimit.Include, 2, false, "generic_key=c"},
		{"at the end", host, entry, ratelimit.Override, 0, true, "generic_key=d"},
	}
	for _, tt := range tests {
		d := &describer{Describer: ratelimit.Describer{Stage: tt.stage}, layers: ratelimit.Layers{Host: tt.of}, done: tt.done}
		if got := describe(t, d, streamtest.Route{HostLimits: tt.host, EntryLimits: tt.entry}); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := describe(t, &describer{}, streamtest.Route{Direct: 200}); got != "" {
		t.Errorf("of a direct response: %q", got)
	}
}
