// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/legacy/v1"
	"weir.dev/weir/xds/load"
	"weir.dev/weir/xds/wire"
)

// maxAnswer1 bounds an answer of version 1 of discovery, in bytes.
const maxAnswer1 = 16 << 20

// patience is how long a question waits for the cluster that it goes to.
const patience = 5 * time.Second

// version1 asks by version 1 of the API: GET /v1/clusters/:cluster/:node and its kin.
type version1 struct {
	m       *mux
	with    v1.Context
	cluster string
	timeout time.Duration
	// seen is the hash of the last answer to each path.
	seen map[string]string
}

func newVersion1(m *mux, with v1.Context) *version1 {
	v := &version1{m: m, with: with, cluster: m.api.GetClusterNames()[0], timeout: time.Second, seen: map[string]string{}}
	if d := m.api.GetRequestTimeout().AsDuration(); d > 0 {
		v.timeout = d
	}
	return v
}

func (v *version1) close() {}

func (v *version1) ask(ctx context.Context, t *wire.Type, b *sub, names []string) (*discoveryv3.DiscoveryResponse, error) {
	node := v.m.s.c.o.Node
	if node.GetCluster() == "" || node.GetId() == "" {
		return nil, errors.New("version 1 of discovery asks for a node of a cluster: give node.id and node.cluster, or --service-node and --service-cluster")
	}
	who := "/" + url.PathEscape(node.GetCluster()) + "/" + url.PathEscape(node.GetId())
	r := &discoveryv3.DiscoveryResponse{TypeUrl: t.URL}
	switch t.Kind {
	case xds.KindCluster:
		return v.add(ctx, r, t, "/v1/clusters"+who, "", b.wrong == nil)
	case xds.KindListener:
		return v.add(ctx, r, t, "/v1/listeners"+who, "", b.wrong == nil)
	case xds.KindRoutes:
		var errs []error
		for _, name := range names {
			_, have := b.have[name]
			if _, err := v.add(ctx, r, t, "/v1/routes/"+url.PathEscape(name)+who, name, have && b.wrong == nil); err != nil {
				errs = append(errs, err)
			}
		}
		if len(r.GetResources()) == 0 {
			r = nil
		}
		return r, errors.Join(errs...)
	default:
		return nil, fmt.Errorf("version 1 of discovery has no resources of the kind %s", t.Kind)
	}
}

// add asks for one path and adds what it answers, unless that is taken and as before.
func (v *version1) add(ctx context.Context, r *discoveryv3.DiscoveryResponse, t *wire.Type, path, name string, taken bool) (*discoveryv3.DiscoveryResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, patience+v.timeout)
	defer cancel()
	status, body, err := v.m.s.c.o.Get(ctx, v.cluster, path, v.timeout, maxAnswer1)
	if err != nil {
		return nil, fmt.Errorf("ask the cluster %q for %s: %w", v.cluster, path, err)
	}
	if status != 200 {
		return nil, fmt.Errorf("ask the cluster %q for %s: the answer is %d", v.cluster, path, status)
	}
	sum := sha256.Sum256(body)
	version := hex.EncodeToString(sum[:8])
	if taken && v.seen[path] == version {
		return nil, nil
	}
	resources, problems := load.Discovered(path, body, t.Kind, v.with)
	if err := xds.Err(problems); err != nil {
		var f faults
		f.add(err)
		return nil, fmt.Errorf("ask the cluster %q: the answer is refused: %w", v.cluster, f.err())
	}
	for i, m := range resources {
		switch m := m.(type) {
		case *routev3.RouteConfiguration:
			m.Name = name
		case *listenerv3.Listener:
			if m.GetName() == "" { // A name was not needed.
				m.Name = fmt.Sprint(m.GetAddress().GetSocketAddress().GetAddress(), ":", m.GetAddress().GetSocketAddress().GetPortValue())
			}
		}
		wrapped, err := wrap(m, version)
		if err != nil {
			return nil, fmt.Errorf("resource %d of %s: %w", i, path, err)
		}
		r.Resources = append(r.Resources, wrapped)
	}
	v.seen[path] = version
	r.VersionInfo = version
	return r, nil
}

// wrap gives a resource a version of its own.
func wrap(m proto.Message, version string) (*anypb.Any, error) {
	a, err := anypb.New(m)
	if err != nil {
		return nil, err
	}
	return anypb.New(&discoveryv3.Resource{Version: version, Resource: a})
}
