// SPDX-License-Identifier: Apache-2.0

package source

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"weir.dev/weir/control/api/v1alpha1"
)

// The kinds that are read.
var (
	GatewayClass          = Kind{gwapiv1.GroupName, "GatewayClass"}
	Gateway               = Kind{gwapiv1.GroupName, "Gateway"}
	ListenerSet           = Kind{gwapiv1.GroupName, "ListenerSet"}
	HTTPRoute             = Kind{gwapiv1.GroupName, "HTTPRoute"}
	GRPCRoute             = Kind{gwapiv1.GroupName, "GRPCRoute"}
	TLSRoute              = Kind{gwapiv1.GroupName, "TLSRoute"}
	TCPRoute              = Kind{gwapiv1.GroupName, "TCPRoute"}
	UDPRoute              = Kind{gwapiv1.GroupName, "UDPRoute"}
	BackendTLSPolicy      = Kind{gwapiv1.GroupName, "BackendTLSPolicy"}
	ReferenceGrant        = Kind{gwapiv1.GroupName, "ReferenceGrant"}
	XBackend              = Kind{experimental, "XBackend"}
	XBackendTrafficPolicy = Kind{experimental, "XBackendTrafficPolicy"}
	Service               = Kind{"", "Service"}
	Secret                = Kind{"", "Secret"}
	ConfigMap             = Kind{"", "ConfigMap"}
	Namespace             = Kind{"", "Namespace"}
	EndpointSlice         = Kind{discoveryv1.GroupName, "EndpointSlice"}
	Node                  = Kind{"", "Node"}
	Pod                   = Kind{"", "Pod"}
	Deployment            = Kind{appsv1.GroupName, "Deployment"}
	ServiceImport         = Kind{v1alpha1.MulticlusterGroup, "ServiceImport"}
	Backend               = Kind{v1alpha1.Group, "Backend"}
	Function              = Kind{v1alpha1.Group, "Function"}
	GatewayParameters     = Kind{v1alpha1.Group, "GatewayParameters"}
)

// Hostname is the kind of a backend that is a host name, or an address, and no object.
var Hostname = Kind{"weir.dev", "Hostname"}

// Failover is the kind of clusters that are no object, but the first of several that has
// a healthy host.
var Failover = Kind{"weir.dev", "Failover"}

const experimental = gwxv1alpha1.GroupName

// A Type says how the objects of a kind are found and held.
type Type struct {
	Kind
	// Versions that are read, the newest first. All are held alike.
	Versions []string
	// Resource is the kind's name in paths of the API.
	Resource string
	// Namespaced tells objects that belong to a namespace.
	Namespaced bool
	// Optional kinds may be missing from a cluster: their CRD need not be installed.
	Optional bool
	// Files tells a kind that is read in files only.
	Files bool
	// Lazy kinds are read in a cluster once an object that is there Needs them, and then
	// no more than their names and labels.
	Lazy bool
	// Needs tells which Lazy kinds an object needs; nil is none, whatever the object.
	Needs func(Object) []Kind
	// New returns an empty object.
	New func() Object
	// Renew makes an object of an older version one of the newest; nil if they are alike.
	Renew func(object map[string]any)
	// Lacks are fields that objects of an older version need not have, by version.
	Lacks map[string][]string
	// Former are other kinds, in other groups, that became this one.
	Former []Former
}

// Renewed makes an object one of the newest version, if it is of another.
func (t *Type) Renewed(object map[string]any) {
	if v, _ := object["apiVersion"].(string); t.Renew != nil && v != t.Group+"/"+t.Versions[0] {
		t.Renew(object)
	}
}

// A Former is an earlier name of a kind.
type Former struct {
	Kind
	Versions []string
	// Resource is the name of the kind's resource in a cluster; "" is that of today's kind.
	Resource string
}

