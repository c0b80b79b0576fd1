// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/peers"
)

// A Board is Leases of a namespace, one a replica: a peers.Board.
type Board struct {
	cluster         *Cluster
	namespace, name string
	log             *slog.Logger
}

// Board returns the Leases that are called name-REPLICA.
func (c *Cluster) Board(namespace, name string, log *slog.Logger) *Board {
	return &Board{c, namespace, name, log}
}

const (
	// boardLabel has the name of a Board, in the Leases that are its posts.
	boardLabel = "weir.dev/replica-of"
	// postAnnotation has a post's text.
	postAnnotation = "weir.dev/proxies"
	// largestPost is how long a text may be: the apiserver takes 256 KiB of annotations.
	largestPost = 250 << 10
)

// leaseOf is the name of a replica's Lease.
func (b *Board) leaseOf(replica string) string {
	return b.name + "-" + strings.Trim(strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(replica)), "-.")
}

// Put implements peers.Board.
func (b *Board) Put(ctx context.Context, replica, text string) error {
	name := b.leaseOf(replica)
	if len(text) > largestPost {
		return fmt.Errorf("write Lease %s/%s: what it would say of %d bytes is more than an object may hold: run one replica", b.namespace, name, len(text))
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	client := b.cluster.resource("coordination.k8s.io", "v1", "leases", b.namespace)
	body := map[string]any{
		"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
		"metadata": map[string]any{
			"name": name, "namespace": b.namespace, "annotations": map[string]any{postAnnotation: text},
			"labels": map[string]any{boardLabel: b.name, infra.ManagedBy: infra.ManagedByWeir},
		},
		"spec": map[string]any{"holderIdentity": replica, "renewTime": time.Now().UTC().Format(microTime)},
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode Lease %s/%s: %w", b.namespace, name, err)
	}
	_, err = client.Patch(ctx, name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: manager})
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, &unstructured.Unstructured{Object: body}, metav1.CreateOptions{FieldManager: manager})
	}
	if err != nil {
		return fmt.Errorf("write Lease %s/%s: %w", b.namespace, name, rights(err))
	}
	return nil
}

// Remove implements peers.Board.
func (b *Board) Remove(ctx context.Context, replica, version string) error {
	o := metav1.DeleteOptions{}
	if version != "" {
		o.Preconditions = &metav1.Preconditions{ResourceVersion: &version}
	}
	name := b.leaseOf(replica)
	err := b.cluster.resource("coordination.k8s.io", "v1", "leases", b.namespace).Delete(ctx, name, o)
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("remove Lease %s/%s: %w", b.namespace, name, rights(err))
}

// Watch implements peers.Board.
func (b *Board) Watch(ctx context.Context, told func(peers.Post), all func()) {
	client := b.cluster.resource("coordination.k8s.io", "v1", "leases", b.namespace)
	f := failures{log: b.log}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				o.LabelSelector = boardLabel + "=" + b.name
				list, err := client.List(ctx, o)
				f.note(ctx, rights(err))
				return list, err
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.LabelSelector = boardLabel + "=" + b.name
				w, err := client.Watch(ctx, o)
				if err != nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
					f.note(ctx, rights(err))
				}
				return w, err
			},
		}, b.cluster.client),
		ObjectType: &unstructured.Unstructured{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { told(postOf(o, false)) },
			UpdateFunc: func(_, o any) { told(postOf(o, false)) },
			DeleteFunc: func(o any) {
				if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = last.Obj
				}
				told(postOf(o, true))
			},
		},
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { informer.RunWithContext(ctx) })
	if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		all()
	}
	<-ctx.Done()
}

// postOf reads a post.
func postOf(o any, gone bool) peers.Post {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return peers.Post{}
	}
	holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity")
	p := peers.Post{Replica: holder, Text: u.GetAnnotations()[postAnnotation], Version: u.GetResourceVersion()}
	if gone {
		p.Version = ""
	}
	return p
}

// failures tells of an error once, until it is over.
type failures struct {
	log  *slog.Logger
	mu   sync.Mutex
	told bool
}

func (f *failures) note(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil && f.told:
		f.log.Info("hears of the other replicas again")
	case err != nil && !f.told && ctx.Err() == nil:
		f.log.Warn("cannot hear of the other replicas: a status may tell of the proxies of this one alone", "error", err)
	}
	f.told = err != nil
}
