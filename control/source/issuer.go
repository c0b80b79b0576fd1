// SPDX-License-Identifier: Apache-2.0

package source

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Issuers is the kind of what OpenID providers say of themselves; an object has the
// issuer's identifier as its name. It is not Kubernetes' own: who asks the providers puts
// it into the View, so that translation stays a function of the View.
var Issuers = Kind{"weir.dev", "Issuer"}

// IssuerName is the name of an issuer's object.
func IssuerName(issuer string) Name { return Name{Name: issuer} }

// An Issuer is what a provider's configuration says (OpenID Connect Discovery 1.0 §3).
type Issuer struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	// AuthorizationEndpoint, TokenEndpoint and EndSessionEndpoint are URLs; the last may be
	// empty. All are empty if the configuration was never had.
	AuthorizationEndpoint, TokenEndpoint, EndSessionEndpoint string
	// Problem is why it could not be had, for people; "" if it could.
	Problem string
}

// DeepCopyObject returns a copy that shares nothing.
func (i *Issuer) DeepCopyObject() runtime.Object {
	out := *i
	out.ObjectMeta = *i.ObjectMeta.DeepCopy()
	return &out
}

// Equal reports whether both say the same.
func (i *Issuer) Equal(o *Issuer) bool {
	return i.AuthorizationEndpoint == o.AuthorizationEndpoint && i.TokenEndpoint == o.TokenEndpoint && i.EndSessionEndpoint == o.EndSessionEndpoint && i.Problem == o.Problem
}