// Types returns all kinds that are read.
func Types() []Type {
	gw := func(kind, resource string, create func() Object, versions ...string) Type {
		return Type{
			Kind: Kind{gwapiv1.GroupName, kind}, Versions: append([]string{"v1"}, versions...),
			Resource: resource, Namespaced: true, New: create,
		}
	}
	class := gw("GatewayClass", "gatewayclasses", func() Object { return &gwapiv1.GatewayClass{} }, "v1beta1")
	class.Namespaced = false
	sets := gw("ListenerSet", "listenersets", func() Object { return &gwapiv1.ListenerSet{} })
	sets.Former = []Former{{Kind{experimental, "XListenerSet"}, []string{"v1alpha1"}, "xlistenersets"}}
	secured := gw("BackendTLSPolicy", "backendtlspolicies", func() Object { return &gwapiv1.BackendTLSPolicy{} }, "v1alpha3", "v1alpha2")
	secured.Renew = renewBackendTLS
	passed := gw("TLSRoute", "tlsroutes", func() Object { return &gwapiv1.TLSRoute{} }, "v1alpha3", "v1alpha2")
	passed.Lacks = map[string][]string{"v1alpha2": {"spec.hostnames"}}
	optional := func(t Type) Type { t.Optional = true; return t }
	x := func(kind, resource string, create func() Object) Type {
		return Type{Kind: Kind{experimental, kind}, Versions: []string{"v1alpha1"}, Resource: resource, Namespaced: true, Optional: true, New: create}
	}
	core := func(kind, resource string, create func() Object) Type {
		return Type{Kind: Kind{"", kind}, Versions: []string{"v1"}, Resource: resource, Namespaced: kind != "Namespace", New: create}
	}
	service := core("Service", "services", func() Object { return &corev1.Service{} })
	service.Needs = placed
	return slices.Concat([]Type{
		class,
		gw("Gateway", "gateways", func() Object { return &gwapiv1.Gateway{} }, "v1beta1"),
		gw("HTTPRoute", "httproutes", func() Object { return &gwapiv1.HTTPRoute{} }, "v1beta1"),
		gw("ReferenceGrant", "referencegrants", func() Object { return &gwapiv1.ReferenceGrant{} }, "v1beta1", "v1alpha2"),
		optional(sets),
		optional(gw("GRPCRoute", "grpcroutes", func() Object { return &gwapiv1.GRPCRoute{} }, "v1alpha2")),
		optional(passed),
		optional(gw("TCPRoute", "tcproutes", func() Object { return &gwapiv1.TCPRoute{} }, "v1alpha2")),
		optional(gw("UDPRoute", "udproutes", func() Object { return &gwapiv1.UDPRoute{} }, "v1alpha2")),
		optional(secured),
		x("XBackend", "xbackends", func() Object { return &gwxv1alpha1.XBackend{} }),
		x("XBackendTrafficPolicy", "xbackendtrafficpolicies", func() Object { return &gwxv1alpha1.XBackendTrafficPolicy{} }),
		service,
		core("Secret", "secrets", func() Object { return &corev1.Secret{} }),
		core("ConfigMap", "configmaps", func() Object { return &corev1.ConfigMap{} }),
		core("Namespace", "namespaces", func() Object { return &corev1.Namespace{} }),
		{
			Kind: EndpointSlice, Versions: []string{"v1"}, Resource: "endpointslices", Namespaced: true,
			New: func() Object { return &discoveryv1.EndpointSlice{} }, Needs: placed,
		},
		{
			// Their labels say which zones they are in.
			Kind: Node, Versions: []string{"v1"}, Resource: "nodes", Lazy: true,
			New: func() Object { return &corev1.Node{} },
		},
		{
			Kind: Pod, Versions: []string{"v1"}, Resource: "pods", Namespaced: true, Lazy: true,
			New: func() Object { return &corev1.Pod{} },
		},
		{
			// Its Pods' labels tell subsets, where there are no Pods.
			Kind: Deployment, Versions: []string{"v1", "v1beta2", "v1beta1"}, Resource: "deployments", Namespaced: true, Files: true, Optional: true,
			New: func() Object { return &appsv1.Deployment{} }, Former: []Former{{Kind: Kind{"extensions", "Deployment"}, Versions: []string{"v1beta1"}}},
		},
		{
			Kind: ServiceImport, Versions: []string{"v1alpha1"}, Resource: "serviceimports", Namespaced: true, Optional: true,
			New: func() Object { return &v1alpha1.ServiceImport{} },
		},
		{
			Kind: Backend, Versions: []string{"v1alpha1"}, Resource: "backends", Namespaced: true, Optional: true,
			New: func() Object { return &v1alpha1.Backend{} },
		},
		{
			Kind: Function, Versions: []string{"v1alpha1"}, Resource: "functions", Namespaced: true, Optional: true,
			New: func() Object { return &v1alpha1.Function{} },
		},
		{
			Kind: GatewayParameters, Versions: []string{"v1alpha1"}, Resource: "gatewayparameters", Namespaced: true, Optional: true,
			New: func() Object { return &v1alpha1.GatewayParameters{} },
		},
	}, emissaryTypes(), envoyGatewayTypes(), istioTypes(), ingressTypes())
}

// placed tells that of an object which has traffic stay near, and so of where proxies run, Nodes
// have to be known: their zones are in their labels.
func placed(o Object) []Kind {
	switch o := o.(type) {
	case *corev1.Service:
		if o.Spec.TrafficDistribution != nil {
			return []Kind{Node}
		}
	case *discoveryv1.EndpointSlice:
		if slices.ContainsFunc(o.Endpoints, func(e discoveryv1.Endpoint) bool { return e.Hints != nil }) {
			return []Kind{Node}
		}
	}
	return nil
}
