// SPDX-License-Identifier: Apache-2.0

package source

import networkingv1 "k8s.io/api/networking/v1"

// Ingress and its class.
var (
	Ingress      = Kind{networkingv1.GroupName, "Ingress"}
	IngressClass = Kind{networkingv1.GroupName, "IngressClass"}
)

func ingressTypes() []Type {
	return []Type{
		{
			Kind: Ingress, Versions: []string{"v1", "v1beta1"}, Resource: "ingresses", Namespaced: true, Optional: true,
			New: func() Object { return &networkingv1.Ingress{} }, Former: []Former{{Kind: Kind{"extensions", "Ingress"}, Versions: []string{"v1beta1"}}},
			Renew: renewIngress,
		},
		{
			Kind: IngressClass, Versions: []string{"v1", "v1beta1"}, Resource: "ingressclasses", Optional: true,
			New: func() Object { return &networkingv1.IngressClass{} },
		},
	}
}

// renewIngress makes an Ingress of v1beta1 one of v1: a backend's service and port stood
// side by side, the default backend was called backend, and a path had no type.
func renewIngress(object map[string]any) {
	spec, _ := object["spec"].(map[string]any)
	if b, ok := spec["backend"]; ok {
		delete(spec, "backend")
		spec["defaultBackend"] = b
	}
	renewBackend(spec, "defaultBackend")
	rules, _ := spec["rules"].([]any)
	for _, r := range rules {
		rule, _ := r.(map[string]any)
		http, _ := rule["http"].(map[string]any)
		paths, _ := http["paths"].([]any)
		for _, p := range paths {
			if path, ok := p.(map[string]any); ok {
				renewBackend(path, "backend")
				if path["pathType"] == nil {
					path["pathType"] = string(networkingv1.PathTypeImplementationSpecific)
				}
			}
		}
	}
}

// renewBackend renews the backend that an object has in a field.
func renewBackend(of map[string]any, field string) {
	b, ok := of[field].(map[string]any)
	if !ok {
		return
	}
	name, port := b["serviceName"], b["servicePort"]
	if name == nil && port == nil {
		return
	}
	delete(b, "serviceName")
	delete(b, "servicePort")
	service := map[string]any{"name": name}
	if name == nil {
		delete(service, "name")
	}
	switch port.(type) {
	case string:
		service["port"] = map[string]any{"name": port}
	case nil:
	default:
		service["port"] = map[string]any{"number": port}
	}
	b["service"] = service
}
