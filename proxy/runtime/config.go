// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// Compile reads a bootstrap's layered_runtime; nil, and one without layers, is
// an admin layer alone. cluster is the node's cluster, for layers that append
// it.
func Compile(lr *bootstrapv3.LayeredRuntime, cluster string) (*Config, error) {
	c := &Config{}
	if len(lr.GetLayers()) == 0 {
		c.layers = []layerConfig{{kind: adminLayer}}
		return c, nil
	}
	names := map[string]bool{}
	admin := false
	for i, l := range lr.GetLayers() {
		lc, err := compileLayer(l, cluster)
		switch {
		case err != nil:
		case names[l.GetName()]:
			err = fmt.Errorf("name %q is used twice: give each layer a name of its own", l.GetName())
		case lc.kind == adminLayer && admin:
			err = errors.New("admin_layer: a second one: at most one may be configured")
		}
		if err != nil {
			return nil, fmt.Errorf("layered_runtime.layers[%d]: %w", i, err)
		}
		names[lc.name] = true
		admin = admin || lc.kind == adminLayer
		c.layers = append(c.layers, lc)
	}
	return c, nil
}

func compileLayer(l *bootstrapv3.RuntimeLayer, cluster string) (layerConfig, error) {
	lc := layerConfig{name: l.GetName()}
	if lc.name == "" {
		return lc, errors.New("name is empty: give the layer a name")
	}
	switch s := l.GetLayerSpecifier().(type) {
	case *bootstrapv3.RuntimeLayer_StaticLayer:
		var err error
		if lc.values, err = parseLayer(s.StaticLayer); err != nil {
			return lc, fmt.Errorf("static_layer: %w", err)
		}
	case *bootstrapv3.RuntimeLayer_DiskLayer_:
		d := s.DiskLayer
		lc.kind, lc.root = diskLayer, d.GetSymlinkRoot()
		if lc.root == "" {
			return lc, errors.New("disk_layer.symlink_root is empty: name the directory, or the link to it")
		}
		lc.dir = filepath.Join(lc.root, d.GetSubdirectory())
		if d.GetAppendServiceCluster() {
			lc.dir = filepath.Join(lc.dir, cluster)
		}
	case *bootstrapv3.RuntimeLayer_AdminLayer_:
		lc.kind = adminLayer
	case *bootstrapv3.RuntimeLayer_RtdsLayer_:
		if err := compileRTDS(&lc, s.RtdsLayer); err != nil {
			return lc, err
		}
	default:
		return lc, errors.New("has no values: set one of static_layer, disk_layer, admin_layer, rtds_layer")
	}
	return lc, nil
}

// CompileLegacy reads the runtime block of older bootstraps as the layers it
// stands for: base, root, override and admin.
func CompileLegacy(rt *bootstrapv3.Runtime, cluster string) (*Config, error) {
	disk := func(name, sub string, appendCluster bool) *bootstrapv3.RuntimeLayer {
		return &bootstrapv3.RuntimeLayer{Name: name, LayerSpecifier: &bootstrapv3.RuntimeLayer_DiskLayer_{
			DiskLayer: &bootstrapv3.RuntimeLayer_DiskLayer{SymlinkRoot: rt.GetSymlinkRoot(), Subdirectory: sub, AppendServiceCluster: appendCluster},
		}}
	}
	layers := []*bootstrapv3.RuntimeLayer{{Name: "base", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: rt.GetBase()}}}
	if rt.GetSymlinkRoot() != "" {
		layers = append(layers, disk("root", rt.GetSubdirectory(), false))
		if rt.GetOverrideSubdirectory() != "" {
			layers = append(layers, disk("override", rt.GetOverrideSubdirectory(), true))
		}
	}
	layers = append(layers, &bootstrapv3.RuntimeLayer{Name: "admin", LayerSpecifier: &bootstrapv3.RuntimeLayer_AdminLayer_{}})
	return Compile(&bootstrapv3.LayeredRuntime{Layers: layers}, cluster)
}

// walkStruct puts a tree of values under dotted keys. A struct that looks like
// a FractionalPercent, or is empty, is a value.
func walkStruct(dst map[string]Value, key string, v *structpb.Value, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%.100s: values are nested more than %d deep", key, maxDepth)
	}
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		val := Value{text: k.StringValue}
		if n, ok := parseNumber(k.StringValue); ok {
			val.setNumber(n)
		}
		dst[key] = val
	case *structpb.Value_NumberValue:
		if math.IsNaN(k.NumberValue) || math.IsInf(k.NumberValue, 0) {
			return fmt.Errorf("%s: a runtime value is finite", key)
		}
		val := Value{text: strconv.FormatFloat(k.NumberValue, 'g', -1, 64)}
		val.setNumber(k.NumberValue)
		dst[key] = val
	case *structpb.Value_BoolValue:
		dst[key] = Value{text: strconv.FormatBool(k.BoolValue), truth: k.BoolValue, is: isBool}
	case *structpb.Value_StructValue:
		fields := k.StructValue.GetFields()
		if len(fields) == 0 || fields["numerator"] != nil || fields["denominator"] != nil {
			return structValue(dst, key, k.StructValue)
		}
		for name, f := range fields {
			if err := walkStruct(dst, key+"."+name, f, depth+1); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%s: a runtime value is a string, number, bool or struct, not a list or null", key)
	}
	return nil
}

func structValue(dst map[string]Value, key string, s *structpb.Struct) error {
	text, err := json.Marshal(s.AsMap())
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	v := ParseValue(string(text))
	if v.is&isFraction == 0 && len(s.GetFields()) > 0 {
		return fmt.Errorf("%s: %s is no FractionalPercent: give numerator, a whole number, and denominator, one of HUNDRED, TEN_THOUSAND, MILLION", key, text)
	}
	dst[key] = v
	return nil
}
