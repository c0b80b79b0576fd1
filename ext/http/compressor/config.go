// SPDX-License-Identifier: Apache-2.0

package compressor

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	brotliv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/compressor/v3"
	gzipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	zstdv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/compressor/v3"
	compressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.compressor"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: Name, Config: &compressorv3.Compressor{}, New: newFilter, Route: &compressorv3.CompressorPerRoute{}, NewRoute: newRoute,
	}
}

// defaultLeast is the length from which bodies are compressed, in bytes.
const defaultLeast = 30

// defaultTypes are the content types that are compressed.
func defaultTypes() []string {
	return []string{
		"text/html", "text/plain", "text/css", "application/javascript", "application/x-javascript", "text/javascript", "text/x-javascript",
		"text/ecmascript", "text/js", "text/jscript", "text/x-js", "application/ecmascript", "application/x-json", "application/xml",
		"application/json", "image/svg+xml", "text/xml", "application/xhtml+xml",
	}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*compressorv3.Compressor)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a Compressor", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	lib, prefix, err := newLibrary(m.GetCompressorLibrary())
	if err != nil {
		return nil, fmt.Errorf("compressor_library.%w", err)
	}
	f := &Filter{name: c.Name, slot: c.Slot, runtime: c.Runtime, library: lib, first: m.GetChooseFirst()}
	scope := "compressor." + m.GetCompressorLibrary().GetName() + "." + prefix
	register := func(name string) *stats.Sharded[Stats] {
		s := stats.Register[Stats](c.Scope.Scope(name), len(c.Loops))
		if c.Own != nil {
			c.Own(s.Close)
		}
		return s
	}
	if r := m.GetRequestDirectionConfig(); r != nil {
		if f.request, err = newDirection(r.GetCommonConfig()); err != nil {
			return nil, fmt.Errorf("request_direction_config.common_config.%w", err)
		}
		f.request.stats = register(scope + ".request")
	}
	if r := m.GetResponseDirectionConfig(); r != nil {
		if f.response, err = newDirection(r.GetCommonConfig()); err != nil {
			return nil, fmt.Errorf("response_direction_config.common_config.%w", err)
		}
		f.noETag, f.weaken, f.removeAccept, f.status = r.GetDisableOnEtagHeader(), r.GetWeakenEtagOnCompress(), r.GetRemoveAcceptEncodingHeader(), r.GetStatusHeaderEnabled()
		for _, code := range r.GetUncompressibleResponseCodes() {
			if code < 200 || code > 599 {
				return nil, fmt.Errorf("response_direction_config.uncompressible_response_codes: %d is not the status of a response", code)
			}
			f.except = append(f.except, int(code))
		}
		f.response.stats = register(scope + ".response")
		return f, nil
	}
	// The fields that were there before directions.
	f.response = direction{
		on: true, enabled: match.CompileRuntimeFlag(m.GetRuntimeEnabled()), least: least(m.GetContentLength()), types: types(m.GetContentType()),
		stats: register(scope),
	}
	f.noETag, f.removeAccept = m.GetDisableOnEtagHeader(), m.GetRemoveAcceptEncodingHeader()
	return f, nil
}

func newDirection(m *compressorv3.Compressor_CommonDirectionConfig) (direction, error) {
	d := direction{on: true, enabled: match.CompileRuntimeFlag(m.GetEnabled()), least: least(m.GetMinContentLength()), types: types(m.GetContentType())}
	var err error
	if d.match, err = match.CompileStrings(m.GetContentTypeMatcher()); err != nil {
		return d, fmt.Errorf("content_type_matcher%w", err)
	}
	return d, nil
}

func least(v *wrapperspb.UInt32Value) int64 {
	if v == nil {
		return defaultLeast
	}
	return int64(v.GetValue())
}

func types(list []string) []string {
	if len(list) == 0 {
		return defaultTypes()
	}
	return list
}

