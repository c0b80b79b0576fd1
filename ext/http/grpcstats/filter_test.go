// SPDX-License-Identifier: Apache-2.0

package grpcstats

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/grpcstat"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config) }

const grpc = "content-type: application/grpc"

func frame(msg string) string { return string(grpcframe.AppendHead(nil, 0, len(msg))) + msg }

func call(path string) streamtest.Request {
	text := frame("hello") + frame("you")
	return streamtest.Request{
		Method: "POST", Path: path, Header: []string{grpc}, Chunked: true,
		Body: streamtest.Pieces(text[:3], text[3:9], text[9:]),
	}
}

func answer(status string) streamtest.Upstream {
	return streamtest.Upstream{
		Header: []string{grpc}, Body: streamtest.Pieces(frame("a")+frame("b"), frame("c")), Trailer: []string{"grpc-status: " + status},
	}
}

func TestCounts(t *testing.T) {
	const named, plain = "cluster.backend.grpc.a.B.C.", "cluster.backend.grpc."
	tests := []struct {
		name, config string
		req          streamtest.Request
		up           streamtest.Upstream
		want         map[string]int64
	}{
		{"all methods", `{"stats_for_all_methods":true}`, call("/a.B/C"), answer("0"), map[string]int64{
			named + "0": 1, named + "success": 1, named + "failure": 0, named + "total": 1,
			named + "request_message_count": 2, named + "response_message_count": 3, plain + "total": 0,
		}},
		{"dots", `{"stats_for_all_methods":true,"replace_dots_in_grpc_service_name":true}`, call("/a.B/C"), answer("0"), map[string]int64{"cluster.backend.grpc.a_B.C.total": 1}},
		{"a failure", `{"stats_for_all_methods":true}`, call("/a.B/C?q"), answer("13"), map[string]int64{
			named + "13": 1, named + "success": 0, named + "failure": 1, named + "total": 1,
		}},
		{"a code without a name", `{"stats_for_all_methods":true}`, call("/a.B/C"), answer("17"), map[string]int64{named + "17": 0, named + "failure": 1, named + "total": 1}},
		{"not a code", `{"stats_for_all_methods":true}`, call("/a.B/C"), answer("ok"), map[string]int64{named + "failure": 1, named + "total": 1}},
		{"no names by default", `{}`, call("/a.B/C"), answer("0"), map[string]int64{plain + "0": 1, plain + "total": 1, plain + "request_message_count": 2, named + "total": 0}},
		{"allowed", `{"individual_method_stats_allowlist":{"services":[{"name":"a.B","method_names":["X","C"]}]}}`, call("/a.B/C"), answer("0"), map[string]int64{named + "total": 1, plain + "total": 0}},
		{"not allowed", `{"individual_method_stats_allowlist":{"services":[{"name":"a.B","method_names":["X"]}]}}`, call("/a.B/C"), answer("0"), map[string]int64{named + "total": 0, plain + "total": 1}},
		{"trailers only", `{"stats_for_all_methods":true}`, call("/a.B/C"), streamtest.Upstream{Header: []string{grpc, "grpc-status: 5"}}, map[string]int64{named + "5": 1, named + "total": 1, named + "response_message_count": 0}},
		{"not gRPC", `{}`, streamtest.Request{Path: "/a.B/C"}, answer("0"), map[string]int64{plain + "total": 0}},
		{"not a gRPC answer", `{}`, call("/a.B/C"), streamtest.Upstream{Status: 503, Body: streamtest.Pieces("xxxxxxxxxxx")}, map[string]int64{plain + "total": 0, plain + "response_message_count": 0}},
		{"not a method", `{}`, call("/a/b/c"), answer("0"), map[string]int64{plain + "total": 0, plain + "request_message_count": 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), tt.config)
			res := rig.Run(tt.req, tt.up)
			if res.Err != nil || res.Upstream.Body != bodyOf(tt.req.Body) || res.Body != bodyOf(tt.up.Body) {
				t.Errorf("changed: %+v", res)
			}
			for name, want := range tt.want {
				if got := rig.Counter(name); got != want {
					t.Errorf("%s: %d, want %d", name, got, want)
				}
			}
		})
	}
}

func bodyOf(pieces []streamtest.Piece) string {
	var b strings.Builder
	for _, p := range pieces {
		b.WriteString(p.Data)
	}
	return b.String()
}

func TestLocalReplyAndNoCluster(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"stats_for_all_methods":true}`)
	rig.Run(call("/a.B/C"), streamtest.Upstream{Err: &stream.Error{Status: 503, Body: "no"}})
	if got := rig.Counter("cluster.backend.grpc.a.B.C.14"); got != 1 {
		t.Errorf("%d", got)
	}
	rig.NoRoute()
	rig.Run(call("/a.B/D"), answer("0"))
	if got := rig.Counter("cluster.backend.grpc.a.B.D.total"); got != 0 {
		t.Errorf("without a route: %d", got)
	}
}

func TestFilterState(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"emit_filter_state":true}`)
	res := rig.Run(call("/a.B/C"), answer("0"))
	o := res.Info.FilterState[Name]
	if o.Value != (Messages{2, 3}) || o.Text != "2,3" {
		t.Errorf("%+v", o)
	}
}

func TestBoundedNames(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"stats_for_all_methods":true}`)
	for i := range grpcstat.MaxMethods + 10 {
		rig.Run(streamtest.Request{Path: fmt.Sprintf("/s/m%d", i), Header: []string{grpc}}, answer("0"))
	}
	rig.Run(streamtest.Request{Path: "/s/" + strings.Repeat("x", grpcstat.MaxName+1), Header: []string{grpc}}, answer("0"))
	names := 0
	rig.Services.Stats.Visit(func(m stats.Metric) {
		if strings.HasPrefix(m.Name, "cluster.backend.grpc.s.") && strings.HasSuffix(m.Name, ".total") {
			names++
		}
	})
	if names != grpcstat.MaxMethods || rig.Counter("cluster.backend.grpc.total") != 11 {
		t.Errorf("%d names, %d without", names, rig.Counter("cluster.backend.grpc.total"))
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	if _, err := rig.Compile(Extension(), `{"individual_method_stats_allowlist":{"services":[{"method_names":["X"]}]}}`); err == nil || !strings.Contains(err.Error(), "services[0].name") {
		t.Error(err)
	}
}

func TestNoAllocation(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"stats_for_all_methods":true}`)
	if n := rig.Allocs(streamtest.Request{Method: "POST", Path: "/a.B/C", Header: []string{grpc}}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
