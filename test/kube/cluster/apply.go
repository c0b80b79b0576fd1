// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// manager is whom server-side apply takes for the owner of what Apply writes.
const manager = "test"

// Apply applies objects from YAML, in their order, like kubectl apply --server-side. Objects of a kind that is being
// defined are waited for.
func (c *Cluster) Apply(ctx context.Context, text string) error {
	objects, err := Parse(text)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := c.apply(ctx, o); err != nil {
			return fmt.Errorf("apply %s: %w", name(o), err)
		}
	}
	return nil
}

func (c *Cluster) apply(ctx context.Context, o *unstructured.Unstructured) error {
	at, err := c.resource(ctx, o)
	if err != nil {
		return err
	}
	text, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	applied, err := at.Patch(ctx, o.GetName(), "application/apply-patch+yaml", text, metav1.PatchOptions{FieldManager: manager, Force: new(true)})
	if err != nil || applied.GroupVersionKind().GroupKind() != definition {
		return err
	}
	return c.established(ctx, o.GetName())
}

// definition is the kind of custom resources' definitions.
var definition = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}

// established waits until a custom resource can be used.
func (c *Cluster) established(ctx context.Context, name string) error {
	definitions := c.Dynamic.Resource(schema.GroupVersionResource{Group: definition.Group, Version: "v1", Resource: "customresourcedefinitions"})
	return c.until(ctx, "the definition to be established", func(ctx context.Context) error {
		o, err := definitions.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		for _, c := range conditions {
			if m, ok := c.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
				return nil
			}
		}
		return fmt.Errorf("its conditions are %v", conditions)
	})
}

// Delete deletes objects that YAML names, last first, and waits until they are gone.
func (c *Cluster) Delete(ctx context.Context, text string) error {
	objects, err := Parse(text)
	if err != nil {
		return err
	}
	for _, o := range slices.Backward(objects) {
		at, err := c.resource(ctx, o)
		if err != nil {
			return err
		}
		if err := at.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationForeground)}); err != nil && !gone(err) {
			return fmt.Errorf("delete %s: %w", name(o), err)
		}
		err = c.Until(ctx, name(o)+" to be gone", func(ctx context.Context) error {
			_, err := at.Get(ctx, o.GetName(), metav1.GetOptions{})
			if err == nil {
				return errors.New("it is there")
			}
			if gone(err) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Get returns an object that the first document of YAML names, as it is now.
func (c *Cluster) Get(ctx context.Context, text string) (*unstructured.Unstructured, error) {
	objects, err := Parse(text)
	if err != nil {
		return nil, err
	}
	at, err := c.resource(ctx, objects[0])
	if err != nil {
		return nil, err
	}
	return at.Get(ctx, objects[0].GetName(), metav1.GetOptions{})
}

// resource finds where an object's kind lives.
func (c *Cluster) resource(ctx context.Context, o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	var m *meta.RESTMapping
	err := c.until(ctx, "the kind "+kind.String(), func(context.Context) error {
		var err error
		if m, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version); meta.IsNoMatchError(err) {
			c.mapper.Reset()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameRoot {
		return c.Dynamic.Resource(m.Resource), nil
	}
	if o.GetNamespace() == "" {
		o.SetNamespace(metav1.NamespaceDefault)
	}
	return c.Dynamic.Resource(m.Resource).Namespace(o.GetNamespace()), nil
}

func name(o *unstructured.Unstructured) string {
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// Parse returns the objects of YAML documents. Lists are taken apart.
func Parse(text string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader([]byte(text)))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &o.Object); err != nil {
			return nil, err
		}
		switch {
		case len(o.Object) == 0:
		case o.IsList():
			if err := o.EachListItem(func(item runtime.Object) error { out = append(out, item.(*unstructured.Unstructured)); return nil }); err != nil {
				return nil, err
			}
		default:
			out = append(out, o)
		}
	}
}

// applyManifests applies what the options name.
func (c *Cluster) applyManifests(ctx context.Context) error {
	for _, path := range c.Manifest {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return err
		} else if info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*.yaml")); err != nil {
				return err
			}
		}
		for _, file := range files {
			if filepath.Base(file) == "kustomization.yaml" {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := c.Apply(ctx, string(text)); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

// Patch merges a patch, in JSON, into the object that YAML names.
func (c *Cluster) Patch(ctx context.Context, text string, patch []byte) error {
	objects, err := Parse(text)
	if err != nil {
		return err
	}
	for _, o := range objects {
		at, err := c.resource(ctx, o)
		if err != nil {
			return err
		}
		if _, err := at.Patch(ctx, o.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager}); err != nil {
			return fmt.Errorf("patch %s: %w", name(o), err)
		}
	}
	return nil
}
