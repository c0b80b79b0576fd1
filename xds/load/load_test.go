// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/internal/golden"
	"weir.dev/weir/xds"
)

// TestProblems shows what a person is told: each archive holds a bootstrap and the
// problems that it has.
func TestProblems(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, a *golden.Archive) map[string]string {
		in, ok := a.Get("edge.yaml")
		if !ok {
			t.Fatal("no edge.yaml")
		}
		_, _, problems := Bootstrap("edge.yaml", []byte(in), Options{})
		var b strings.Builder
		for _, p := range problems {
			fmt.Fprintln(&b, p)
		}
		return map[string]string{"problems": b.String()}
	})
}

func TestMessageForms(t *testing.T) {
	typed := func(m proto.Message) *anypb.Any {
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, tt := range []struct {
		name, in string
		want     proto.Message
	}{
		{"snake and camel", "name: a\nconnectTimeout: 0.25s\nlb_policy: RANDOM", &clusterv3.Cluster{
			Name: "a", ConnectTimeout: durationpb.New(250 * time.Millisecond), LbPolicy: clusterv3.Cluster_RANDOM,
		}},
		{"enum by number", "name: a\nlb_policy: 3", &clusterv3.Cluster{Name: "a", LbPolicy: clusterv3.Cluster_RANDOM}},
		{"enum in lower case", "name: a\nlb_policy: least-request", &clusterv3.Cluster{Name: "a", LbPolicy: clusterv3.Cluster_LEAST_REQUEST}},
		{"wrapper", `per_connection_buffer_limit_bytes: "32768"`, &clusterv3.Cluster{PerConnectionBufferLimitBytes: wrapperspb.UInt32(32768)}},
		{"whole float", `per_connection_buffer_limit_bytes: 1e3`, &clusterv3.Cluster{PerConnectionBufferLimitBytes: wrapperspb.UInt32(1000)}},
		{"null is unset", "name: a\nalt_stat_name: null\nconnect_timeout: ~", &clusterv3.Cluster{Name: "a"}},
		{"json with tabs and surrogates", "{\n\t\"name\": \"\\ud83d\\ude00\\/\"}", &clusterv3.Cluster{Name: "\U0001F600/"}},
		{
			"anchors and merge keys",
			"metadata:\n  filter_metadata:\n    a: &a {x: 1, y: [2]}\n    b: {<<: *a, x: two}\n    c: *a\n",
			&clusterv3.Cluster{Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
				"a": mustStruct(t, map[string]any{"x": 1, "y": []any{2}}),
				"b": mustStruct(t, map[string]any{"x": "two", "y": []any{2}}),
				"c": mustStruct(t, map[string]any{"x": 1, "y": []any{2}}),
			}}},
		},
		{
			"struct values", "metadata: {filter_metadata: {a: {n: null, t: true, s: 'true', d: 2026-01-02, f: 1.5, z: {}}}}",
			&clusterv3.Cluster{Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
				"a": mustStruct(t, map[string]any{"n": nil, "t": true, "s": "true", "d": "2026-01-02", "f": 1.5, "z": map[string]any{}}),
			}}},
		},
		{
			"any with another prefix", `transport_socket: {name: x, typed_config: {"@type": "example.org/google.protobuf.StringValue", value: v}}`,
			&clusterv3.Cluster{TransportSocket: &corev3.TransportSocket{Name: "x", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(wrapperspb.String("v"))}}},
		},
		{
			"typed struct",
			`transport_socket: {name: x, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/envoy.config.core.v3.Node, value: {id: a}}}`,
			&clusterv3.Cluster{TransportSocket: &corev3.TransportSocket{Name: "x", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(&corev3.Node{Id: "a"})}}},
		},
		{
			"typed struct of an extension of our own",
			`transport_socket: {name: x, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/weir.dev.Test, value: {id: [a]}}}`,
			&clusterv3.Cluster{TransportSocket: &corev3.TransportSocket{Name: "x", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(&xdstypev3.TypedStruct{
				TypeUrl: "type.googleapis.com/weir.dev.Test", Value: mustStruct(t, map[string]any{"id": []any{"a"}}),
			})}}},
		},
		{"bytes", "local_certificate: x", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == nil {
				ds := &corev3.DataSource{}
				if _, problems := Message("x", []byte("inline_bytes: aGVsbG8"), ds, Options{}); problems != nil || string(ds.GetInlineBytes()) != "hello" {
					t.Errorf("%v %v", ds, problems)
				}
				return
			}
			got := tt.want.ProtoReflect().New().Interface()
			if _, problems := Message("x.yaml", []byte(tt.in), got, Options{SkipValidation: true}); len(problems) > 0 {
				t.Fatal(problems)
			}
			if diff := cmp.Diff(tt.want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func mustStruct(t *testing.T, m map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBootstrapsMergeAsEnvoy(t *testing.T) {
	base := "node: {id: a, cluster: c}\nstatic_resources:\n  clusters:\n  - name: one\n    connect_timeout: 1s\n"
	over := "node: {id: b}\nstatic_resources:\n  clusters:\n  - name: two\n    lb_policy: RANDOM\n"
	b, pos, problems := Bootstraps([]Document{{"base.yaml", []byte(base)}, {"--config-yaml", []byte(over)}}, Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := &bootstrapv3.Bootstrap{
		Node: &corev3.Node{Id: "b", Cluster: "c"},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{
			{Name: "one", ConnectTimeout: durationpb.New(time.Second)},
			{Name: "two", LbPolicy: clusterv3.Cluster_RANDOM},
		}},
	}
	if diff := cmp.Diff(want, b, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	for path, want := range map[string]Position{
		"node.id":      {"--config-yaml", 1, 8},
		"node.cluster": {"base.yaml", 1, 15},
		"static_resources.clusters[0].connect_timeout": {"base.yaml", 5, 5},
		"static_resources.clusters[1].lb_policy":       {"--config-yaml", 5, 5},
		"static_resources.clusters[1].lb_policy.deep":  {"--config-yaml", 5, 5},
		"stats_sinks[3]": {"base.yaml", 1, 1},
	} {
		if got, ok := pos.At(path); !ok || got != want {
			t.Errorf("%s: got %+v, want %+v", path, got, want)
		}
	}
}

// TestPositionsInsideAny proves that a problem found later, deep inside of an Any,
// can be told with its line.
func TestPositionsInsideAny(t *testing.T) {
	in := `name: hcm
typed_config:
  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
  stat_prefix: x
  route_config:
    virtual_hosts:
    - name: a
      domains: ["*"]
      typed_per_filter_config:
        envoy.filters.http.cors: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy}
`
	f := &corev3.TypedExtensionConfig{}
	pos, problems := Message("f.yaml", []byte(in), f, Options{})
	if problems != nil {
		t.Fatal(problems)
	}
	hcm := &hcmv3.HttpConnectionManager{}
	if err := f.GetTypedConfig().UnmarshalTo(hcm); err != nil || hcm.GetStatPrefix() != "x" {
		t.Fatal(hcm, err)
	}
	if got := pos.Line("typed_config.route_config.virtual_hosts[0].domains"); got != 8 {
		t.Errorf("domains in line %d, want 8", got)
	}
	if got := pos.Line(`typed_config.route_config.virtual_hosts[0].typed_per_filter_config["envoy.filters.http.cors"].x`); got != 10 {
		t.Errorf("cors in line %d, want 10", got)
	}
	located := pos.Locate([]xds.Problem{{Path: "typed_config.stat_prefix", Reason: "no"}})
	if got := located[0].Error(); got != "f.yaml:4: typed_config.stat_prefix: no" {
		t.Error(got)
	}
}

func TestLimits(t *testing.T) {
	bomb := "metadata:\n  filter_metadata:\n    a0: &a0 {x: 1}\n"
	for i := 1; i < 40; i++ {
		bomb += fmt.Sprintf("    a%d: &a%d {l: *a%d, m: *a%d}\n", i, i, i-1, i-1)
	}
	for _, tt := range []struct {
		name, in, want string
		limits         Limits
	}{
		{"alias bomb", bomb, "aliases", Limits{Nodes: 10_000}},
		{"merge bomb", strings.NewReplacer("{l:", "{<<:", ", m: *a", ", n: *a").Replace(bomb), "aliases", Limits{Nodes: 10_000}},
		{"depth", strings.Repeat("[", 5000), "deep", Limits{}},
		{"json depth", strings.Repeat(`{"metadata":`, 500) + "1" + strings.Repeat("}", 500), "deep", Limits{}},
		{"size", strings.Repeat("a", 200), "bytes", Limits{Bytes: 100}},
		{"problems", "a: 1\nb: 2\nc: 3\nd: 4\n", "2 more problems", Limits{Problems: 2}},
		{"self", "metadata: &a\n  filter_metadata:\n    x: {y: *a}\n", "deep", Limits{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := Message("x", []byte(tt.in), &routev3.Route{}, Options{Limits: tt.limits})
			if err := xds.Err(problems); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestEveryLinkedTypeIsFound(t *testing.T) {
	types := NewTypes()
	for _, m := range linked() {
		name := string(m.ProtoReflect().Descriptor().FullName())
		if _, ok := types.Find("type.googleapis.com/" + name); !ok {
			t.Errorf("%s is not found", name)
		}
	}
	if !slices.IsSorted(types.known) {
		t.Error("known.txt is not sorted")
	}
	for _, name := range types.known {
		if _, ok := types.Find(name); ok {
			t.Errorf("%s is in known.txt and linked", name)
		}
	}
}

func TestUnknownTypes(t *testing.T) {
	types := NewTypes()
	for url, want := range map[string]string{
		"type.googleapis.com/envoy.extensions.filters.network.kafka_broker.v3.KafkaBroker": "Envoy has",
		"type.googleapis.com/envoy.config.filter.network.tcp_proxy.v2.TcpProxy":            "network.tcp_proxy.v3.TcpProxy",
		"envoy.config.filter.network.rbac.v2.RBAC":                                         "filters.network.rbac.v3.RBAC",
		"envoy.config.filter.http.rbac.v2.RBAC":                                            "filters.http.rbac.v3.RBAC",
		"envoy.extensions.filters.http.corz.v3.Cors":                                       "filters.http.cors.v3.Cors",
		"envoy.extensions.filters.http.nothing_like_it.v3.Whatever":                        "a type looks like",
		"":  "a type looks like",
		"/": "a type looks like",
	} {
		reason, remedy := types.explain(url)
		if !strings.Contains(reason+remedy, want) {
			t.Errorf("%s: %s (%s), want %q", url, reason, remedy, want)
		}
	}
}

// TestOldResources reads a file of resources of v2, as path-based discovery has them.
func TestOldResources(t *testing.T) {
	const text = `
version_info: "1"
resources:
- "@type": type.googleapis.com/envoy.api.v2.Cluster
  name: a
  connect_timeout: 1s
  hosts: [{socket_address: {address: 127.0.0.1, port_value: 80}}]
`
	m, notes := &discoveryv3.DiscoveryResponse{}, 0
	_, problems := Message("cds.yaml", []byte(text), m, Options{Note: func(xds.Note) { notes++ }})
	c := &clusterv3.Cluster{}
	if len(problems) > 0 || notes != 2 || len(m.GetResources()) != 1 {
		t.Fatalf("%v, %d notes, %v", problems, notes, m)
	}
	if err := m.GetResources()[0].UnmarshalTo(c); err != nil || len(c.GetLoadAssignment().GetEndpoints()) != 1 {
		t.Errorf("%v, %v", err, c)
	}
}
