// SPDX-License-Identifier: Apache-2.0

package infra

import (
	"bytes"
	encoding "encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation"

	"weir.dev/weir/control/api/v1alpha1"
)

// Kinds of objects that parameters can name and patch.
const (
	Deployment     = "Deployment"
	DaemonSet      = "DaemonSet"
	Service        = "Service"
	ServiceAccount = "ServiceAccount"
	Autoscaler     = "HorizontalPodAutoscaler"
	Budget         = "PodDisruptionBudget"
)

// typed is an empty object of a kind; nil if it cannot be patched.
func typed(kind string) any {
	switch kind {
	case Deployment:
		return &appsv1.Deployment{}
	case DaemonSet:
		return &appsv1.DaemonSet{}
	case Service:
		return &corev1.Service{}
	case ServiceAccount:
		return &corev1.ServiceAccount{}
	case Autoscaler:
		return &autoscalingv2.HorizontalPodAutoscaler{}
	case Budget:
		return &policyv1.PodDisruptionBudget{}
	}
	return nil
}

// A Problem is why objects cannot be as parameters ask. Kind is that of the object; "" is
// the proxies' bootstrap.
type Problem struct{ Kind, Message string }

// Error tells kind and message.
func (p *Problem) Error() string {
	if p.Kind == "" {
		return "bootstrap: " + p.Message
	}
	return p.Kind + ": " + p.Message
}

// Check tells what of parameters cannot be done: it makes the objects of a Gateway with them.
func Check(s *v1alpha1.GatewayParametersSpec) []Problem {
	var out []Problem
	for kind, name := range s.Names {
		bad := validation.IsDNS1123Subdomain(name)
		switch {
		case kind == ServiceAccount || typed(kind) == nil:
			bad = []string{"objects of this kind keep their names"}
		case kind == Service:
			bad = validation.IsDNS1035Label(name)
		}
		if len(bad) > 0 {
			out = append(out, Problem{kind, fmt.Sprintf("%q cannot be its name: %s", name, bad[0])})
		}
	}
	slices.SortFunc(out, func(a, b Problem) int { return strings.Compare(a.Kind, b.Kind) })
	for _, p := range s.Patches {
		if typed(p.Kind) == nil {
			out = append(out, Problem{p.Kind, "there are patches of Deployment, DaemonSet, Service, ServiceAccount, HorizontalPodAutoscaler and PodDisruptionBudget"})
		}
	}
	if s.Metrics != nil {
		out = append(out, badNames(s.Metrics.Include)...)
	}
	sample := &Plan{Labels: map[string]string{}, Annotations: map[string]string{}, Ports: []Port{{Number: 80, Bound: 8080}}, Parameters: *s}
	sample.Gateway.Namespace, sample.Gateway.Name = "gateway", "gateway"
	_, problems := sample.make(Options{Image: "weir", Server: "control:18000"})
	return append(out, problems...)
}

// patched returns an object with the patches of its kind, as Kubernetes would take it.
func (w *writer) patched(o Object) (Object, *Problem) {
	if o.Body == nil || !slices.ContainsFunc(w.plan.Parameters.Patches, func(p v1alpha1.ObjectPatch) bool { return p.Kind == o.Kind }) {
		return o, nil
	}
	plain, err := generic(o.Body)
	if err != nil {
		panic("BUG: an object cannot be written: " + err.Error())
	}
	body, err := generic(o.Body)
	for _, p := range w.plan.Parameters.Patches {
		if p.Kind != o.Kind || err != nil {
			continue
		}
		var patch fields
		if patch, err = generic(p.Value); err != nil {
			break
		}
		switch t := value(p.Type, "StrategicMerge"); t {
		case "StrategicMerge":
			body, err = strategicpatch.StrategicMergeMapPatch(body, patch, typed(o.Kind))
		case "JSONMerge":
			body, err = merged(body, patch)
		default:
			err = fmt.Errorf("the type %q of a patch is not known: there are StrategicMerge and JSONMerge", t)
		}
	}
	if err == nil {
		err = strict(body, typed(o.Kind))
	}
	if err == nil {
		err = w.held(plain, body)
	}
	if err != nil {
		return Object{}, &Problem{o.Kind, err.Error()}
	}
	o.Body = body
	return o, nil
}

// held finds what patches have changed that has to stay.
func (w *writer) held(before, after fields) error {
	kind, _ := before["kind"].(string)
	paths := [][]string{
		{"apiVersion"}, {"kind"}, {"metadata", "name"}, {"metadata", "namespace"}, {"metadata", "ownerReferences"},
		{"metadata", "annotations", GatewayAnnotation}, {"metadata", "annotations", ControllerAnnotation},
		{"metadata", "labels", ManagedBy}, {"metadata", "labels", nameLabel},
	}
	switch kind {
	case Deployment, DaemonSet:
		paths = append(paths, []string{"spec", "selector"}, []string{"spec", "template", "spec", "serviceAccountName"})
		for label := range w.selector() {
			paths = append(paths, []string{"spec", "template", "metadata", "labels", label})
		}
		was, is := proxyOf(before), proxyOf(after)
		if is == nil || !reflect.DeepEqual(was["args"], is["args"]) || is["command"] != nil {
			return fmt.Errorf("the patches take away the container %q, or change its arguments: change single fields of it, and give args", Container)
		}
	case Service, Budget:
		paths = append(paths, []string{"spec", "selector"})
	case Autoscaler:
		paths = append(paths, []string{"spec", "scaleTargetRef"})
	}
	for _, p := range paths {
		if !reflect.DeepEqual(at(before, p), at(after, p)) {
			return fmt.Errorf("the patches change %s, which has to stay: give another field", strings.Join(p, "."))
		}
	}
	return nil
}

// Container is the name of the proxy's.
const Container = "proxy"

// proxyOf returns the proxy's container of a workload, or nil.
func proxyOf(workload fields) fields {
	containers, _ := at(workload, []string{"spec", "template", "spec", "containers"}).([]any)
	for _, c := range containers {
		if m, ok := c.(fields); ok && m["name"] == Container {
			return m
		}
	}
	return nil
}

func at(v any, path []string) any {
	for _, step := range path {
		switch m := v.(type) {
		case fields:
			v = m[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(m) {
				return nil
			}
			v = m[i]
		default:
			return nil
		}
	}
	return v
}

// generic returns v as JSON has it.
func generic(v any) (fields, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out fields
	return out, json.Unmarshal(data, &out)
}

// strict reads an object as its type, and finds fields that this has not.
func strict(body fields, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	d := encoding.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// merged applies a patch of RFC 7386.
func merged(to, patch fields) (fields, error) {
	doc, err := json.Marshal(to)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	if doc, err = jsonpatch.MergePatch(doc, data); err != nil {
		return nil, err
	}
	var out fields
	return out, json.Unmarshal(doc, &out)
}
