// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"weir.dev/weir/control/fleet"
	"weir.dev/weir/control/infra"
)

// manager is how the apiserver calls what Weir applies and writes.
const manager = "weir"

func (c *Cluster) resource(group, version, resource, namespace string) dynamic.ResourceInterface {
	return c.client.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: resource}).Namespace(namespace)
}

// Apply implements infra.Cluster, by server-side apply.
func (c *Cluster) Apply(ctx context.Context, o infra.Object) error {
	r := c.resource(o.Group, o.Version, o.Resource, o.Namespace)
	if o.Body == nil {
		options := metav1.DeleteOptions{}
		if o.UID != "" {
			options.Preconditions = metav1.NewUIDPreconditions(string(o.UID))
		}
		err := r.Delete(ctx, o.Name, options)
		if apierrors.IsNotFound(err) || o.UID != "" && apierrors.IsConflict(err) {
			return nil
		}
		return named("remove", o, err)
	}
	data, err := json.Marshal(o.Body)
	if err != nil {
		return named("encode", o, err)
	}
	if err := c.handOver(ctx, o); err != nil {
		return named("leave the number of", o, err)
	}
	return named("apply", o, c.patch(ctx, o, data, manager))
}

func (c *Cluster) patch(ctx context.Context, o infra.Object, data []byte, as string) error {
	force := true
	_, err := c.resource(o.Group, o.Version, o.Resource, o.Namespace).Patch(ctx, o.Name, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: as, Force: &force})
	return err
}

// autoscaled is how the apiserver calls who has the number of proxies between Weir, which said
// it, and an autoscaler, which has not said it yet.
const autoscaled = "weir-autoscaled"

// handOver keeps the number of proxies of a Deployment that is not to say it any more. What
// nobody applies any more is taken away, and without a number there is one proxy.
func (c *Cluster) handOver(ctx context.Context, o infra.Object) error {
	if _, says, _ := unstructured.NestedFieldNoCopy(o.Body, "spec", "replicas"); says || o.Kind != infra.Deployment {
		return nil
	}
	// To list is a right that there is anyway.
	list, err := c.resource(o.Group, o.Version, o.Resource, o.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + o.Name})
	if err != nil {
		return err
	}
	for _, item := range list.Items {
		n, ok, _ := unstructured.NestedInt64(item.Object, "spec", "replicas")
		if !ok || item.GetName() != o.Name || !slices.ContainsFunc(item.GetManagedFields(), saysNumber) {
			continue
		}
		data, err := json.Marshal(map[string]any{
			"apiVersion": item.GetAPIVersion(), "kind": item.GetKind(),
			"metadata": map[string]any{"name": o.Name, "namespace": o.Namespace}, "spec": map[string]any{"replicas": n},
		})
		if err != nil {
			return err
		}
		return c.patch(ctx, o, data, autoscaled)
	}
	return nil
}

// saysNumber tells whether Weir applies the number of Pods.
func saysNumber(f metav1.ManagedFieldsEntry) bool {
	if f.Manager != manager || f.Operation != metav1.ManagedFieldsOperationApply || f.FieldsV1 == nil {
		return false
	}
	var fields struct {
		Spec map[string]json.RawMessage `json:"f:spec"`
	}
	if json.Unmarshal(f.FieldsV1.Raw, &fields) != nil {
		return false
	}
	_, says := fields.Spec["f:replicas"]
	return says
}

// Provisioned implements infra.Cluster.
func (c *Cluster) Provisioned(ctx context.Context, controller string) ([]infra.Object, error) {
	var out []infra.Object
	for _, kind := range infra.Kinds() {
		list, err := c.resource(kind.Group, kind.Version, kind.Resource, "").List(ctx, metav1.ListOptions{LabelSelector: infra.Selector})
		if err != nil {
			return out, fmt.Errorf("list %s: %w", kind.Resource, rights(err))
		}
		for _, item := range list.Items {
			of := item.GetAnnotations()
			gateway, ok := infra.ParseGateway(of[infra.GatewayAnnotation])
			if !ok || of[infra.ControllerAnnotation] != controller {
				continue
			}
			o := kind
			o.Namespace, o.Name, o.UID, o.Gateway = item.GetNamespace(), item.GetName(), item.GetUID(), gateway
			out = append(out, o)
		}
	}
	return out, nil
}

func named(verb string, o infra.Object, err error) error {
	if err == nil {
		return nil
	}
	if o.Resource == "secrets" && apierrors.IsForbidden(err) {
		err = fmt.Errorf("give the control plane the rights of deploy/redis.yaml: %w", err)
	} else {
		err = rights(err)
	}
	return fmt.Errorf("%s %s %s/%s: %w", verb, o.Resource, o.Namespace, o.Name, err)
}

// rights says what to do if a right is missing that a control plane in a cluster needs.
func rights(err error) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("give the control plane the rights of deploy/control.yaml: %w", err)
	}
	return err
}

// Review returns whose token it is: a service account's, and for audience.
func (c *Cluster) Review(ctx context.Context, token, audience string) (fleet.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	q := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
		"spec": map[string]any{"token": token, "audiences": []any{audience}},
	}}
	r, err := c.resource("authentication.k8s.io", "v1", "tokenreviews", "").Create(ctx, q, metav1.CreateOptions{})
	if err != nil {
		return fleet.Identity{}, fmt.Errorf("ask the cluster whose token it is: %w", rights(err))
	}
	if ok, _, _ := unstructured.NestedBool(r.Object, "status", "authenticated"); !ok {
		return fleet.Identity{}, errors.New("the token is not valid, too old, or not for " + audience)
	}
	user, _, _ := unstructured.NestedString(r.Object, "status", "user", "username")
	parts := strings.Split(user, ":")
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" {
		return fleet.Identity{}, fmt.Errorf("the token is of %s, which is no service account", user)
	}
	return fleet.Identity{Namespace: parts[2], Account: parts[3]}, nil
}

// Shared returns the data of a Secret that all replicas share; the first that asks makes it.
func (c *Cluster) Shared(ctx context.Context, namespace, name string, make func() (map[string][]byte, error)) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	r := c.resource("", "v1", "secrets", namespace)
	o, err := r.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		data, err := make()
		if err != nil {
			return nil, err
		}
		text := map[string]any{}
		for k, v := range data {
			text[k] = string(v)
		}
		_, err = r.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": text,
			"metadata": map[string]any{"name": name, "namespace": namespace, "labels": map[string]any{infra.ManagedBy: infra.ManagedByWeir}},
		}}, metav1.CreateOptions{FieldManager: manager})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("make Secret %s/%s: %w", namespace, name, rights(err))
		}
		o, err = r.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("read Secret %s/%s: %w", namespace, name, rights(err))
		}
		return secretData(o)
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %s/%s: %w", namespace, name, rights(err))
	}
	return secretData(o)
}

func secretData(o *unstructured.Unstructured) (map[string][]byte, error) {
	text, err := json.Marshal(o.Object["data"])
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	return out, json.Unmarshal(text, &out) // []byte is base64 in JSON.
}