func newRoute(cfg proto.Message, _ *extension.Services) (any, error) {
	m, ok := cfg.(*compressorv3.CompressorPerRoute)
	if !ok {
		return nil, fmt.Errorf("%s: per-route configuration is a %s, not a CompressorPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	switch o := m.GetOverride().(type) {
	case *compressorv3.CompressorPerRoute_Disabled:
		if !o.Disabled {
			return nil, errors.New("disabled is false: it must be true, or overrides be set instead")
		}
		return &Override{disabled: true}, nil
	case *compressorv3.CompressorPerRoute_Overrides:
		out := &Override{on: o.Overrides.GetResponseDirectionConfig() != nil}
		if v := o.Overrides.GetResponseDirectionConfig().GetRemoveAcceptEncodingHeader(); v != nil {
			remove := v.GetValue()
			out.removeAccept = &remove
		}
		if l := o.Overrides.GetCompressorLibrary(); l != nil {
			lib, _, err := newLibrary(l)
			if err != nil {
				return nil, fmt.Errorf("overrides.compressor_library.%w", err)
			}
			out.library = lib
		}
		return out, nil
	}
	return nil, errors.New("says nothing: set disabled to true, or overrides")
}

// newLibrary makes what compresses, and tells its part of the names of statistics.
func newLibrary(c *corev3.TypedExtensionConfig) (lib *library, prefix string, err error) {
	gz, br, zs := &gzipv3.Gzip{}, &brotliv3.Brotli{}, &zstdv3.Zstd{}
	any := c.GetTypedConfig()
	read := func(m interface {
		proto.Message
		ValidateAll() error
	},
	) error {
		if err := any.UnmarshalTo(m); err != nil {
			return err
		}
		return m.ValidateAll()
	}
	switch {
	case any.MessageIs(gz):
		if err = read(gz); err == nil {
			lib = gzipLibrary(gz)
		}
		prefix = "gzip"
	case any.MessageIs(br):
		if err = read(br); err == nil {
			lib = brotliLibrary(br)
		}
		prefix = "brotli"
	case any.MessageIs(zs):
		if err = read(zs); err == nil {
			lib, err = zstdLibrary(zs)
		}
		prefix = "zstd"
	default:
		err = fmt.Errorf("%q is not known: there are Gzip, Brotli and Zstd", any.GetTypeUrl())
	}
	if err != nil {
		return nil, "", fmt.Errorf("typed_config: %w", err)
	}
	return lib, prefix, nil
}

func gzipLibrary(m *gzipv3.Gzip) *library {
	level := gzip.DefaultCompression
	switch {
	case m.GetCompressionStrategy() == gzipv3.Gzip_HUFFMAN_ONLY:
		level = gzip.HuffmanOnly
	case m.GetCompressionLevel() != gzipv3.Gzip_DEFAULT_COMPRESSION:
		level = int(m.GetCompressionLevel())
	}
	return &library{encoding: "gzip", make: func() (encoder, error) { return gzip.NewWriterLevel(io.Discard, level) }}
}

// Envoy's defaults.
const (
	brotliQuality = 3
	brotliWindow  = 18
	zstdLevel     = 3
)

func brotliLibrary(m *brotliv3.Brotli) *library {
	o := brotli.WriterOptions{Quality: brotliQuality, LGWin: brotliWindow}
	if v := m.GetQuality(); v != nil {
		o.Quality = int(v.GetValue())
	}
	if v := m.GetWindowBits(); v != nil {
		o.LGWin = int(v.GetValue())
	}
	return &library{encoding: "br", make: func() (encoder, error) { return brotli.NewWriterOptions(io.Discard, o), nil }}
}

// zstdWindow is the most that is looked back, in bytes: what every client can (RFC 9659).
const zstdWindow = 1 << 20

func zstdLibrary(m *zstdv3.Zstd) (*library, error) {
	if m.GetDictionary() != nil {
		return nil, errors.New("dictionary: is not supported: clients of HTTP have none")
	}
	level := zstdLevel
	if v := m.GetCompressionLevel(); v != nil && v.GetValue() > 0 {
		level = int(v.GetValue())
	}
	options := []zstd.EOption{
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(zstdWindow),
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithEncoderCRC(m.GetEnableChecksum()),
	}
	return &library{encoding: "zstd", make: func() (encoder, error) { return zstd.NewWriter(io.Discard, options...) }}, nil
}
