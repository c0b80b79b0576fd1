// SPDX-License-Identifier: Apache-2.0

package ingress

import (
	_ "embed"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"weir.dev/weir/control/fieldstest"
)

//go:embed fields.txt
var fields string

// TestFields holds fields.txt to the types of the kinds that are read.
func TestFields(t *testing.T) {
	fieldstest.Run(t, fields, map[string][]string{
		"networking.k8s.io.Ingress":      fieldstest.Spec(networkingv1.IngressSpec{}),
		"networking.k8s.io.IngressClass": fieldstest.Spec(networkingv1.IngressClassSpec{}),
	})
}
