// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"weir.dev/weir/control/leader"
)

// A Lease is an object of that kind: a leader.Lease.
type Lease struct {
	cluster         *Cluster
	namespace, name string
}

// Lease returns the Lease of a name.
func (c *Cluster) Lease(namespace, name string) *Lease { return &Lease{c, namespace, name} }

// microTime is how Leases write their times.
const microTime = "2006-01-02T15:04:05.000000Z07:00"

// Get implements leader.Lease.
func (l *Lease) Get(ctx context.Context) (leader.Record, error) {
	o, err := l.cluster.resource("coordination.k8s.io", "v1", "leases", l.namespace).Get(ctx, l.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return leader.Record{}, nil
	}
	if err != nil {
		return leader.Record{}, fmt.Errorf("read Lease %s/%s: %w", l.namespace, l.name, rights(err))
	}
	return record(o), nil
}

func record(o *unstructured.Unstructured) leader.Record {
	holder, _, _ := unstructured.NestedString(o.Object, "spec", "holderIdentity")
	seconds, _, _ := unstructured.NestedInt64(o.Object, "spec", "leaseDurationSeconds")
	return leader.Record{Holder: holder, Lasts: time.Duration(seconds) * time.Second, Version: o.GetResourceVersion()}
}

// Put implements leader.Lease.
func (l *Lease) Put(ctx context.Context, r leader.Record) (leader.Record, error) {
	client := l.cluster.resource("coordination.k8s.io", "v1", "leases", l.namespace)
	spec := map[string]any{
		"holderIdentity": r.Holder, "leaseDurationSeconds": int64(r.Lasts / time.Second), "renewTime": time.Now().UTC().Format(microTime),
	}
	meta := map[string]any{"name": l.name, "namespace": l.namespace}
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}}
	var err error
	if r.Version == "" {
		o, err = client.Create(ctx, o, metav1.CreateOptions{FieldManager: manager})
	} else {
		meta["resourceVersion"] = r.Version
		o, err = client.Update(ctx, o, metav1.UpdateOptions{FieldManager: manager})
	}
	if err != nil {
		return leader.Record{}, fmt.Errorf("write Lease %s/%s: %w", l.namespace, l.name, rights(err))
	}
	return record(o), nil
}
