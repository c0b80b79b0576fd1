// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"maps"
	"strings"

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
	need := func(objects []source.Change) {
		for _, o := range objects {
			for _, k := range c.needs(o.Key.Kind, o.Object) {
				needed[k] = true
			}
		}
	}
	need(c.beside)
	for _, t := range source.Types() {
		gvr, served := c.resourceOf(t.Kind)
		if !served || t.Lazy {
			continue
		}
		more, err := c.listAll(ctx, t.Kind, c.lister(gvr), c.typed(t.Kind))
		if err != nil {
			return nil, err
		}
		if gvr, served := c.former[t.Kind]; served {
			old, err := c.listAll(ctx, t.Kind, c.lister(gvr), c.typed(t.Kind))
			if err != nil {
				return nil, err
			}
			more = append(old, more...) // Of two with one name the newer counts.
		}
		need(more)
		out = append(out, more...)
	}
	for kind := range needed {
		if gvr, served := c.resourceOf(kind); served {
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
			o.Data = meant(o)
		case *corev1.ConfigMap:
			o.Data, o.BinaryData = small(o.Data), small(o.BinaryData)
		}
		return out, nil
	}
}

// meant is what of a Secret may be referred to: nothing of those that are others' by their
// type, and of certificates what belongs to them.
func meant(s *corev1.Secret) map[string][]byte {
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken, corev1.SecretTypeDockercfg, corev1.SecretTypeDockerConfigJson, corev1.SecretTypeBootstrapToken, "helm.sh/release.v1":
		return nil
	case corev1.SecretTypeTLS:
		return only(s.Data, corev1.TLSCertKey, corev1.TLSPrivateKeyKey, "ca.crt", "ca.crl", "cert_required")
	}
	return small(s.Data)
}

// largest is how many bytes a value may have that is not of authorities. Keys of tokens,
// passwords and what routes answer have few.
const largest = 64 << 10

// small leaves out the values that are too large to be meant. Certificates of authorities,
// and lists of what they revoked, may be under any key.
func small[V ~string | ~[]byte](m map[string]V) map[string]V {
	maps.DeleteFunc(m, func(key string, v V) bool {
		return len(v) > largest && key != "ca.crt" && !strings.Contains(string(v), "-----BEGIN CERTIFICATE-----") && !strings.Contains(string(v), "-----BEGIN X509 CRL-----")
	})
	return m
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
