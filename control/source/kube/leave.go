// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
)

// leave takes back the status of an object that is not ours any more, if it is still what
// was written here: once another controller has written, it is that one's to take care of.
func (w *StatusWriter) leave(ctx context.Context, key source.Key, fresh *status.Leaving) error {
	_, gvr := w.source.find(key)
	resource := w.source.cluster.client.Resource(gvr).Namespace(key.Namespace)
	for try := 0; ; try++ {
		o, err := resource.Get(ctx, key.Name.Name, metav1.GetOptions{})
		if err != nil || !unclaimed(o) {
			return err
		}
		conditions := make([]metav1.Condition, len(fresh.Conditions))
		for i, c := range fresh.Conditions {
			c.LastTransitionTime = metav1.NewTime(w.now())
			conditions[i] = c
		}
		fields := map[string]any{"conditions": conditions}
		for name := range o.Object["status"].(map[string]any) {
			if name != "conditions" {
				fields[name] = nil
			}
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": o.GetResourceVersion()}, "status": fields})
		if err != nil {
			return fmt.Errorf("encode status of %s: %w", key, err)
		}
		_, err = resource.Patch(ctx, key.Name.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager}, "status")
		if !apierrors.IsConflict(err) || try == conflicts {
			return err
		}
	}
}

// unclaimed tells that an object's status is what Weir has written of another state of it,
// and nobody else.
func unclaimed(o *unstructured.Unstructured) bool {
	ours := false
	for _, f := range o.GetManagedFields() {
		if f.Subresource != "status" {
			continue
		}
		if f.Manager != manager {
			return false
		}
		ours = true
	}
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, each := range list {
		m, ok := each.(map[string]any)
		if seen, is := m["observedGeneration"].(int64); !ok || !is || seen >= o.GetGeneration() {
			return false
		}
	}
	return ours && len(list) > 0
}
