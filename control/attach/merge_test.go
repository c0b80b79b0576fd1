// SPDX-License-Identifier: Apache-2.0

package attach_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/internal/golden"
)

func parse(t *testing.T, text string, also ...string) graph.Overlay {
	t.Helper()
	m := &routev3.Route{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	return graph.Overlay{Message: m, Also: also}
}

// anyOf packs a buffer filter's configuration, of one of two types.
func anyOf(t *testing.T, m proto.Message) string {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	data, err := protojson.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return `{"typedPerFilterConfig": {"buffer": ` + string(data) + `}}`
}

func TestMerge(t *testing.T) {
	limit := func(n uint32) *bufferv3.BufferPerRoute {
		return &bufferv3.BufferPerRoute{Override: &bufferv3.BufferPerRoute_Buffer{Buffer: &bufferv3.Buffer{MaxRequestBytes: wrapperspb.UInt32(n)}}}
	}
	for _, tt := range []struct {
		name, low, high string
		also            []string
		want            string
	}{
		{
			name: "retries: scalars with presence and lists are replaced, the rest stays",
			low:  `{"route": {"timeout": "15s", "retryPolicy": {"retryOn": "5xx,reset", "numRetries": 3, "retriableStatusCodes": [502, 503], "retryBackOff": {"baseInterval": "0.1s"}}}}`,
			high: `{"route": {"retryPolicy": {"retryOn": "connect-failure", "numRetries": 0, "retriableStatusCodes": [429]}}}`,
			want: `{"route": {"timeout": "15s", "retryPolicy": {"retryOn": "connect-failure", "numRetries": 0, "retriableStatusCodes": [429], "retryBackOff": {"baseInterval": "0.1s"}}}}`,
		},
		{
			name: "headers: merged by name, and no longer added where they are removed",
			low:  `{"requestHeadersToAdd": [{"header": {"key": "x-team", "value": "shop"}}, {"header": {"key": "x-env", "value": "prod"}}], "requestHeadersToRemove": ["a", "B"]}`,
			high: `{"requestHeadersToAdd": [{"header": {"key": "X-Env", "value": "test"}}, {"header": {"key": "b", "value": "1"}}], "requestHeadersToRemove": ["x-team"]}`,
			want: `{"requestHeadersToAdd": [{"header": {"key": "X-Env", "value": "test"}}, {"header": {"key": "b", "value": "1"}}], "requestHeadersToRemove": ["a", "x-team"]}`,
		},
		{
			name: "a path without a value unsets",
			low:  `{"route": {"timeout": "15s", "prefixRewrite": "/a"}}`, high: `{}`,
			also: []string{"route.timeout", "route.prefix_rewrite", "route.retry_policy.num_retries", "decorator"},
			want: `{"route": {}}`,
		},
		{
			name: "a choice is another, and the same one is merged",
			low:  `{"route": {"cluster": "a", "timeout": "1s"}}`, high: `{"route": {"weightedClusters": {"clusters": [{"name": "b", "weight": 1}]}}}`,
			want: `{"route": {"timeout": "1s", "weightedClusters": {"clusters": [{"name": "b", "weight": 1}]}}}`,
		},
		{
			name: "of a choice the others go",
			low:  `{"route": {"cluster": "a"}}`, high: `{"redirect": {"hostRedirect": "x"}}`, want: `{"redirect": {"hostRedirect": "x"}}`,
		},
		{
			name: "a value of one piece is replaced",
			low:  `{"match": {"prefix": "/a", "headers": [{"name": "x", "presentMatch": true}]}}`, high: `{"match": {"prefix": "/b"}}`, want: `{"match": {"prefix": "/b"}}`,
		},
		{
			name: "metadata is merged by key all the way down",
			low:  `{"metadata": {"filterMetadata": {"a": {"x": 1, "y": {"p": 1, "q": 2}}, "b": {}}}}`,
			high: `{"metadata": {"filterMetadata": {"a": {"x": "one", "y": {"p": [2]}}}}}`,
			want: `{"metadata": {"filterMetadata": {"a": {"x": "one", "y": {"p": [2], "q": 2}}, "b": {}}}}`,
		},
		{
			name: "a key of a map is unset",
			low:  anyOf(t, limit(1)), high: `{}`, also: []string{`typed_per_filter_config["buffer"]`}, want: `{}`,
		},
		{name: "filters of one type are merged", low: anyOf(t, limit(1)), high: anyOf(t, limit(2)), want: anyOf(t, limit(2))},
		{name: "filters of two types are not", low: anyOf(t, limit(1)), high: anyOf(t, wrapperspb.UInt32(7)), want: anyOf(t, wrapperspb.UInt32(7))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			low, high := parse(t, tt.low), parse(t, tt.high, tt.also...)
			was := proto.Clone(low.Message)
			got := attach.Merge(low, high)
			if d := cmp.Diff(parse(t, tt.want).Message, got.Message, protocmp.Transform()); d != "" {
				t.Error("what is merged (- wanted, + got):\n", d)
			}
			if !proto.Equal(was, low.Message) {
				t.Error("the lower overlay was changed")
			}
			applied := proto.Clone(low.Message)
			attach.Apply(applied, high)
			if !proto.Equal(applied, got.Message) {
				t.Error("Apply makes something else:", applied)
			}
		})
	}
}

