// SPDX-License-Identifier: Apache-2.0

package backend

import (
	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Subset returns labels as graph.ClusterID has them.
func Subset(of map[string]string) string { return labels.SelectorFromSet(of).String() }

// within returns what tells the endpoints of a subset.
func within(c *memo.Ctx, subset string) func(*discoveryv1.EndpointSlice, *discoveryv1.Endpoint) bool {
	if subset == "" {
		return func(*discoveryv1.EndpointSlice, *discoveryv1.Endpoint) bool { return true }
	}
	selector, err := labels.Parse(subset)
	if err != nil {
		selector = labels.Nothing() // Values that no label can have are those of no Pod.
	}
	return func(s *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint) bool {
		own, ok := labelsOf(c, s, e)
		return ok && selector.Matches(labels.Set(own))
	}
}

// labelsOf returns the labels of the Pod that an endpoint is. In files, where nobody
// makes Pods, the endpoint may name the Deployment instead, whose Pods' labels it has.
func labelsOf(c *memo.Ctx, s *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint) (map[string]string, bool) {
	if e.TargetRef == nil {
		return nil, false
	}
	name := source.Name{Namespace: e.TargetRef.Namespace, Name: e.TargetRef.Name}
	if name.Namespace == "" {
		name.Namespace = s.Namespace
	}
	switch e.TargetRef.Kind {
	case source.Pod.Kind:
		if o, ok := source.Get[source.Object](c, source.Pod, name); ok {
			return o.GetLabels(), true
		}
	case source.Deployment.Kind:
		if o, ok := source.Get[*appsv1.Deployment](c, source.Deployment, name); ok {
			return o.Spec.Template.Labels, true
		}
	}
	return nil, false
}
