// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	_ "embed"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

// TestFields holds fields.txt to the types of the kinds that are read: each leaf of a
// spec has a line.
func TestFields(t *testing.T) {
	got := map[string][]string{}
	l := ledger.MustParse(fields)
	for e := range l.Entries() {
		if e.Verdict == ledger.Undecided {
			t.Errorf("fields.txt:%d: %s is undecided", e.Line, e.Field)
		}
		got[string(e.Message)] = append(got[string(e.Message)], e.Field)
	}
	for name, spec := range map[string]any{
		"gateway.networking.k8s.io.GatewayClass":     gwapiv1.GatewayClassSpec{},
		"gateway.networking.k8s.io.Gateway":          gwapiv1.GatewaySpec{},
		"gateway.networking.k8s.io.ListenerSet":      gwapiv1.ListenerSetSpec{},
		"gateway.networking.k8s.io.HTTPRoute":        gwapiv1.HTTPRouteSpec{},
		"gateway.networking.k8s.io.GRPCRoute":        gwapiv1.GRPCRouteSpec{},
		"gateway.networking.k8s.io.TLSRoute":         gwapiv1.TLSRouteSpec{},
		"gateway.networking.k8s.io.TCPRoute":         gwapiv1.TCPRouteSpec{},
		"gateway.networking.k8s.io.UDPRoute":         gwapiv1.UDPRouteSpec{},
		"gateway.networking.k8s.io.BackendTLSPolicy": gwapiv1.BackendTLSPolicySpec{},
		"gateway.networking.k8s.io.ReferenceGrant":   gwapiv1.ReferenceGrantSpec{},
		"weir.dev.Backend":                           v1alpha1.BackendSpec{},
		"weir.dev.GatewayParameters":                 v1alpha1.GatewayParametersSpec{},
		"multicluster.x_k8s.io.ServiceImport":        v1alpha1.ServiceImportSpec{},
	} {
		var want []string
		leaves(reflect.TypeOf(spec), "spec", &want)
		compareFields(t, name, got[name], want)
	}
	var service, slice []string
	leaves(reflect.TypeFor[corev1.ServiceSpec](), "spec", &service)
	leaves(reflect.TypeFor[discoveryv1.EndpointSlice](), "", &slice)
	compareFields(t, "core.Service", got["core.Service"], service)
	compareFields(t, "discovery.k8s.io.EndpointSlice", got["discovery.k8s.io.EndpointSlice"], slice)
}

func compareFields(t *testing.T, name string, got, want []string) {
	t.Helper()
	for _, f := range want {
		if !slices.Contains(got, f) {
			t.Errorf("message %s lacks: %s TODO", name, f)
		}
	}
	for _, f := range got {
		if !slices.Contains(want, f) {
			t.Errorf("message %s has %s, which the type has not", name, f)
		}
	}
}

// leaves appends the paths of all fields that are not made of fields.
func leaves(typ reflect.Type, path string, out *[]string) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[metav1.LabelSelector]() || typ == reflect.TypeFor[metav1.Time]() || !strings.Contains(typ.PkgPath(), "api") || strings.HasSuffix(typ.PkgPath(), "intstr") {
		*out = append(*out, path)
		return
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "metadata" || f.Name == "TypeMeta":
		case name == "" && f.Anonymous:
			leaves(f.Type, path, out)
		case path == "":
			leaves(f.Type, name, out)
		default:
			leaves(f.Type, path+"."+name, out)
		}
	}
}
