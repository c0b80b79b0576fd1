// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// message writes a message as Envoy does: JSON with the fields' own names, indented by one space. With defaults, fields
// without presence are written though they are zero.
func (w *answer) message(m proto.Message, defaults bool) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: defaults}.Marshal(m)
	var b bytes.Buffer
	if err == nil {
		// protojson's spaces differ from build to build on purpose; json's do not.
		err = json.Indent(&b, raw, "", " ")
	}
	if err != nil {
		w.fail(http.StatusInternalServerError, "write %s: %v\n", m.ProtoReflect().Descriptor().FullName(), err)
		return
	}
	w.header.Set("Content-Type", "application/json")
	b.WriteByte('\n')
	_, _ = b.WriteTo(&w.body)
}

// serveConfigDump is /config_dump.
func (a *Admin) serveConfigDump(w *answer, r *http.Request) {
	q := r.URL.Query()
	var names *regexp.Regexp
	if e := q.Get("name_regex"); e != "" {
		re, err := regexp.Compile(`\A(?:` + e + `)\z`)
		if err != nil {
			w.fail(http.StatusBadRequest, "Error while parsing name_regex from %s: %v", e, err)
			return
		}
		names = re
	}
	parts := a.server.ConfigDump()
	if q.Has("include_eds") {
		if e := a.server.Endpoints(); e != nil {
			parts = append(parts[:len(parts):len(parts)], e)
		}
	}
	copies := make([]proto.Message, len(parts))
	for i, p := range parts {
		copies[i] = proto.Clone(p)
		// Names are read and masks applied inside Any, so what is in there must be redacted first.
		redact(copies[i].ProtoReflect(), false)
		keepNames(copies[i].ProtoReflect(), names)
	}
	mask, masked := parseMask(q.Get("mask")), q.Get("mask") != ""
	var out []proto.Message
	if resource := q.Get("resource"); resource != "" {
		list, ok := pick(w, copies, resource)
		if !ok {
			return
		}
		for _, m := range list {
			if masked && !mask.trim(m.ProtoReflect()) {
				w.fail(http.StatusBadRequest, "FieldMask %s could not be successfully used.", q.Get("mask"))
				return
			}
		}
		out = list
	} else {
		for _, m := range copies {
			if !masked || mask.trim(m.ProtoReflect()) {
				out = append(out, m)
			}
		}
		if len(out) == 0 && masked {
			w.fail(http.StatusBadRequest, "FieldMask %s could not be successfully applied to any configs.", q.Get("mask"))
			return
		}
	}
	dump := &adminv3.ConfigDump{}
	for _, m := range out {
		packed, err := anypb.New(m)
		if err != nil {
			w.fail(http.StatusInternalServerError, "pack %s: %v\n", m.ProtoReflect().Descriptor().FullName(), err)
			return
		}
		dump.Configs = append(dump.Configs, packed)
	}
	w.message(dump, false)
}

// pick is the elements of the repeated field called resource, of the first part that has such a field.
func pick(w *answer, parts []proto.Message, resource string) ([]proto.Message, bool) {
	for _, p := range parts {
		m := p.ProtoReflect()
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(resource))
		if fd == nil {
			continue
		}
		if !fd.IsList() || fd.Message() == nil {
			w.fail(http.StatusBadRequest, "%s is not a repeated field. Use ?mask=%s to get only this field", resource, resource)
			return nil, false
		}
		var out []proto.Message
		list := m.Get(fd).List()
		for i := range list.Len() {
			out = append(out, list.Get(i).Message().Interface())
		}
		return out, true
	}
	w.fail(http.StatusNotFound, "%s not found in config dump", resource)
	return nil, false
}

// keepNames removes the resources, elements of a part's repeated fields, whose name does not match; nil keeps all.
func keepNames(m protoreflect.Message, names *regexp.Regexp) {
	if names == nil {
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !fd.IsList() || fd.Message() == nil {
			return true
		}
		list, kept := v.List(), 0
		for i := range list.Len() {
			if names.MatchString(resourceName(list.Get(i).Message())) {
				list.Set(kept, list.Get(i))
				kept++
			}
		}
		list.Truncate(kept)
		return true
	})
}

// resourceName is the name of a resource: its own, or that of the message it carries, which for endpoints is called
// cluster_name. A dynamic listener has its message in a state.
func resourceName(m protoreflect.Message) string {
	for _, field := range []protoreflect.Name{"name", "cluster_name"} {
		if fd := m.Descriptor().Fields().ByName(field); fd != nil && fd.Kind() == protoreflect.StringKind && !fd.IsList() {
			if s := m.Get(fd).String(); s != "" {
				return s
			}
		}
	}
	name := ""
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Message() == nil || fd.IsList() || fd.IsMap() {
			return true
		}
		if a, ok := v.Message().Interface().(*anypb.Any); ok {
			if inner, err := a.UnmarshalNew(); err == nil {
				name = resourceName(inner.ProtoReflect())
			}
		}
		return name == ""
	})
	return name
}
