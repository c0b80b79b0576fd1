// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"testing"

	"weir.dev/weir/control/source"
)

func TestArticle(t *testing.T) {
	for kind, want := range map[string]string{
		"Service": "a Service", "EnvoyProxy": "an EnvoyProxy", "Ingress.networking.k8s.io": "an Ingress.networking.k8s.io",
		"HTTPRoute": "an HTTPRoute", "Host": "a Host", "XBackend": "an XBackend", "TLSRoute": "a TLSRoute", "UDPRoute": "a UDPRoute",
		"Upstream": "an Upstream", "GRPCRoute": "a GRPCRoute", "thing": "a thing", "": "a ", "X": "a X",
	} {
		if got := source.A(kind); got != want {
			t.Errorf("A(%q) = %q, want %q", kind, got, want)
		}
	}
}
