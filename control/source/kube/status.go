// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
)

// A StatusWriter writes statuses to the cluster: only what differs from what stands
// there, and of parents and ancestors only our own. It is a control.Writer.
type StatusWriter struct {
	source     *Source
	controller gwapiv1.GatewayController
	unwritten  *unwritten
	now        func() time.Time

	mu      sync.Mutex
	wanted  map[source.Key]*status.Update
	pending []source.Key
	busy    map[source.Key]bool          // is being written: what comes meanwhile waits
	written map[source.Key]source.Object // as the cluster answered, until the informer has it, too
	wake    chan struct{}
}

// NewStatusWriter returns a writer for the controllerName called controller.
func NewStatusWriter(s *Source, controller string, log *slog.Logger) *StatusWriter {
	return &StatusWriter{
		source: s, controller: gwapiv1.GatewayController(controller), unwritten: newUnwritten(log, time.Now), now: time.Now,
		wanted: map[source.Key]*status.Update{}, busy: map[source.Key]bool{}, written: map[source.Key]source.Object{},
		wake: make(chan struct{}, 1),
	}
}

// Write takes updates; of several for one object the last is written.
func (w *StatusWriter) Write(updates []*status.Update) {
	w.mu.Lock()
	for _, u := range updates {
		w.want(u)
	}
	w.mu.Unlock()
	w.signal()
}

// want has u written, in place of what was to be written for its object. It is called with mu.
func (w *StatusWriter) want(u *status.Update) {
	if w.wanted[u.Key] == nil && !w.busy[u.Key] {
		w.pending = append(w.pending, u.Key)
	}
	w.wanted[u.Key] = u
}

// done tells that an object's status is no longer being written.
func (w *StatusWriter) done(key source.Key) {
	w.mu.Lock()
	delete(w.busy, key)
	if w.wanted[key] != nil {
		w.pending = append(w.pending, key)
	}
	w.mu.Unlock()
	w.signal()
}

func (w *StatusWriter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *StatusWriter) next() *status.Update {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) == 0 {
		return nil
	}
	key := w.pending[0]
	w.pending = w.pending[1:]
	u := w.wanted[key]
	delete(w.wanted, key)
	w.busy[key] = true
	if len(w.pending) > 0 {
		w.signal()
	}
	return u
}

// writers is how many statuses are written at once.
const writers = 8

// Run writes until ctx ends.
func (w *StatusWriter) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range writers {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-w.wake:
				}
				for u := w.next(); u != nil; u = w.next() {
					w.attempt(ctx, &wg, u)
				}
			}
		})
	}
}

// attempt writes a status. One that cannot be written waits among wg, and keeps no other waiting.
func (w *StatusWriter) attempt(ctx context.Context, wg *sync.WaitGroup, u *status.Update) {
	err := w.write(ctx, u)
	if err == nil || apierrors.IsNotFound(err) || ctx.Err() != nil {
		w.unwritten.over(u.Key)
		w.done(u.Key)
		return
	}
	_, gvr := w.source.find(u.Key)
	wait := w.unwritten.note(u.Key, gvr.GroupResource(), err, func(err error) error {
		if apierrors.IsForbidden(err) {
			return w.source.cluster.explain(err)
		}
		return err
	})
	wg.Go(func() {
		defer w.done(u.Key)
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.wanted[u.Key] == nil { // Otherwise there is a newer one.
			w.want(u)
		}
	})
}

// newest returns an object as it is known: the informer may not have seen yet what was written last.
func (w *StatusWriter) newest(key source.Key) (source.Object, schema.GroupVersionResource) {
	o, gvr := w.source.find(key)
	w.mu.Lock()
	defer w.mu.Unlock()
	own := w.written[key]
	if o == nil || own == nil || o.GetUID() != own.GetUID() || !older(o, own) {
		delete(w.written, key)
		return o, gvr
	}
	return own, gvr
}

// older compares versions of one object, which are numbers that grow.
func older(a, b source.Object) bool {
	x, err1 := strconv.ParseUint(a.GetResourceVersion(), 10, 64)
	y, err2 := strconv.ParseUint(b.GetResourceVersion(), 10, 64)
	return err1 == nil && err2 == nil && x < y
}

// conflicts is how often an object may change while its status is written.
const conflicts = 5

