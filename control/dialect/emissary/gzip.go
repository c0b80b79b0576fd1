// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"cmp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	gzipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	compressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"

	"weir.dev/weir/control/build"
)

// gzip is how a Module has responses compressed. Sizes are in bytes.
type gzip struct {
	MemoryLevel          *uint32  `json:"memory_level,omitempty"`
	MinContentLength     *uint32  `json:"min_content_length,omitempty"`
	CompressionLevel     string   `json:"compression_level,omitempty"`
	CompressionStrategy  string   `json:"compression_strategy,omitempty"`
	WindowBits           *uint32  `json:"window_bits,omitempty"`
	ContentType          []string `json:"content_type,omitempty"`
	DisableOnETag        *bool    `json:"disable_on_etag_header,omitempty"`
	RemoveAcceptEncoding *bool    `json:"remove_accept_encoding_header,omitempty"`
}

// Levels and strategies that Emissary's documents call otherwise than Envoy.
func gzipWords() map[string]string {
	return map[string]string{
		"BEST": "BEST_COMPRESSION", "SPEED": "BEST_SPEED", "DEFAULT": "DEFAULT_COMPRESSION",
		"HUFFMAN": "HUFFMAN_ONLY", "": "DEFAULT_COMPRESSION",
	}
}

// level and strategy are Envoy's words; ok is false for what is none.
func (g *gzip) level() (gzipv3.Gzip_CompressionLevel, bool) {
	n, ok := gzipv3.Gzip_CompressionLevel_value[cmp.Or(gzipWords()[g.CompressionLevel], g.CompressionLevel)]
	return gzipv3.Gzip_CompressionLevel(n), ok
}

func (g *gzip) strategy() (gzipv3.Gzip_CompressionStrategy, bool) {
	if g.CompressionStrategy == "" || g.CompressionStrategy == "DEFAULT" {
		return gzipv3.Gzip_DEFAULT_STRATEGY, true
	}
	n, ok := gzipv3.Gzip_CompressionStrategy_value[cmp.Or(gzipWords()[g.CompressionStrategy], g.CompressionStrategy)]
	return gzipv3.Gzip_CompressionStrategy(n), ok
}

// check tells of words that are none, as of which the default is taken.
func (g *gzip) check(tell teller) {
	if _, ok := g.level(); !ok {
		tell("gzip.compression_level", reasonInvalid, "the default is taken: %q is not a level, such as BEST_SPEED, COMPRESSION_LEVEL_6 or BEST_COMPRESSION", g.CompressionLevel)
	}
	if _, ok := g.strategy(); !ok {
		tell("gzip.compression_strategy", reasonInvalid, "the default is taken: %q is not one of DEFAULT_STRATEGY, FILTERED, HUFFMAN_ONLY, RLE and FIXED", g.CompressionStrategy)
	}
}

// filter compresses responses.
func (g *gzip) filter() *compressorv3.Compressor {
	library := &gzipv3.Gzip{}
	library.CompressionLevel, _ = g.level()
	library.CompressionStrategy, _ = g.strategy()
	return &compressorv3.Compressor{
		CompressorLibrary: &corev3.TypedExtensionConfig{Name: "envoy.compression.gzip.compressor", TypedConfig: build.Any(library)},
		ResponseDirectionConfig: &compressorv3.Compressor_ResponseDirectionConfig{
			CommonConfig:        &compressorv3.Compressor_CommonDirectionConfig{MinContentLength: number(g.MinContentLength), ContentType: g.ContentType},
			DisableOnEtagHeader: is(g.DisableOnETag), RemoveAcceptEncodingHeader: is(g.RemoveAcceptEncoding),
		},
	}
}
