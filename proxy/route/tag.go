// SPDX-License-Identifier: Apache-2.0

package route

import (
	"encoding/json"
	"strconv"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// TagSource is where a custom tag's value comes from.
type TagSource uint8

// Sources of tags. TagMetadata* name whose metadata holds the value.
const (
	TagLiteral TagSource = iota
	TagRequestHeader
	TagFormat
	TagMetadataRequest
	TagMetadataRoute
	TagMetadataCluster
	TagMetadataHost
)

// Tag is a custom tag of a trace's span.
type Tag struct {
	Name   string
	Source TagSource
	// Value is a literal's value, environment variables already read, or what
	// is used if the header or metadata is missing; with "" the tag is left
	// out.
	Value     string
	Header    header.Name
	Namespace string
	Path      []string
	Format    Formatter
}

// AppendTo appends the tag's value; nothing is no tag.
func (t *Tag) AppendTo(dst []byte, info *streaminfo.Stream) []byte {
	from := len(dst)
	switch t.Source {
	case TagRequestHeader:
		if info.Request != nil {
			dst = append(dst, info.Request.Get(t.Header)...)
		}
	case TagFormat:
		if t.Format != nil {
			dst = t.Format.AppendTo(dst, info)
		}
	case TagMetadataRequest:
		dst = t.lookup(dst, info.Metadata)
	case TagMetadataRoute:
		dst = t.lookup(dst, info.RouteMetadata)
	case TagMetadataCluster:
		dst = t.lookup(dst, info.ClusterMetadata)
	case TagMetadataHost:
		dst = t.lookup(dst, info.Upstream.HostMetadata)
	case TagLiteral:
	}
	if len(dst) == from {
		dst = append(dst, t.Value...)
	}
	return dst
}

// lookup appends what metadata has: text, numbers and truth values as they are, and
// anything else as JSON.
func (t *Tag) lookup(dst []byte, m streaminfo.Metadata) []byte {
	v, _ := m.Lookup(t.Namespace, t.Path...)
	switch x := v.(type) {
	case nil:
		return dst
	case string:
		return append(dst, x...)
	case bool:
		return strconv.AppendBool(dst, x)
	case float64:
		return strconv.AppendFloat(dst, x, 'f', -1, 64)
	}
	if b, err := json.Marshal(v); err == nil {
		dst = append(dst, b...)
	}
	return dst
}