func (w *StatusWriter) write(ctx context.Context, u *status.Update) error {
	o, gvr := w.newest(u.Key)
	if o == nil || gvr.Empty() || u.Status == nil {
		return nil
	}
	if left, ok := u.Status.(*status.Leaving); ok {
		return w.leave(ctx, u.Key, left)
	}
	resource := w.source.cluster.client.Resource(gvr).Namespace(u.Key.Namespace)
	for try := 0; ; try++ {
		old, fresh := w.merged(o, u)
		if old != nil && equality.Semantic.DeepEqual(old, fresh) {
			return nil
		}
		patch, err := patchOf(o, fresh)
		if err != nil {
			return fmt.Errorf("encode status of %s: %w", u.Key, err)
		}
		answer, err := resource.Patch(ctx, u.Key.Name.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager}, "status")
		if err == nil {
			return w.remember(u.Key, answer)
		}
		if !apierrors.IsConflict(err) || try == conflicts {
			return err
		}
		if answer, err = resource.Get(ctx, u.Key.Name.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		if o, err = w.typed(u.Key, answer); err != nil {
			return err
		}
	}
}

// remember keeps the status that the cluster answered, and whose and of when it is.
func (w *StatusWriter) remember(key source.Key, answer *unstructured.Unstructured) error {
	o, err := w.typed(key, &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"uid": string(answer.GetUID()), "resourceVersion": answer.GetResourceVersion()},
		"status":   answer.Object["status"],
	}})
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written[key] = o
	return nil
}

func (w *StatusWriter) typed(key source.Key, u *unstructured.Unstructured) (source.Object, error) {
	o := w.source.cluster.types[key.Kind].New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return o, nil
}

