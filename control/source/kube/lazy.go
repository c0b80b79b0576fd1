// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"weir.dev/weir/control/source"
)

// lists is how the objects of a kind are read, and of which type they come.
type lists struct {
	of    runtime.Object
	list  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error)
	watch func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

func (c *Cluster) lister(gvr schema.GroupVersionResource) lists {
	r := c.client.Resource(gvr)
	return lists{
		of:    &unstructured.Unstructured{},
		list:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return r.List(ctx, o) },
		watch: r.Watch,
	}
}

// labels reads no more of objects than their metadata: that is all the apiserver sends.
func (c *Cluster) labels(gvr schema.GroupVersionResource) lists {
	r := c.metadata.Resource(gvr)
	return lists{
		of:    &metav1.PartialObjectMetadata{},
		list:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return r.List(ctx, o) },
		watch: r.Watch,
	}
}

// labelled keeps of metadata what tells an object, and its labels.
func labelled(o any) (any, error) {
	was, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: was.Name, Namespace: was.Namespace, UID: was.UID, ResourceVersion: was.ResourceVersion, Labels: was.Labels,
	}}, nil
}

// need has a lazy kind read from now on. What changes until it has been is held back,
// so that who needs it comes together with it.
func (s *Source) need(kind source.Kind) {
	gvr, served := s.cluster.resourceOf(kind)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !served || s.stores[kind] != nil || s.ctx == nil {
		return
	}
	store, informer := s.informer(s.ctx, kind, s.cluster.labels(gvr), labelled, false)
	s.stores[kind] = store
	s.lists[kind] = true
	s.log.Info("reads more of the cluster", "kind", kind.String())
	s.wg.Go(func() { informer.RunWithContext(s.ctx) })
	s.wg.Go(func() {
		if cache.WaitForCacheSync(s.ctx.Done(), informer.HasSynced) {
			s.release(kind)
		}
	})
}
