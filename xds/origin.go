// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// OriginKey is the key of filter_metadata under which a resource carries its
// Origin across the wire.
const OriginKey = "weir.dev/origin"

// An Origin says what a resource was made from. The zero value is unknown.
type Origin struct {
	// File and Line (from 1) for what was read from a file.
	File string
	Line int
	// Object for what was made from an object: "HTTPRoute default/shop".
	Object string
	// Field inside file or object: "spec.rules[0]".
	Field string
}

// IsZero reports whether nothing is known.
func (o Origin) IsZero() bool { return o == Origin{} }

// String prints what is known, in one short phrase.
func (o Origin) String() string {
	var parts []string
	if o.File != "" {
		at := o.File
		if o.Line > 0 {
			at = fmt.Sprintf("%s:%d", o.File, o.Line)
		}
		parts = append(parts, at)
	}
	if o.Object != "" {
		parts = append(parts, o.Object)
	}
	if o.Field != "" {
		parts = append(parts, o.Field)
	}
	return strings.Join(parts, " ")
}

// OriginOf reads the origin that metadata carries, or the zero Origin.
func OriginOf(md *corev3.Metadata) Origin {
	f := md.GetFilterMetadata()[OriginKey].GetFields()
	o := Origin{
		File:   f["file"].GetStringValue(),
		Object: f["object"].GetStringValue(),
		Field:  f["field"].GetStringValue(),
	}
	// A foreign control plane may have written any number.
	if n := f["line"].GetNumberValue(); n >= 1 && n <= 1<<31 {
		o.Line = int(n)
	}
	return o
}

// WithOrigin returns a copy of metadata that carries the origin; nil metadata is
// empty metadata.
func WithOrigin(md *corev3.Metadata, o Origin) *corev3.Metadata {
	out := &corev3.Metadata{}
	if md != nil {
		out = proto.CloneOf(md)
	}
	fields := map[string]*structpb.Value{}
	for name, text := range map[string]string{"file": o.File, "object": o.Object, "field": o.Field} {
		if text != "" {
			fields[name] = structpb.NewStringValue(text)
		}
	}
	if o.Line > 0 {
		fields["line"] = structpb.NewNumberValue(float64(o.Line))
	}
	if out.FilterMetadata == nil {
		out.FilterMetadata = map[string]*structpb.Struct{}
	}
	out.FilterMetadata[OriginKey] = &structpb.Struct{Fields: fields}
	return out
}
