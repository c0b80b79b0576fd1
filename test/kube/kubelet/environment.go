// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
)

// path is where programs are looked for within a container, as container runtimes have it.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"

// environment returns the variables of a container, by name.
func (w *worker) environment(c *corev1.Container) (map[string]string, error) {
	api := w.k.APIServer
	env := map[string]string{
		"PATH": path, "HOSTNAME": w.name,
		"KUBERNETES_SERVICE_HOST": api.Addr().String(), "KUBERNETES_SERVICE_PORT": strconv.Itoa(int(api.Port())),
	}
	for _, from := range c.EnvFrom {
		if err := w.addAll(env, from); err != nil {
			return nil, err
		}
	}
	for _, e := range c.Env {
		value := expand(e.Value, env)
		if e.ValueFrom != nil {
			var err error
			if value, err = w.valueFrom(c, e.ValueFrom); err != nil {
				return nil, fmt.Errorf("variable %s: %w", e.Name, err)
			}
		}
		env[e.Name] = value
	}
	return env, nil
}

// addAll adds every key of a ConfigMap or a Secret.
func (w *worker) addAll(env map[string]string, from corev1.EnvFromSource) error {
	var data map[string][]byte
	var err error
	switch {
	case from.ConfigMapRef != nil:
		data, err = w.configMap(from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
	case from.SecretRef != nil:
		data, err = w.secret(from.SecretRef.Name, from.SecretRef.Optional)
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		env[from.Prefix+name] = string(data[name])
	}
	return err
}

func (w *worker) valueFrom(c *corev1.Container, s *corev1.EnvVarSource) (string, error) {
	var data map[string][]byte
	var err error
	var key string
	var optional *bool
	switch {
	case s.FieldRef != nil:
		return w.field(s.FieldRef.FieldPath)
	case s.ResourceFieldRef != nil:
		return resourceField(c, s.ResourceFieldRef)
	case s.ConfigMapKeyRef != nil:
		key, optional = s.ConfigMapKeyRef.Key, s.ConfigMapKeyRef.Optional
		data, err = w.configMap(s.ConfigMapKeyRef.Name, optional)
	case s.SecretKeyRef != nil:
		key, optional = s.SecretKeyRef.Key, s.SecretKeyRef.Optional
		data, err = w.secret(s.SecretKeyRef.Name, optional)
	default:
		return "", fmt.Errorf("the test kubelet has no such source: only fields, resources, ConfigMaps and Secrets")
	}
	if err != nil {
		return "", err
	}
	if value, ok := data[key]; ok || optional != nil && *optional {
		return string(value), nil
	}
	return "", fmt.Errorf("there is no key %q", key)
}

// indexed is a field that names one label or annotation.
var indexed = regexp.MustCompile(`^metadata\.(labels|annotations)\['(.*)'\]$`)

// field is a value of the downward API.
func (w *worker) field(path string) (string, error) {
	p := w.current()
	if m := indexed.FindStringSubmatch(path); m != nil {
		if m[1] == "labels" {
			return p.Labels[m[2]], nil
		}
		return p.Annotations[m[2]], nil
	}
	values := map[string]func() string{
		"metadata.name":           func() string { return p.Name },
		"metadata.namespace":      func() string { return p.Namespace },
		"metadata.uid":            func() string { return string(p.UID) },
		"metadata.labels":         func() string { return quoted(p.Labels) },
		"metadata.annotations":    func() string { return quoted(p.Annotations) },
		"spec.nodeName":           func() string { return p.Spec.NodeName },
		"spec.serviceAccountName": func() string { return p.Spec.ServiceAccountName },
		"status.podIP":            w.address.String,
		"status.podIPs":           w.address.String,
		"status.hostIP":           w.k.Address.String,
		"status.hostIPs":          w.k.Address.String,
	}
	if value, ok := values[path]; ok {
		return value(), nil
	}
	return "", fmt.Errorf("there is no field %q", path)
}

// quoted is how the downward API writes labels and annotations into a file.
func quoted(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s=%q\n", k, m[k])
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// resourceField is a limit or a request of a container, in units of a divisor, rounded up.
func resourceField(c *corev1.Container, r *corev1.ResourceFieldSelector) (string, error) {
	kind, name, _ := strings.Cut(r.Resource, ".")
	list := c.Resources.Requests
	if kind == "limits" {
		list = c.Resources.Limits
	}
	quantity, ok := list[corev1.ResourceName(name)]
	if !ok && kind == "limits" { // The node's own.
		quantity = map[string]resource.Quantity{"cpu": resource.MustParse("64"), "memory": resource.MustParse("64Gi")}[name]
	}
	divisor := r.Divisor.MilliValue()
	if divisor == 0 {
		divisor = 1000
	}
	return strconv.FormatInt((quantity.MilliValue()+divisor-1)/divisor, 10), nil
}

// reference is $(NAME), or $$(NAME) that stands for itself.
var reference = regexp.MustCompile(`\$?\$\([-._a-zA-Z][-._a-zA-Z0-9]*\)`)

// expand replaces each $(NAME) whose variable there is.
func expand(s string, env map[string]string) string {
	return reference.ReplaceAllStringFunc(s, func(found string) string {
		if strings.HasPrefix(found, "$$") {
			return found[1:]
		}
		if value, ok := env[found[2:len(found)-1]]; ok {
			return value
		}
		return found
	})
}

func (w *worker) secret(name string, optional *bool) (map[string][]byte, error) {
	s, err := w.k.secrets.Secrets(w.namespace).Get(name)
	if errors.IsNotFound(err) && optional != nil && *optional {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.Data, nil
}

func (w *worker) configMap(name string, optional *bool) (map[string][]byte, error) {
	m, err := w.k.configMaps.ConfigMaps(w.namespace).Get(name)
	if errors.IsNotFound(err) && optional != nil && *optional {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data := maps.Clone(m.BinaryData)
	if data == nil {
		data = map[string][]byte{}
	}
	for key, value := range m.Data {
		data[key] = []byte(value)
	}
	return data, nil
}
