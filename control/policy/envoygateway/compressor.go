// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"math"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	brotliv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/compressor/v3"
	gzipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	zstdv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/compressor/v3"
	compressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/control/build"
)

// compressors compress responses of the route. What a route cannot say by itself is said
// by the filter, of which the chain has one for each way to do it.
func (x *compiledTraffic) compressors(r *routev3.Route) {
	list, field := x.spec.Compressor, "compressor"
	if len(list) == 0 {
		list, field = x.spec.Compression, "compression"
	}
	seen := map[string]bool{}
	for i, c := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		m, ok := compressorLibraries()[c.Type]
		switch {
		case !ok:
			x.Bad(at+".type", "is %q: there are Gzip, Brotli and Zstd", c.Type)
			continue
		case seen[c.Type]:
			x.Bad(at+".type", "%s is given twice", c.Type)
			continue
		}
		seen[c.Type] = true
		least := uint32(0)
		if q := c.MinContentLength; q != nil {
			if q.Value() < 30 || q.Value() > math.MaxUint32 {
				x.Bad(at+".minContentLength", "%s is not a size from 30 to 4Gi", q.String())
				continue
			}
			least = uint32(q.Value())
		}
		// One that is merged over another may come to be first, or not to be.
		places := []bool{i == 0}
		if x.spec.MergeType != nil {
			places = append(places, i != 0)
		}
		for _, first := range places {
			name, f := compressorOf(c.Type, m, least, first)
			x.filters[name] = f
			if first == (i == 0) {
				perFilter(r, name, build.Any(&compressorv3.CompressorPerRoute{Override: &compressorv3.CompressorPerRoute_Overrides{
					Overrides: &compressorv3.CompressorOverrides{ResponseDirectionConfig: &compressorv3.ResponseDirectionOverrides{}},
				}}))
			}
		}
	}
}

func compressorLibraries() map[string]proto.Message {
	return map[string]proto.Message{"Gzip": &gzipv3.Gzip{}, "Brotli": &brotliv3.Brotli{}, "Zstd": &zstdv3.Zstd{}}
}

// compressorOf is a filter and its name, which tells all that it does.
func compressorOf(kind string, library proto.Message, least uint32, first bool) (name string, f *compressorv3.Compressor) {
	library = proto.Clone(library)
	kind = strings.ToLower(kind)
	common := &compressorv3.Compressor_CommonDirectionConfig{}
	name = kind
	if least > 0 {
		common.MinContentLength = wrapperspb.UInt32(least)
		name = fmt.Sprintf("%s-%d", kind, least)
	}
	if first {
		name += "-first"
	}
	return build.Instance(build.Compressor, name), &compressorv3.Compressor{
		ChooseFirst: first, ResponseDirectionConfig: &compressorv3.Compressor_ResponseDirectionConfig{CommonConfig: common},
		CompressorLibrary: &corev3.TypedExtensionConfig{Name: kind, TypedConfig: build.Any(library)},
	}
}
