// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/xds"
)

// discovered is a layer that a management server gives (rtds_layer).
type discovered struct {
	name   string // of the resource
	source *corev3.ConfigSource
}

// Discover begins to watch the layers that are given by management servers, as
// resources of d. Until one has come, and once it is gone, its layer is empty, and what
// the layers below say holds. What is wrong with a layer is refused, and its last good
// values stay. The statistics are those of Envoy's subscription, runtime.update_*, of
// all such layers together.
func (r *Runtime) Discover(d *resource.Directory) error {
	for i := range r.cfg.layers {
		l := &r.cfg.layers[i]
		if l.kind != rtdsLayer {
			continue
		}
		if r.updates == nil {
			r.updates = resource.NewStats(r.store.Scope("runtime."))
		}
		w, err := d.Watch(l.rtds.source, xds.KindRuntime, l.rtds.name, resource.Options{
			Decode:  decodeLayer,
			Changed: func(v any) { r.setLayer(i, v.(map[string]Value)) },
			Gone:    func() { r.setLayer(i, nil) },
			Stats:   r.updates,
		})
		if err != nil {
			return fmt.Errorf("layered_runtime.layers[%d]: rtds_layer.rtds_config: %w", i, err)
		}
		r.watches = append(r.watches, w)
	}
	return nil
}

// Awaited are the layers of management servers: what they say is in force, as far as it
// has come in time, once all are ready.
func (r *Runtime) Awaited() []*resource.Watch { return r.watches }

func (r *Runtime) setLayer(i int, values map[string]Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found[i] = values
	// What is wrong with other layers is counted and logged.
	_ = r.load()
}

func decodeLayer(m proto.Message) (any, error) {
	s, ok := m.(*structpb.Struct)
	if !ok {
		return nil, fmt.Errorf("is a %s and not the layer of a Runtime", m.ProtoReflect().Descriptor().FullName())
	}
	values, err := parseLayer(s)
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return values, nil
}

// parseLayer reads the tree of a layer.
func parseLayer(s *structpb.Struct) (map[string]Value, error) {
	values := map[string]Value{}
	for k, v := range s.GetFields() {
		if err := walkStruct(values, k, v, 1); err != nil {
			return nil, err
		}
		if len(values) > maxKeys {
			return nil, fmt.Errorf("has more than %d keys", maxKeys)
		}
	}
	return values, nil
}

func compileRTDS(l *layerConfig, rtds *bootstrapv3.RuntimeLayer_RtdsLayer) error {
	if rtds.GetName() == "" {
		return errors.New("rtds_layer.name is empty: name the resource to ask for")
	}
	if rtds.GetRtdsConfig() == nil {
		return errors.New("rtds_layer.rtds_config is missing: say where the layer is found, such as ads: {}")
	}
	l.kind, l.rtds = rtdsLayer, discovered{rtds.GetName(), rtds.GetRtdsConfig()}
	return nil
}