// TestMergeIsAssociative merges each three of many overlays in both ways.
func TestMergeIsAssociative(t *testing.T) {
	all := []graph.Overlay{
		{},
		parse(t, `{"route": {"cluster": "a", "timeout": "1s", "retryPolicy": {"numRetries": 1, "retryBackOff": {"baseInterval": "1s"}}}}`),
		parse(t, `{"route": {"weightedClusters": {"clusters": [{"name": "b"}], "runtimeKeyPrefix": "p"}}}`),
		parse(t, `{"route": {"weightedClusters": {"headerName": "x"}}}`),
		parse(t, `{"redirect": {"hostRedirect": "x", "pathRedirect": "/a"}}`),
		parse(t, `{"redirect": {"responseCode": "FOUND", "prefixRewrite": "/b"}}`),
		parse(t, `{"route": {}}`, "route.retry_policy", "route.cluster"),
		parse(t, `{}`, "route.timeout", `metadata.filter_metadata["a"].fields["x"]`),
		parse(t, `{"requestHeadersToAdd": [{"header": {"key": "a", "value": "1"}}, {"header": {"key": "b", "value": "2"}}]}`),
		parse(t, `{"requestHeadersToAdd": [{"header": {"key": "B", "value": "3"}}], "requestHeadersToRemove": ["A"]}`),
		parse(t, `{"requestHeadersToRemove": ["b"]}`, "request_headers_to_add"),
		parse(t, `{"metadata": {"filterMetadata": {"a": {"x": {"p": 1}}}}}`),
		parse(t, `{"metadata": {"filterMetadata": {"a": {"x": 2}}}}`),
		parse(t, `{"metadata": {"filterMetadata": {"a": {"x": {"q": 1}}}}}`),
		parse(t, anyOf(t, wrapperspb.UInt32(7))),
		parse(t, anyOf(t, &bufferv3.Buffer{MaxRequestBytes: wrapperspb.UInt32(1)})),
	}
	for i, a := range all {
		for j, b := range all {
			for k, c := range all {
				left, right := &routev3.Route{}, &routev3.Route{}
				attach.Apply(left, attach.Merge(attach.Merge(a, b), c))
				attach.Apply(right, attach.Merge(a, attach.Merge(b, c)))
				steps := &routev3.Route{}
				for _, o := range []graph.Overlay{a, b, c} {
					attach.Apply(steps, o)
				}
				if !proto.Equal(left, right) || !proto.Equal(left, steps) {
					t.Fatalf("overlays %d, %d, %d: (ab)c is\n%v\na(bc)\n%v\nand one after another\n%v", i, j, k, left, right, steps)
				}
			}
		}
	}
}

// TestRules holds testdata/rules.txt to the messages that overlays are of: a list, a
// map or an Any that is new to them shows there, for somebody to decide on.
func TestRules(t *testing.T) {
	lines := map[string]bool{}
	seen := map[protoreflect.FullName]bool{}
	var walk func(protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			rule := attach.RuleOf(f)
			value := f.Message() != nil && rule == attach.Replaced
			if value && f.Message().FullName() != "google.protobuf.Any" && f.Message().ParentFile().Package() == "google.protobuf" {
				value = false // A scalar that can be absent.
			}
			if f.IsList() || f.IsMap() || value {
				lines[fmt.Sprintf("%s %s", f.FullName(), rule)] = true
			}
			switch {
			case rule != attach.Merged:
			case f.IsMap() && f.MapValue().Message() != nil:
				walk(f.MapValue().Message())
			case !f.IsMap():
				walk(f.Message())
			}
		}
	}
	for _, m := range []proto.Message{
		&listenerv3.Listener{}, &hcmv3.HttpConnectionManager{}, &tcpproxyv3.TcpProxy{}, &tlsv3.DownstreamTlsContext{},
		&routev3.VirtualHost{}, &routev3.Route{}, &clusterv3.Cluster{},
	} {
		walk(m.ProtoReflect().Descriptor())
	}
	var out []string
	for l := range lines {
		out = append(out, l)
	}
	slices.Sort(out)
	got := strings.Join(out, "\n") + "\n"
	const file = "testdata/rules.txt"
	if golden.Updating() {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), out); d != "" && string(want) != got {
		t.Errorf("%s (- as it is, + as the messages are): decide by what rule the new ones are merged, then run with -update\n%s", file, d)
	}
}