// patchOf returns a merge patch that makes status the object's, if the object is
// still as it was read.
func patchOf(o source.Object, fresh any) ([]byte, error) {
	data, err := json.Marshal(fresh)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	// A patch that does not speak of a field would leave it.
	for _, name := range emptied(fresh) {
		if fields[name] == nil {
			fields[name] = nil
		}
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": o.GetResourceVersion()}, "status": fields})
}

// emptied are the fields of a status that may become empty.
func emptied(fresh any) []string {
	switch fresh.(type) {
	case *gwapiv1.GatewayStatus:
		return []string{"addresses", "listeners"}
	case *emissaryv3.MappingStatus:
		return []string{"reason"}
	case *gwxv1alpha1.BackendStatus:
		return []string{"parents"}
	case *istiov1.Status:
		return []string{"validationMessages"}
	case *emissaryv3.HostStatus:
		return []string{"errorReason"}
	}
	return nil
}

// merged returns the status that an object has and the one that it should have.
func (w *StatusWriter) merged(o source.Object, u *status.Update) (old, fresh any) {
	now := metav1.NewTime(w.now())
	switch s := u.Status.(type) {
	case *gwapiv1.GatewayClassStatus:
		was, out := &o.(*gwapiv1.GatewayClass).Status, *s
		out.Conditions = status.Merge(was.Conditions, s.Conditions, now)
		return was, &out
	case *gwapiv1.GatewayStatus:
		was, out := &o.(*gwapiv1.Gateway).Status, *s
		out.Conditions = status.Merge(was.Conditions, s.Conditions, now)
		out.Listeners = slices.Clone(s.Listeners)
		for i := range out.Listeners {
			l := &out.Listeners[i]
			l.Conditions = status.Merge(conditionsOf(was.Listeners, func(x gwapiv1.ListenerStatus) (bool, []metav1.Condition) { return x.Name == l.Name, x.Conditions }), l.Conditions, now)
		}
		return was, &out
	case *gwapiv1.ListenerSetStatus:
		was, out := &o.(*gwapiv1.ListenerSet).Status, *s
		out.Conditions = status.Merge(was.Conditions, s.Conditions, now)
		out.Listeners = slices.Clone(s.Listeners)
		for i := range out.Listeners {
			l := &out.Listeners[i]
			l.Conditions = status.Merge(conditionsOf(was.Listeners, func(x gwapiv1.ListenerEntryStatus) (bool, []metav1.Condition) { return x.Name == l.Name, x.Conditions }), l.Conditions, now)
		}
		return was, &out
	case *gwapiv1.RouteStatus:
		was, ok := status.Of(o).(*gwapiv1.RouteStatus)
		if !ok {
			return nil, nil
		}
		return was, &gwapiv1.RouteStatus{Parents: w.parents(was.Parents, s.Parents, now)}
	case *gwapiv1.PolicyStatus:
		was, ok := status.Of(o).(*gwapiv1.PolicyStatus)
		if !ok {
			return nil, nil
		}
		return was, &gwapiv1.PolicyStatus{Ancestors: w.ancestors(was.Ancestors, s.Ancestors, now)}
	}
	switch s := u.Status.(type) {
	case *v1alpha1.BackendStatus:
		was, ok := status.Of(o).(*v1alpha1.BackendStatus)
		if !ok {
			return nil, nil
		}
		return was, &v1alpha1.BackendStatus{Conditions: status.Merge(was.Conditions, s.Conditions, now)}
	case *gwxv1alpha1.BackendStatus:
		was := &o.(*gwxv1alpha1.XBackend).Status
		return was, &gwxv1alpha1.BackendStatus{Ancestors: fromAncestors(w.ancestors(toAncestors(was.Ancestors), toAncestors(s.Ancestors), now))}
	case *istiov1.Status:
		was, ok := status.Of(o).(*istiov1.Status)
		if !ok {
			return nil, nil
		}
		out := *s
		out.Conditions = status.Merge(was.Conditions, s.Conditions, now)
		return was, &out
	case *networkingv1.IngressStatus:
		return &o.(*networkingv1.Ingress).Status, s
	}
	if s, ok := u.Status.(*emissaryv3.MappingStatus); ok {
		return &o.(*emissaryv3.Mapping).Status, s
	}
	if s, ok := u.Status.(*emissaryv3.HostStatus); ok {
		return &o.(*emissaryv3.Host).Status, s
	}
	panic(fmt.Sprintf("BUG: a status of type %T", u.Status))
}

// toAncestors returns the ancestors of an XBackend as those of a policy, which have the
// same fields under other names in JSON.
func toAncestors(list []gwxv1alpha1.BackendAncestorStatus) []gwapiv1.PolicyAncestorStatus {
	var out []gwapiv1.PolicyAncestorStatus
	for _, a := range list {
		out = append(out, gwapiv1.PolicyAncestorStatus{ControllerName: a.ControllerName, AncestorRef: a.AncestorRef, Conditions: a.Conditions})
	}
	return out
}

func fromAncestors(list []gwapiv1.PolicyAncestorStatus) []gwxv1alpha1.BackendAncestorStatus {
	var out []gwxv1alpha1.BackendAncestorStatus
	for _, a := range list {
		out = append(out, gwxv1alpha1.BackendAncestorStatus{ControllerName: a.ControllerName, AncestorRef: a.AncestorRef, Conditions: a.Conditions})
	}
	return out
}

func conditionsOf[T any](list []T, of func(T) (bool, []metav1.Condition)) []metav1.Condition {
	for _, x := range list {
		if is, conditions := of(x); is {
			return conditions
		}
	}
	return nil
}

// parents returns the parents of others as they stand, and ours.
func (w *StatusWriter) parents(was, ours []gwapiv1.RouteParentStatus, now metav1.Time) []gwapiv1.RouteParentStatus {
	out := []gwapiv1.RouteParentStatus{}
	for _, p := range was {
		if p.ControllerName != w.controller {
			out = append(out, p)
		}
	}
	for _, p := range ours {
		p.Conditions = status.Merge(conditionsOf(was, func(x gwapiv1.RouteParentStatus) (bool, []metav1.Condition) {
			return x.ControllerName == w.controller && status.SameParent(x.ParentRef, p.ParentRef), x.Conditions
		}), p.Conditions, now)
		out = append(out, p)
	}
	return out
}

func (w *StatusWriter) ancestors(was, ours []gwapiv1.PolicyAncestorStatus, now metav1.Time) []gwapiv1.PolicyAncestorStatus {
	out := []gwapiv1.PolicyAncestorStatus{}
	for _, a := range was {
		if a.ControllerName != w.controller {
			out = append(out, a)
		}
	}
	for _, a := range ours {
		a.Conditions = status.Merge(conditionsOf(was, func(x gwapiv1.PolicyAncestorStatus) (bool, []metav1.Condition) {
			return x.ControllerName == w.controller && status.SameParent(x.AncestorRef, a.AncestorRef), x.Conditions
		}), a.Conditions, now)
		out = append(out, a)
	}
	return out
}
