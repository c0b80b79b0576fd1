// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"sync"

	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/xds"
)

// encoded is a resource as it goes over the wire. All clients share it.
type encoded struct {
	name    string
	version string
	any     *anypb.Any
}

// encodings keeps what was encoded, by message, for as long as a snapshot that is served
// may have it.
type encodings struct {
	mu sync.Mutex
	m  map[proto.Message]*encoded
}

func (c *encodings) get(name string, m proto.Message) (*encoded, error) {
	c.mu.Lock()
	e := c.m[m]
	c.mu.Unlock()
	if e != nil {
		return e, nil
	}
	of := m
	if s, ok := m.(*structpb.Struct); ok {
		of = &runtimev3.Runtime{Name: name, Layer: s}
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(of)
	if err != nil {
		return nil, fmt.Errorf("encode %q: %w", name, err)
	}
	sum := sha256.Sum256(b)
	e = &encoded{
		name: name, version: hex.EncodeToString(sum[:8]),
		any: &anypb.Any{TypeUrl: "type.googleapis.com/" + string(of.ProtoReflect().Descriptor().FullName()), Value: b},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[proto.Message]*encoded{}
	}
	c.m[m] = e
	return e, nil
}

// forget drops what changes have replaced; a client that is behind encodes it again.
func (c *encodings) forget(changes []xds.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range changes {
		if old := changes[i].Old; old != nil {
			delete(c.m, old)
		}
	}
}

// get finds a resource of a snapshot.
func get(s *xds.Snapshot, kind xds.Kind, name string) proto.Message {
	var m proto.Message
	var ok bool
	switch kind {
	case xds.KindListener:
		m, ok = s.Listeners().Get(name)
	case xds.KindRoutes:
		m, ok = s.Routes().Get(name)
	case xds.KindScopedRoute:
		m, ok = s.ScopedRoutes().Get(name)
	case xds.KindVirtualHost:
		m, ok = s.VirtualHosts().Get(name)
	case xds.KindCluster:
		m, ok = s.Clusters().Get(name)
	case xds.KindEndpoints:
		m, ok = s.Endpoints().Get(name)
	case xds.KindSecret:
		m, ok = s.Secrets().Get(name)
	case xds.KindRuntime:
		m, ok = s.Runtime().Get(name)
	case xds.KindExtension:
		m, ok = s.Extensions().Get(name)
	}
	if !ok {
		return nil
	}
	return m
}

// all yields the resources of a kind.
func all(s *xds.Snapshot, kind xds.Kind) iter.Seq2[string, proto.Message] {
	return func(yield func(string, proto.Message) bool) {
		switch kind {
		case xds.KindListener:
			each(s.Listeners(), yield)
		case xds.KindRoutes:
			each(s.Routes(), yield)
		case xds.KindScopedRoute:
			each(s.ScopedRoutes(), yield)
		case xds.KindVirtualHost:
			each(s.VirtualHosts(), yield)
		case xds.KindCluster:
			each(s.Clusters(), yield)
		case xds.KindEndpoints:
			each(s.Endpoints(), yield)
		case xds.KindSecret:
			each(s.Secrets(), yield)
		case xds.KindRuntime:
			each(s.Runtime(), yield)
		case xds.KindExtension:
			each(s.Extensions(), yield)
		}
	}
}

func each[M proto.Message](set xds.Set[M], yield func(string, proto.Message) bool) {
	for name, m := range set.All() {
		if !yield(name, m) {
			return
		}
	}
}
