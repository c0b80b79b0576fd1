// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/runtime"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// An id names an object: one that stands by itself, or one in an annotation.
type id struct {
	source.Key
	// holder has it in its annotation, at index; zero if it stands by itself.
	holder source.Key
	index  int
}

// String names the object, and where it is if that is an annotation.
func (i id) String() string {
	if i.holder == (source.Key{}) {
		return i.Key.String()
	}
	return fmt.Sprintf("%s in the annotation of %s", i.Key, i.holder)
}

// get returns an object, whose type is T.
func get[T source.Object](d *Dialect, c *memo.Ctx, i id) (T, bool) {
	if i.holder == (source.Key{}) {
		return source.Get[T](c, i.Kind, i.Name)
	}
	var none T
	all := d.annotation.Get(c, i.holder).objects
	if i.index >= len(all) {
		return none, false
	}
	o, ok := all[i.index].object.(T)
	return o, ok
}

// list returns all objects of a kind, those in annotations last.
func (d *Dialect) list(c *memo.Ctx, k source.Kind) []id {
	var out []id
	for _, n := range source.Names(c, k) {
		out = append(out, id{Key: source.Key{Kind: k, Name: n}})
	}
	return append(out, d.annotated.Members(c, k)...)
}

// originOf returns where an object stands, for what is made of it.
func originOf(i id) source.Key {
	if i.holder != (source.Key{}) {
		return i.holder
	}
	return i.Key
}

// automatic is the ambassador_id of objects that are for every install.
const automatic = "_automatic_"

// anonymous is the install of objects that have no ambassador_id.
const anonymous = "default"

// idsOf returns the installs that an object is for.
func idsOf(lists ...emissaryv3.Strings) []string {
	var out []string
	for _, l := range lists {
		out = append(out, l...)
	}
	if len(out) == 0 {
		return []string{anonymous}
	}
	return out
}

// isFor reports whether an object with these ids is for an install.
func isFor(ids []string, install string) bool {
	return slices.Contains(ids, install) || slices.Contains(ids, automatic)
}

// annotationKey is where Services and Ingresses have objects of Emissary.
const annotationKey = "getambassador.io/config"

// annotation is what an object's annotation holds.
type annotation struct {
	objects  []annotatedObject
	problems []graph.Problem
}

type annotatedObject struct {
	key    source.Key
	object source.Object
}

// The most that an annotation may hold.
const (
	maxAnnotation = 256 << 10
	maxDocuments  = 256
)

// readAnnotation reads the objects of an annotation.
func readAnnotation(c *memo.Ctx, holder source.Key) *annotation {
	out := &annotation{}
	o, ok := source.Get[source.Object](c, holder.Kind, holder.Name)
	if !ok {
		return out
	}
	if text := o.GetAnnotations()[annotationKey]; text != "" {
		out.read(text, holder)
	}
	return out
}

// read reads the objects of a text that holder has.
func (out *annotation) read(text string, holder source.Key) {
	bad := func(format string, args ...any) {
		out.problems = append(out.problems, graph.Problem{
			Path: "metadata.annotations." + annotationKey, Reason: reasonInvalid, Message: fmt.Sprintf(format, args...),
		})
	}
	if len(text) > maxAnnotation {
		bad("is longer than %d bytes: make objects of their own of what it holds", maxAnnotation)
		return
	}
	dec := yaml.NewDecoder(strings.NewReader(text))
	for n := 1; ; n++ {
		var doc map[string]any
		err := dec.Decode(&doc)
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			bad("document %d is not YAML: %s", n, strings.TrimPrefix(err.Error(), "yaml: "))
			return
		case n > maxDocuments:
			bad("has more than %d documents", maxDocuments)
			return
		case len(doc) == 0:
			continue
		}
		object, err := decode(doc, holder)
		if err != nil {
			bad("document %d: %v", n, err)
			continue
		}
		out.objects = append(out.objects, *object)
	}
}

// decode makes an object of a document, whose fields may stand beside its name, as
// annotations have them.
func decode(doc map[string]any, holder source.Key) (*annotatedObject, error) {
	version, _ := doc["apiVersion"].(string)
	kind, _ := doc["kind"].(string)
	group, ver, _ := strings.Cut(version, "/")
	if group != emissaryv3.Group {
		return nil, fmt.Errorf("apiVersion %q is not one of %s", version, emissaryv3.Group)
	}
	types := source.Types()
	at := slices.IndexFunc(types, func(t source.Type) bool { return t.Group == group && t.Kind.Kind == kind })
	if at < 0 {
		return nil, fmt.Errorf("kind %q is not known", kind)
	}
	if ver != "v1" && !slices.Contains([]string{"v2", "v3alpha1"}, ver) {
		return nil, fmt.Errorf("apiVersion %q of %s is not known: there are v3alpha1 and v2", version, kind)
	}
	if doc["metadata"] == nil {
		doc = nested(doc, version, kind)
	}
	meta, _ := doc["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	if name == "" {
		return nil, fmt.Errorf("the %s has no name", kind)
	}
	if namespace, _ := meta["namespace"].(string); namespace == "" {
		meta["namespace"] = holder.Namespace
	}
	o := types[at].New()
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, name, err)
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(o); err != nil {
		return nil, fmt.Errorf("%s %s: %s", kind, name, misfit(err))
	}
	return &annotatedObject{source.Key{Kind: types[at].Kind, Name: source.NameOf(o)}, o}, nil
}

// misfit tells an error of decoding in the words of those who wrote the YAML.
func misfit(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Sprintf("%s is a %s, and should be another kind of value", cmp.Or(wrong.Field, "it"), wrong.Value)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// nested puts the fields that stand beside the name where objects have them.
func nested(doc map[string]any, version, kind string) map[string]any {
	meta, spec := map[string]any{}, map[string]any{}
	for k, v := range doc {
		switch k {
		case "apiVersion", "kind", "generation":
		case "name", "namespace":
			meta[k] = v
		case "metadata_labels":
			meta["labels"] = v
		default:
			spec[k] = v
		}
	}
	return map[string]any{"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}
}

// annotatedIn says which objects an annotation holds.
func (d *Dialect) annotatedIn(c *memo.Ctx, holder source.Key) []memo.Pair[source.Kind, id] {
	var out []memo.Pair[source.Kind, id]
	for i, o := range d.annotation.Get(c, holder).objects {
		out = append(out, memo.Pair[source.Kind, id]{Bucket: o.key.Kind, Member: id{o.key, holder, i}})
	}
	return out
}

// version2 reports whether an object is of a version before v3alpha1.
func version2(o runtime.Object) bool {
	v := o.GetObjectKind().GroupVersionKind().Version
	return v == "v2" || v == "v1"
}
