// SPDX-License-Identifier: Apache-2.0

package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"weir.dev/weir/control/source"
	"weir.dev/weir/control/source/schema"
	"weir.dev/weir/internal/suggest"
	"weir.dev/weir/xds"
)

// defaultNamespace is that of objects that do not say.
const defaultNamespace = "default"

// decoder turns documents into objects.
type decoder struct {
	types   []source.Type
	schemas *schema.Set
	// others are kinds, as "apiVersion kind", that somebody else reads.
	others []string
}

// decode returns the object of a document, or nil with what is wrong.
func (d *decoder) decode(file string, doc document) (source.Object, source.Key, []xds.Problem) {
	bad := func(path, reason, remedy string) []xds.Problem {
		return []xds.Problem{{File: file, Line: doc.at(path), Path: path, Reason: reason, Remedy: remedy}}
	}
	version, _ := doc.value["apiVersion"].(string)
	kind, _ := doc.value["kind"].(string)
	if version == "" || kind == "" {
		return nil, source.Key{}, bad("", "has no apiVersion or kind, so it cannot be told what it is", "")
	}
	asked := source.Kind{Kind: kind}
	if group, _, ok := strings.Cut(version, "/"); ok {
		asked.Group = group
	}
	if slices.Contains(d.others, version+" "+kind) || isForeign(asked) {
		return nil, source.Key{}, nil
	}
	t, reason, remedy := d.find(version, asked)
	if t == nil && d.isElsewhere(asked.Group) {
		return nil, source.Key{}, []xds.Problem{{
			Severity: xds.Warning, File: file, Line: doc.at("kind"), Path: "kind",
			Reason: fmt.Sprintf("kind %s is of a group that Weir knows nothing of, and is passed over", asked),
		}}
	}
	if t == nil {
		field := "kind"
		if !strings.HasPrefix(reason, "kind") {
			field = "apiVersion"
		}
		return nil, source.Key{}, bad(field, reason, remedy)
	}
	meta, _ := doc.value["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	if name == "" {
		return nil, source.Key{}, bad("metadata", "has no name", "")
	}
	key := source.Key{Kind: t.Kind, Name: source.Name{Name: name}}
	if t.Namespaced {
		if key.Namespace, _ = meta["namespace"].(string); key.Namespace == "" {
			key.Namespace = defaultNamespace
			meta["namespace"] = defaultNamespace
		}
	} else {
		delete(meta, "namespace")
	}
	delete(doc.value, "status") // It is ours to say.
	t.Renewed(doc.value)
	problems := d.check(file, key, t, doc)
	o := t.New()
	if err := reencode(doc.value, o); err != nil {
		if len(problems) == 0 {
			problems = bad("", err.Error(), "")
		}
		return nil, key, located(problems, key)
	}
	if o.GetGeneration() == 0 {
		o.SetGeneration(1)
	}
	if s, ok := o.(*corev1.Secret); ok {
		store(s)
	}
	if xds.HasErrors(problems) {
		return nil, key, located(problems, key)
	}
	return o, key, located(problems, key)
}

// store makes stringData of a Secret data, as an apiserver does.
func store(s *corev1.Secret) {
	for k, v := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

func located(problems []xds.Problem, key source.Key) []xds.Problem {
	for i := range problems {
		problems[i].Kind, problems[i].Name = xds.Kind(key.Kind.Kind), key.Name.String()
	}
	return problems
}

// isElsewhere reports whether a group has none of the kinds that are read, and is not
// written like one that has.
func (d *decoder) isElsewhere(group string) bool {
	groups := slices.Collect(maps.Keys(foreign))
	for _, t := range d.types {
		groups = append(groups, t.Kind.Group)
		for _, f := range t.Former {
			groups = append(groups, f.Kind.Group)
		}
	}
	_, near := suggest.Nearest(group, slices.Values(groups))
	return !near && !slices.Contains(groups, group)
}

// find returns the type of a kind, or why there is none.
func (d *decoder) find(apiVersion string, asked source.Kind) (t *source.Type, reason, remedy string) {
	version := strings.TrimPrefix(apiVersion, asked.Group+"/")
	var kinds []string
	for i, t := range d.types {
		kinds = append(kinds, t.Kind.Kind)
		all := append([]source.Former{{Kind: t.Kind, Versions: t.Versions}}, t.Former...)
		for _, f := range all {
			if f.Kind != asked {
				continue
			}
			if slices.Contains(f.Versions, version) {
				return &d.types[i], "", ""
			}
			return nil, fmt.Sprintf("apiVersion %q of %s is not known", apiVersion, asked.Kind), "there are " + strings.Join(f.Versions, ", ")
		}
	}
	if near, ok := suggest.Nearest(asked.Kind, slices.Values(kinds)); ok && near != asked.Kind {
		return nil, fmt.Sprintf("kind %s is not known", asked), fmt.Sprintf("did you mean %s?", near)
	}
	return nil, fmt.Sprintf("kind %s is not known", asked), "there are " + strings.Join(slices.Sorted(slices.Values(kinds)), ", ")
}

// check finds what an apiserver would refuse, and sets defaults.
func (d *decoder) check(file string, key source.Key, t *source.Type, doc document) []xds.Problem {
	var out []xds.Problem
	add := func(path, reason string) {
		out = append(out, xds.Problem{File: file, Line: doc.at(path), Path: path, Reason: reason})
	}
	if s := d.schemas.Get(key.Kind); s != nil {
		_, version, _ := strings.Cut(fmt.Sprint(doc.value["apiVersion"]), "/")
		for _, p := range s.Complete(doc.value) {
			if p.Reason == schema.Required && slices.Contains(t.Lacks[version], p.Path) {
				continue
			}
			add(p.Path, p.Reason)
		}
	}
	// Kubernetes' own kinds have no schema here: their types tell what there is.
	o := t.New()
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(maps.Clone(doc.value), o, true)
	var strict interface{ Errors() []error }
	switch {
	case err == nil:
	case runtime.IsStrictDecodingError(err) && errors.As(err, &strict):
		for _, e := range strict.Errors() {
			path, ok := strings.CutPrefix(e.Error(), `unknown field "`)
			if path = strings.TrimSuffix(path, `"`); ok && !slices.ContainsFunc(out, func(p xds.Problem) bool { return p.Path == path }) {
				add(path, "unknown field")
			}
		}
	case len(out) == 0:
		add(mistyped(doc.value, t.New(), err))
	}
	for _, l := range []map[string]string{o.GetLabels(), o.GetAnnotations()} {
		for k := range l {
			if strings.TrimSpace(k) == "" {
				add("metadata", "a label or annotation has no name")
			}
		}
	}
	return out
}

// mistyped returns which field of an object is of another type than it should be, and what
// is wrong with it: the error alone, if it cannot be told.
func mistyped(value map[string]any, o source.Object, err error) (path, reason string) {
	text, bad := json.Marshal(value)
	if bad != nil {
		return "", err.Error()
	}
	var wrong *json.UnmarshalTypeError
	if !errors.As(json.Unmarshal(text, o), &wrong) {
		return "", err.Error()
	}
	want := map[reflect.Kind]string{
		reflect.String: "a text (in quotes, if it looks like a number)", reflect.Bool: "true or false", reflect.Slice: "a list",
		reflect.Map: "an object", reflect.Struct: "an object", reflect.Float64: "a number",
	}[wrong.Type.Kind()]
	if want == "" {
		want = "a whole number"
	}
	return wrong.Field, fmt.Sprintf("holds a value of JSON's type %s, and should be or hold %s", wrong.Value, want)
}

var _ metav1.Object = source.Object(nil)
