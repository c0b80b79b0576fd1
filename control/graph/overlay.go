// SPDX-License-Identifier: Apache-2.0

package graph

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/internal/memo"
)

// An Overlay says what something does beyond its place in the graph: a partial message
// of Envoy's, of the type that emit makes there. How overlays meet is in
// docs/design/0006, and attach does it. The zero Overlay says nothing.
type Overlay struct {
	// Message has what is meant: every field that it has. Nil is none.
	Message proto.Message
	// Also are paths of fields that are meant though Message need not have them: they are
	// made empty before Message counts. A path is field names with dots, and keys of maps
	// in brackets: route.retry_policy, typed_per_filter_config["x"].
	Also []string
}

// None reports whether an overlay says nothing.
func (o Overlay) None() bool { return o.Message == nil && len(o.Also) == 0 }

// A Variant is a way to speak to a backend that is not everybody's. It is comparable:
// those that are equal share a cluster.
type Variant interface {
	// Name tells the variant from others of its backend. It is short, and without slashes.
	Name() string
	// Overlay is what a Cluster has besides what its backend gives it, which is base and is
	// not changed.
	Overlay(c *memo.Ctx, base *clusterv3.Cluster) Overlay
}
