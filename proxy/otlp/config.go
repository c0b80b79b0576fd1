// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	detectorsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/resource_detectors/v3"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"

	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/upstream/call"
)

// ErrNoService tells of a configuration that needs a service and has none.
var ErrNoService = errors.New("there is no service: set grpc_service or http_service")

// CompileService compiles the service that takes records: by gRPC, as the field called grpcField
// says, where method is the one to call, or by HTTP, where it returns no method. It is nil if
// there is neither.
func CompileService(grpc *corev3.GrpcService, grpcField string, http *corev3.HttpService, method string, c call.Context) (*call.Service, string, error) {
	switch {
	case grpc != nil && http != nil:
		return nil, "", errors.New("http_service: grpc_service is set, too: set one")
	case grpc != nil:
		out, err := call.Compile(grpc, c)
		if err != nil {
			return nil, "", fmt.Errorf("%s.%w", grpcField, err)
		}
		return out, method, nil
	case http != nil:
		out, err := call.CompileHTTP(http, call.Context{Hostname: c.Hostname})
		if err != nil {
			return nil, "", fmt.Errorf("http_service.%w", err)
		}
		return out, "", nil
	}
	return nil, "", nil
}

// CompileValue compiles a value, whose strings are formats if o is not nil.
func CompileValue(v *commonv1.AnyValue, o *format.Options) (Value, error) {
	switch x := v.GetValue().(type) {
	case nil:
		return Value{}, nil
	case *commonv1.AnyValue_StringValue:
		if o == nil {
			return Value{Of: x.StringValue}, nil
		}
		f, err := format.Compile(x.StringValue, *o)
		if err != nil {
			return Value{}, err
		}
		if text, ok := f.Literal(); ok {
			return Value{Of: text}, nil
		}
		return Value{Format: f}, nil
	case *commonv1.AnyValue_BoolValue:
		return Value{Of: x.BoolValue}, nil
	case *commonv1.AnyValue_IntValue:
		return Value{Of: x.IntValue}, nil
	case *commonv1.AnyValue_DoubleValue:
		return Value{Of: x.DoubleValue}, nil
	case *commonv1.AnyValue_BytesValue:
		return Value{Of: x.BytesValue}, nil
	case *commonv1.AnyValue_ArrayValue:
		list := []Value{}
		for i, e := range x.ArrayValue.GetValues() {
			c, err := CompileValue(e, o)
			if err != nil {
				return Value{}, fmt.Errorf("[%d]: %w", i, err)
			}
			list = append(list, c)
		}
		return Value{Of: list}, nil
	case *commonv1.AnyValue_KvlistValue:
		list, err := CompilePairs(x.KvlistValue.GetValues(), o)
		return Value{Of: list}, err
	}
	return Value{}, errors.New("is of a kind that is not known")
}

// CompilePairs compiles a list of pairs, as CompileValue does their values.
func CompilePairs(list []*commonv1.KeyValue, o *format.Options) ([]Pair, error) {
	out := []Pair{}
	for _, p := range list {
		v, err := CompileValue(p.GetValue(), o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.GetKey(), err)
		}
		out = append(out, Pair{p.GetKey(), v})
	}
	return out, nil
}

// Detect asks resource detectors for attributes: those of the environment
// (OTEL_RESOURCE_ATTRIBUTES) and those that stand in the configuration.
func Detect(list []*corev3.TypedExtensionConfig) ([]Pair, error) {
	var out []Pair
	for i, d := range list {
		m, err := d.GetTypedConfig().UnmarshalNew()
		if err != nil {
			return nil, fmt.Errorf("[%d].typed_config: %w", i, err)
		}
		switch x := m.(type) {
		case *detectorsv3.EnvironmentResourceDetectorConfig:
			for pair := range strings.SplitSeq(os.Getenv("OTEL_RESOURCE_ATTRIBUTES"), ",") {
				if k, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok {
					if plain, err := url.PathUnescape(v); err == nil {
						v = plain
					}
					out = append(out, Pair{k, Value{Of: v}})
				}
			}
		case *detectorsv3.StaticConfigResourceDetectorConfig:
			for _, k := range slices.Sorted(maps.Keys(x.GetAttributes())) {
				out = append(out, Pair{k, Value{Of: x.GetAttributes()[k]}})
			}
		default:
			return nil, fmt.Errorf("[%d] (%s): %s is not supported: use the detectors environment and static_config", i, d.GetName(), d.GetTypedConfig().MessageName())
		}
	}
	return out, nil
}
