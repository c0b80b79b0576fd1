// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"weir.dev/weir/control/source"
)

// page is how many objects are asked for at once.
const page = 500

// List returns all objects of the cluster as they are now, with their statuses.
func (c *Cluster) List(ctx context.Context) ([]source.Change, error) {
	var out []source.Change
	needed := map[source.Kind]bool{}
	for _, t := range source.Types() {
		gvr, served := c.served[t.Kind]
		if !served || t.Lazy {
			continue
		}
		more, err := c.listAll(ctx, t.Kind, c.lister(gvr), c.typed(t.Kind))
		if err != nil {
			return nil, err
		}
		if needs := c.types[t.Kind].Needs; needs != nil {
			for _, o := range more {
				for _, k := range needs(o.Object) {
					needed[k] = true
				}
			}
		}
		out = append(out, more...)
	}
	for kind := range needed {
		if gvr, served := c.served[kind]; served {
			more, err := c.listAll(ctx, kind, c.labels(gvr), labelled)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

// listAll returns the objects of a kind, page by page.
func (c *Cluster) listAll(ctx context.Context, kind source.Kind, from lists, transform cache.TransformFunc) ([]source.Change, error) {
	var out []source.Change
	for o := (metav1.ListOptions{Limit: page}); ; {
		list, err := from.list(ctx, o)
		if err != nil {
			return nil, c.explain(err)
		}
		err = meta.EachListItem(list, func(item runtime.Object) error {
			typed, err := transform(item)
			if object, ok := typed.(source.Object); ok && err == nil {
				out = append(out, source.Change{Key: source.Key{Kind: kind, Name: source.NameOf(object)}, Object: object})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		l, err := meta.ListAccessor(list)
		if err != nil {
			return nil, err
		}
		if o.Continue = l.GetContinue(); o.Continue == "" {
			return out, nil
		}
	}
}

// typed turns what the apiserver sends into the kind's type, and leaves out what
// nobody reads.
func (c *Cluster) typed(kind source.Kind) cache.TransformFunc {
	t := c.types[kind]
	create := t.New
	return func(o any) (any, error) {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return o, nil // A store that is listed again gives what is transformed already.
		}
		out := create()
		t.Renewed(u.Object)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
			return nil, fmt.Errorf("%s %s/%s: %w", kind, u.GetNamespace(), u.GetName(), err)
		}
		out.SetManagedFields(nil)
		delete(out.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
		switch o := out.(type) {
		case *corev1.Secret:
			o.Data = only(o.Data, corev1.TLSCertKey, corev1.TLSPrivateKeyKey, "ca.crt", "cert_required")
		case *corev1.ConfigMap:
			o.Data, o.BinaryData = only(o.Data, "ca.crt"), only(o.BinaryData, "ca.crt")
		}
		return out, nil
	}
}

func only[V any](m map[string]V, keys ...string) map[string]V {
	out := map[string]V{}
	for _, k := range keys {
		if v, ok := m[k]; ok {
			out[k] = v
		}
	}
	return out
}
