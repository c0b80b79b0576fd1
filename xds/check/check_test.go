// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/internal/golden"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
	"weir.dev/weir/xds/load"
)

// fakeSupport lacks the Lua filter and refuses one field of clusters.
type fakeSupport struct{}

func (fakeSupport) Extension(name protoreflect.FullName) bool {
	return name != "envoy.extensions.filters.http.lua.v3.Lua"
}

func (fakeSupport) Fields(m proto.Message, path string) []xds.Problem {
	if c, ok := m.(*clusterv3.Cluster); ok && c.GetAltStatName() != "" {
		l := ledger.MustParse("message envoy.config.cluster.v3.Cluster\nalt_stat_name rejected\n")
		return l.Check(&clusterv3.Cluster{AltStatName: c.GetAltStatName()}, path)
	}
	return nil
}

func TestBootstrap(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, a *golden.Archive) map[string]string {
		in, ok := a.Get("edge.yaml")
		if !ok {
			t.Fatal("no edge.yaml")
		}
		b, pos, problems := load.Bootstrap("edge.yaml", []byte(in), load.Options{})
		if xds.HasErrors(problems) {
			t.Fatal(problems)
		}
		problems = pos.Locate(Bootstrap(b, fakeSupport{}))
		xds.Sort(problems)
		snapshot := Snapshot(xds.FromBootstrap(b, "1", pos.Origin), fakeSupport{})
		return map[string]string{"problems": lines(problems), "problems of the snapshot": lines(snapshot)}
	})
}

func lines(problems []xds.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}

func FuzzBootstrap(f *testing.F) {
	f.Add([]byte("static_resources: {clusters: [{name: a, type: EDS}]}"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		b, _, problems := load.Bootstrap("fuzz", data, load.Options{Limits: load.Limits{Bytes: 1 << 15, Nodes: 5000}})
		if len(problems) == 0 {
			Bootstrap(b, fakeSupport{})
		}
	})
}
