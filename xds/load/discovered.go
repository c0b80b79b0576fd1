// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/legacy/tree"
	"weir.dev/weir/xds/legacy/v1"
)

// Discovered reads an answer of version 1 of discovery, of clusters, listeners or one
// route configuration, as v3. name is what the answer is called in problems; with
// problems there are no messages.
func Discovered(name string, data []byte, kind xds.Kind, with v1.Context) ([]proto.Message, []xds.Problem) {
	d := &decoder{file: name, types: builtin(), limits: Limits{}.withDefaults(), pos: newPositions()}
	root, problem := parse(name, data, d.limits)
	switch {
	case problem != nil:
		return nil, []xds.Problem{*problem}
	case root == nil || isNull(root):
		return nil, []xds.Problem{{File: name, Reason: "the answer is empty"}}
	}
	root, err := tree.Expand(root, tree.Limits{Nodes: d.limits.Nodes, Depth: d.limits.Depth})
	if err != nil {
		return nil, []xds.Problem{{File: name, Reason: err.Error()}}
	}
	report := &tree.Report{File: name, Most: d.limits.Problems}
	var out []proto.Message
	for i, n := range v1.Discovered(kind, root, with, report) {
		m := discovered(kind)
		path := fmt.Sprintf("%ss[%d]", kind, i)
		d.message(n, path, m.ProtoReflect())
		if len(d.problems) == 0 {
			d.problems = append(d.problems, Validate(m, path)...)
		}
		out = append(out, m)
	}
	report.End()
	problems := append(report.Problems, d.problems...)
	if len(problems) == 0 {
		problems = d.validatePacked(Options{})
	}
	if len(problems) > 0 {
		xds.Sort(problems)
		return nil, problems
	}
	return out, nil
}

func discovered(kind xds.Kind) proto.Message {
	switch kind {
	case xds.KindCluster:
		return &clusterv3.Cluster{}
	case xds.KindListener:
		return &listenerv3.Listener{}
	default:
		return &routev3.RouteConfiguration{}
	}
}
